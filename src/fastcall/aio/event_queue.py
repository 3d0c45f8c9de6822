"""What waits for a handler: bounded, and whoever puts something in never waits.

The overflow rule is ``drop_oldest``: a handler that does not keep up loses what came first; the newest is what the
caller waits for. A partial that waits is replaced by the utterance's next one before that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

__all__ = ["EventQueue"]

E = TypeVar("E")


class EventQueue(Generic[E]):
    """Events for one reader. Loop thread only.

    :param limit: how many may wait
    :param on_drop: called for each that is dropped; not before somebody reads: what nobody wants is no loss
    :param is_newer: whether the second argument makes the first, which waits, worthless
    """

    def __init__(
        self, limit: int, *, on_drop: Callable[[], None], is_newer: Callable[[E, E], bool] | None = None
    ) -> None:
        self._limit = limit
        self._on_drop = on_drop
        self._is_newer = is_newer
        self._waiting: deque[E] = deque()
        self._news = asyncio.Event()
        self._is_over = False
        self._is_read = False
        self._unread_drops = 0

    def put(self, event: E) -> None:
        """One more; returns at once."""
        if self._is_over:
            return
        if self._waiting and self._is_newer is not None and self._is_newer(self._waiting[-1], event):
            self._waiting.pop()
        elif len(self._waiting) >= self._limit:
            self._waiting.popleft()
            if self._is_read:
                self._on_drop()
            else:
                self._unread_drops += 1
        self._waiting.append(event)
        self._news.set()

    def finish(self) -> None:
        """Nothing more will come; what waits may still be read."""
        self._is_over = True
        self._news.set()

    async def get(self, timeout_s: float | None = None) -> E | None:
        """The next event; None when nothing more will come.

        :raises TimeoutError: nothing came in time
        """
        self._is_read = True
        for _ in range(self._unread_drops):
            self._on_drop()
        self._unread_drops = 0
        async with asyncio.timeout(timeout_s):
            while not self._waiting:
                if self._is_over:
                    return None
                self._news.clear()
                await self._news.wait()
        return self._waiting.popleft()

    async def __aiter__(self) -> AsyncIterator[E]:
        """The events as they come, to the end."""
        while (event := await self.get()) is not None:
            yield event
