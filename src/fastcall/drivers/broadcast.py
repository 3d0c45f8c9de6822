"""The transcript stream, live: from the calls to whoever reads it now."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from fastcall.rules.metrics import Metrics

__all__ = ["Broadcast"]

MAX_READERS = 32
# About a minute of a hundred calls; what a slower reader would have to wait for is old.
MAX_WAITING_LINES = 10_000


class Broadcast:
    """Lines for many readers. Nobody waits for a reader: what one is too slow for is dropped for it, and counted.

    Loop thread only.
    """

    def __init__(self, metrics: Metrics, *, max_waiting: int | None = None) -> None:
        self._metrics = metrics
        self._max_waiting = MAX_WAITING_LINES if max_waiting is None else max_waiting
        self._readers: set[_Reader] = set()
        self._is_closed = False

    @property
    def readers(self) -> int:
        """How many read."""
        return len(self._readers)

    def write(self, line: str) -> None:
        """One line, newline included; returns at once."""
        for reader in self._readers:
            if len(reader.lines) >= self._max_waiting:
                reader.lines.popleft()
                self._metrics.events_dropped += 1
            reader.lines.append(line)
            reader.news.set()

    def subscribe(self) -> AsyncIterator[str] | None:
        """Everything that is written from now on, until ``close``; None if there are readers enough."""
        if len(self._readers) >= MAX_READERS or self._is_closed:
            return None
        reader = _Reader()
        self._readers.add(reader)
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


class _Reader:
    def __init__(self) -> None:
        self.lines: deque[str] = deque()
        self.news = asyncio.Event()
