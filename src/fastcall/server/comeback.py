"""A call that comes back: another stream's ``start`` has the key (``StreamKey``) of a call that is live.

So it is when a call's TwiML changes, or when a telephone's network went away: for a moment there are two streams. The
newer one waits, and what it sends is kept. When the older one stops, closes or falls silent, the newer takes its place
in the same call: session, transcript and handler go on. When the older one goes on for ``HOLD_S``, the newer is
refused: nobody takes a live call away.

Both are in one process: with workers, a stream that comes back is brought to the one that has its call (``worker.py``).
The older stream's runner has the call, and gets a new socket. The newer stream's runner is no more than a receiver that
waits, and is over then. Loop thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from fastcall.events import CallStarted

__all__ = ["FALLEN_SILENT_S", "HOLD_S", "HeldStream", "LiveCall"]

# How long a newer stream waits for the older one to end.
HOLD_S = 2.0
# Twilio sends 50 messages a second, silence too. While another stream of the call is there, one that sends no audio for
# so long has ended; alone it has time (``CALL_SILENT_MAX_S``).
FALLEN_SILENT_S = 0.8
# What is kept of a newer stream: far more than it sends while it waits, less than would hurt.
MAX_HELD_MESSAGES = 1000
MAX_HELD_BYTES = 1024 * 1024
# Streams that wait for one call; further ones are refused at once.
MAX_HELD_STREAMS = 4


class LiveCall(Protocol):
    """The call that is live, as a newer stream of it sees it."""

    held_streams: list[HeldStream]
    """Who waits, the oldest first."""

    def can_move(self) -> bool:
        """Whether the call may go on over another stream: it has not ended, and is not being closed from here."""

    def silent_s(self) -> float:
        """How long there was no audio."""


class HeldStream:
    """One newer stream. ``look`` is owed, then one of ``take_over``, ``give_up`` and ``cancel``.

    :param take_over: makes it the call's stream; whether that may be
    :param give_up: lets it come in as if the older one were not there, or be refused
    """

    def __init__(
        self, start: CallStarted, older: LiveCall, *, take_over: Callable[[], bool], give_up: Callable[[], None]
    ) -> None:
        self.start = start
        self.messages: list[tuple[float, bytes]] = []
        """What it has sent since, each with the time at which it came."""
        self._kept_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + HOLD_S
        self._older = older
        self._take_over, self._give_up = take_over, give_up
        self._timer: asyncio.TimerHandle | None = None
        older.held_streams.append(self)

    def keep(self, message: bytes) -> bool:
        """Keep a message; whether there is room for it."""
        self._kept_bytes += len(message)
        if len(self.messages) >= MAX_HELD_MESSAGES or self._kept_bytes > MAX_HELD_BYTES:
            return False
        self.messages.append((self._loop.time(), message))
        return True

    def look(self) -> None:
        """Decide, if it can be decided; else look again in time."""
        self._timer = None
        left_s = self._until - self._loop.time()
        silent_in_s = FALLEN_SILENT_S - self._older.silent_s()
        if len(self._older.held_streams) > MAX_HELD_STREAMS or left_s <= 0:
            self.give_up()
        elif silent_in_s <= 0 and self._older.can_move():
            self.take_over()
        else:
            self._timer = self._loop.call_later(min(left_s, silent_in_s if silent_in_s > 0 else left_s), self.look)

    def take_over(self) -> bool:
        """The older stream has ended; whether the call goes on over this one."""
        self.cancel()
        return self._take_over()

    def give_up(self) -> None:
        """The older stream goes on, or its call has ended for good."""
        self.cancel()
        self._give_up()

    def cancel(self) -> None:
        """It waits no more."""
        if self in self._older.held_streams:
            self._older.held_streams.remove(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
