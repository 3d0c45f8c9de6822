"""The live transcript stream, from the calls to its current readers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from fastcall.metrics import Metrics

__all__ = ["Broadcast", "Subscription"]

MAX_READERS = 32
# About a minute of a hundred calls; older lines are of no use to a slower reader.
MAX_WAITING_LINES = 10_000


class Broadcast:
    """Lines for many readers. Nobody waits for a slow reader: lines that it is too slow for are dropped and counted.

    A reader gets the transcript stream, or watches one call's batches, which are reported only while somebody does.

    Loop thread only.

    :param on_watch: called with the calls that are watched, whenever that changes
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        max_waiting: int | None = None,
        on_watch: Callable[[frozenset[str]], None] = lambda _: None,
    ) -> None:
        self._on_watch = on_watch
        self._metrics = metrics
        self._max_waiting = MAX_WAITING_LINES if max_waiting is None else max_waiting
        self._readers: set[Subscription] = set()
        self._is_closed = False

    @property
    def is_read(self) -> bool:
        """Whether someone reads the transcript stream."""
        return any(reader.call_sid is None for reader in self._readers)

    @property
    def watched(self) -> frozenset[str]:
        """The calls whose batches someone reads."""
        return frozenset(reader.call_sid for reader in self._readers if reader.call_sid is not None)

    def write(self, line: str) -> None:
        """One line of the transcript stream, newline included; returns at once."""
        self._write(None, line)

    def write_batch(self, call_sid: str, line: str) -> None:
        """One line of a call that is watched, newline included; returns at once."""
        self._write(call_sid, line)

    def _write(self, call_sid: str | None, line: str) -> None:
        for reader in self._readers:
            if reader.call_sid != call_sid:
                continue
            if len(reader.lines) >= self._max_waiting:
                reader.lines.popleft()
                self._metrics.events_dropped += 1
            reader.lines.append(line)
            reader.news.set()

    def subscribe(self, call_sid: str | None = None) -> Subscription | None:
        """Everything that is written from now on, until ``close``; None if there are too many readers. The reader must
        close the subscription.

        :param call_sid: watch this call instead
        """
        if len(self._readers) >= MAX_READERS or self._is_closed:
            return None
        reader = Subscription(self, call_sid)
        self._readers.add(reader)
        if call_sid is not None:
            self._on_watch(self.watched)
        return reader

    def close(self) -> None:
        """Nothing more will be written: readers get the remaining lines, then end."""
        self._is_closed = True
        for reader in self._readers:
            reader.news.set()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will be written."""
        return self._is_closed

    def forget(self, reader: Subscription) -> None:
        """Remove a reader."""
        if reader in self._readers:
            self._readers.remove(reader)
            if reader.call_sid is not None:
                self._on_watch(self.watched)


class Subscription:
    """One reader's pending lines, as an iterator; its end closes it. Loop thread only; made by ``subscribe``."""

    def __init__(self, broadcast: Broadcast, call_sid: str | None) -> None:
        self._broadcast = broadcast
        self.call_sid = call_sid
        self.lines: deque[str] = deque()
        self.news = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while not self.lines:
            if self._broadcast.is_closed:
                self.close()
                raise StopAsyncIteration
            self.news.clear()
            await self.news.wait()
        return self.lines.popleft()

    def close(self) -> None:
        """Stop reading, even if iteration has not begun."""
        self._broadcast.forget(self)
