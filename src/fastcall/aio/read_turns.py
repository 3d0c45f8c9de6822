"""How much of the loop connections may have at a time.

A transport may bring hundreds of kilobytes in one turn of the loop, and what they cost to work off is the peer's
choice: a few bytes a frame, a few bytes a message. So a connection does a share of it in the turn in which it came, and
the rest in later turns, between which the loop serves everybody else. Meanwhile nothing more is read: the peer's TCP
waits.

All connections of a loop that have a rest stand in one queue, of which each turn serves one: a hundred peers who send
too much lengthen a turn no more than one of them does.

What a share is, each protocol says itself, in bytes and in its own pieces; an ordinary read is less than one, and costs
a comparison.
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
        # The loop is not kept: it is the key by which this is found, as long as there is one.
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

    :param go_on: does a share of what waits, and calls ``defer`` if that was not all
    """

    def __init__(self, go_on: Callable[[], None]) -> None:
        self._go_on = go_on
        self._transport: asyncio.ReadTransport | None = None
        self.are_due = False
        """Whether something waits for a later turn."""
        self.is_queued = False
        """The queue's."""

    def defer(self, transport: asyncio.ReadTransport) -> None:
        """The rest of what came from ``transport`` is for a later turn; nothing more is read until all is done."""
        if self.are_due:
            return
        transport.pause_reading()
        self._transport = transport
        self.are_due = True
        if not self.is_queued:
            self.is_queued = True
            _queues.setdefault(asyncio.get_running_loop(), _Queue()).put(self)

    def cancel(self) -> None:
        """Nothing is to be done any more. Reading is not resumed."""
        self.are_due = False

    def close(self) -> None:
        """Nothing is to be done ever again; whoever made this can be freed at once."""
        self.cancel()
        self._transport = None
        self._go_on = _nothing

    def take(self) -> None:
        """The queue's: a turn."""
        self.are_due = False
        self._go_on()
        if not self.are_due and self._transport is not None:
            transport, self._transport = self._transport, None
            transport.resume_reading()


def _nothing() -> None:
    """What a closed ``ReadTurns`` goes on with."""


class SharedReader:
    """Gives a protocol at most ``share_bytes`` in a turn of the loop. Loop thread only.

    :param take: takes bytes, in order; its answer says whether it has had enough for this turn, too
    """

    def __init__(self, take: Callable[[bytes], bool], *, share_bytes: int) -> None:
        self._take = take
        self._share_bytes = share_bytes
        self._waiting = b""
        self._turns = ReadTurns(self._go_on)
        self._transport: asyncio.ReadTransport

    def received(self, transport: asyncio.ReadTransport, data: bytes) -> None:
        """These bytes came from ``transport``."""
        self._transport = transport
        if self._turns.are_due:
            self._waiting += data
            transport.pause_reading()  # somebody else has resumed it
        elif self._share(data):
            self._turns.defer(transport)

    def finish(self) -> None:
        """No more will come: what waits is done now."""
        if self._turns.are_due:
            self._turns.cancel()
            while self._share(self._waiting):
                pass

    def cancel(self) -> None:
        """Forget what waits."""
        self._turns.cancel()
        self._waiting = b""

    def _go_on(self) -> None:
        if self._share(self._waiting):
            self._turns.defer(self._transport)

    def _share(self, data: bytes) -> bool:
        """Do a share; returns whether something is left for another turn."""
        is_enough = self._take(data[: self._share_bytes])
        self._waiting = data[self._share_bytes :]
        return bool(self._waiting) or is_enough
