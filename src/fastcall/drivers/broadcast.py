"""The transcript stream, live: from the calls to whoever reads it now."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from fastcall.rules.metrics import Metrics

__all__ = ["Broadcast"]

MAX_READERS = 32
# About a minute of a hundred calls; what a slower reader would have to wait for is old.
MAX_WAITING_LINES = 10_000


class Broadcast:
    """Lines for many readers. Nobody waits for a reader: what one is too slow for is dropped for it, and counted.

    A reader has the transcript stream, or watches one call's batches: those are told only while someone does.

    Loop thread only.

    :param on_watch: told which calls are watched, whenever that changes
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
        self._readers: set[_Reader] = set()
        self._is_closed = False

    @property
    def readers(self) -> int:
        """How many read."""
        return len(self._readers)

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

    def subscribe(self, call_sid: str | None = None) -> AsyncIterator[str] | None:
        """Everything that is written from now on, until ``close``; None if there are readers enough.

        :param call_sid: watch this call instead
        """
        if len(self._readers) >= MAX_READERS or self._is_closed:
            return None
        reader = _Reader(call_sid)
        self._readers.add(reader)
        if call_sid is not None:
            self._on_watch(self.watched)
        return self._read(reader)

    def close(self) -> None:
        """Nothing more will be written: readers get what waits, and end."""
        self._is_closed = True
        for reader in self._readers:
            reader.news.set()

    async def _read(self, reader: _Reader) -> AsyncIterator[str]:
        try:
            while True:
                while reader.lines:
                    yield reader.lines.popleft()
                if self._is_closed:
                    return
                reader.news.clear()
                await reader.news.wait()
        finally:
            self._readers.discard(reader)
            if reader.call_sid is not None:
                self._on_watch(self.watched)


class _Reader:
    def __init__(self, call_sid: str | None) -> None:
        self.call_sid = call_sid
        self.lines: deque[str] = deque()
        self.news = asyncio.Event()
