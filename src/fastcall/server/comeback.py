"""Calls that reconnect: another stream's ``start`` has the key (``StreamKey``) of a live call.

This happens when a call's TwiML changes, or when a phone loses its network: for a moment there are two streams. The
newer one waits, and its messages are kept. When the older one stops, closes or falls silent, the newer replaces it in
the same call: session, transcript and handler continue. If the older one continues for ``HOLD_S``, the newer is
refused: nobody can take over a live call.

Both are in one process: with workers, the newer stream is passed to the worker that has its call (``worker.py``). The
older stream's runner keeps the call and gets the new socket. The newer stream's runner only waits, and then ends. Loop
thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from fastcall.events import CallStarted

__all__ = ["FALLEN_SILENT_S", "HOLD_S", "HeldStream", "LiveCall"]

# How long a newer stream waits for the older one to end.
HOLD_S = 2.0
# Twilio sends 50 messages a second, also during silence. While another stream of the call waits, a stream without audio
# for so long has ended; a single stream has more time (``CALL_SILENT_MAX_S``).
FALLEN_SILENT_S = 0.8
# Messages kept of a newer stream: far more than it sends while it waits, and little memory.
MAX_HELD_MESSAGES = 1000
MAX_HELD_BYTES = 1024 * 1024
# Streams that may wait for one call; more are refused at once.
MAX_HELD_STREAMS = 4


class LiveCall(Protocol):
    """The live call, as a newer stream of it sees it."""

    held_streams: list[HeldStream]
    """Streams that wait, oldest first."""

    def can_move(self) -> bool:
        """Whether the call may continue on another stream: it has not ended, and is not being closed by us."""

    def silent_s(self) -> float:
        """Seconds since the last audio."""


class HeldStream:
    """One newer stream. Call ``look``, then one of ``take_over``, ``give_up`` and ``cancel``.

    :param take_over: makes it the call's stream; returns whether it is admitted
    :param give_up: admits it as a call by itself, or refuses it
    """

    def __init__(
        self, start: CallStarted, older: LiveCall, *, take_over: Callable[[], bool], give_up: Callable[[], None]
    ) -> None:
        self.start = start
        self.messages: list[tuple[float, bytes]] = []
        """Its messages since ``start``, each with its time of arrival."""
        self._kept_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + HOLD_S
        self._older = older
        self._take_over, self._give_up = take_over, give_up
        self._timer: asyncio.TimerHandle | None = None
        older.held_streams.append(self)

    def keep(self, message: bytes) -> bool:
        """Keep a message; returns whether it fits."""
        self._kept_bytes += len(message)
        if len(self.messages) >= MAX_HELD_MESSAGES or self._kept_bytes > MAX_HELD_BYTES:
            return False
        self.messages.append((self._loop.time(), message))
        return True

    def poll(self) -> None:
        """Decide if possible; else check again later."""
        self._timer = None
        left_s = self._until - self._loop.time()
        silent_in_s = FALLEN_SILENT_S - self._older.silent_s()
        if len(self._older.held_streams) > MAX_HELD_STREAMS or left_s <= 0:
            self.give_up()
        elif silent_in_s <= 0 and self._older.can_move():
            self.take_over()
        else:
            self._timer = self._loop.call_later(min(left_s, silent_in_s if silent_in_s > 0 else left_s), self.poll)

    def take_over(self) -> bool:
        """The older stream has ended; returns whether the call continues on this one."""
        self.cancel()
        return self._take_over()

    def give_up(self) -> None:
        """The older stream continues, or its call has ended for good."""
        self.cancel()
        self._give_up()

    def cancel(self) -> None:
        """Stop waiting."""
        if self in self._older.held_streams:
            self._older.held_streams.remove(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
