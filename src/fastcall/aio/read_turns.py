"""Limits how much of the event loop's time a connection gets at once.

A transport may deliver hundreds of kilobytes in one turn of the loop, and the peer determines their cost: a few bytes
per frame, a few bytes per message. So a connection processes a share of them in the same turn, and the rest in later
turns, between which the loop serves everybody else. Meanwhile reading pauses, and the peer's TCP waits.

All connections of a loop with data left wait in one queue, of which each turn serves one: a hundred peers that send too
much lengthen a turn no more than one of them does.

Each protocol defines its share, in bytes and in its own units; an ordinary read is less than one, and costs a
comparison.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

__all__ = ["ReadTurns", "SharedReader"]


class _Queue:
    """The connections of one loop that wait for a turn, each once."""

    def __init__(self) -> None:
        self._waiting: deque[ReadTurns] = deque()

    def put(self, turns: ReadTurns) -> None:
        self._waiting.append(turns)
        if len(self._waiting) == 1:
            self._serve_soon()

    def _serve_soon(self) -> None:
        # The loop is a weak key: the entry lives as long as the loop.
        asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        waiting = self._waiting
        while waiting and not waiting[0].are_due:
            waiting.popleft().is_queued = False
        if not waiting:
            return
        turns = waiting[0]
        try:
            turns.take()
        finally:
            waiting.popleft()
            if turns.are_due:
                waiting.append(turns)
            else:
                turns.is_queued = False
            if waiting:
                self._serve_soon()


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()


class ReadTurns:
    """The turns of one connection. Loop thread only.

    :param go_on: processes a share of the waiting data, and calls ``defer`` if more is left
    """

    def __init__(self, go_on: Callable[[], None]) -> None:
        self._go_on = go_on
        self._transport: asyncio.ReadTransport | None = None
        self.are_due = False
        """Whether data waits for a later turn."""
        self.is_queued = False
        """The queue's."""

    def defer(self, transport: asyncio.ReadTransport) -> None:
        """Leave the rest of the data from ``transport`` for a later turn; pause reading until it is done."""
        if self.are_due:
            return
        transport.pause_reading()
        self._transport = transport
        self.are_due = True
        if not self.is_queued:
            self.is_queued = True
            _queues.setdefault(asyncio.get_running_loop(), _Queue()).put(self)

    def cancel(self) -> None:
        """Stop. Reading is not resumed."""
        self.are_due = False

    def close(self) -> None:
        """Stop for good; breaks the reference to the owner, so that it is freed at once."""
        self.cancel()
        self._transport = None
        self._go_on = _nothing

    def take(self) -> None:
        """Called by the queue: take a turn."""
        self.are_due = False
        self._go_on()
        if not self.are_due and self._transport is not None:
            transport, self._transport = self._transport, None
            transport.resume_reading()


def _nothing() -> None:
    """The callback of a closed ``ReadTurns``."""


class SharedReader:
    """Passes a protocol at most ``share_bytes`` in a turn of the loop. Loop thread only.

    :param take: takes bytes, in order; returns whether it has had enough for this turn
    """

    def __init__(self, take: Callable[[bytes], bool], *, share_bytes: int) -> None:
        self._take = take
        self._share_bytes = share_bytes
        self._waiting = b""
        self._turns = ReadTurns(self._go_on)
        self._transport: asyncio.ReadTransport

    def received(self, transport: asyncio.ReadTransport, data: bytes) -> None:
        """Take bytes from ``transport``."""
        self._transport = transport
        if self._turns.are_due:
            self._waiting += data
            transport.pause_reading()  # other code has resumed it
        elif self._share(data):
            self._turns.defer(transport)

    def finish(self) -> None:
        """No more data will come: process the rest now."""
        if self._turns.are_due:
            self._turns.cancel()
            while self._share(self._waiting):
                pass

    def cancel(self) -> None:
        """Drop the waiting data."""
        self._turns.cancel()
        self._waiting = b""

    def _go_on(self) -> None:
        if self._share(self._waiting):
            self._turns.defer(self._transport)

    def _share(self, data: bytes) -> bool:
        """Process a share; returns whether data is left for another turn."""
        is_enough = self._take(data[: self._share_bytes])
        self._waiting = data[self._share_bytes :]
        return bool(self._waiting) or is_enough
