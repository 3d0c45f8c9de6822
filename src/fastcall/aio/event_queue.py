"""A bounded queue of events for a handler; putting never waits.

When it is full, the oldest event is dropped, because the caller is waiting for the reaction to the newest. A queued
partial is replaced by the same utterance's next one first.
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

    :param limit: maximum number of queued events
    :param on_drop: called for each dropped event, but not before somebody reads
    :param is_newer: whether the second argument supersedes the first, which is queued
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
        """Add an event; returns at once."""
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
        """No more events will come; queued ones may still be read."""
        self._is_over = True
        self._news.set()

    async def get(self, timeout_s: float | None = None) -> E | None:
        """The next event; None at the end.

        :raises TimeoutError: no event in time
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
        """Iterate over the events, to the end."""
        while (event := await self.get()) is not None:
            yield event
