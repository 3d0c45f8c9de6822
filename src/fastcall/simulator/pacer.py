"""Sends the audio of all calls of an event loop on schedule, with the compiled sending loop.

The sender writes directly to the sockets, beside their transports. They never write at the same time: a line is blocked
while its transport has unsent data, and the rest of a partial write is sent by the transport.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastcall._load import CallSender, PacedCall
from fastcall.simulator.impairments import STEADY, LinePlan
from fastcall.simulator.twilio_client import CallIds, Lateness, PhoneAudio

__all__ = ["Pacer"]

DISCARD_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class _Owner:
    transport: asyncio.WriteTransport
    on_end: Callable[[], None]
    on_frames: Callable[[bytes], None] | None


class Pacer:
    """The sender of one event loop's calls; its timer runs while there are any. Loop thread only.

    :param lateness: counts how late each frame was sent
    """

    def __init__(self, lateness: Lateness | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._sender = CallSender((lateness or Lateness()).counts, discard_after_s=DISCARD_AFTER_S)
        self._owners: dict[PacedCall, _Owner] = {}
        self._waiting: set[PacedCall] = set()
        self._packed: dict[int, tuple[LinePlan, bytes]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._is_listening = False

    def add(
        self,
        transport: asyncio.WriteTransport,
        audio: PhoneAudio,
        ids: CallIds,
        on_end: Callable[[], None],
        *,
        plan: LinePlan = STEADY,
        first_at: float,
        first_timestamp_ms: int,
        sequence: int,
        call_number: int = -1,
        on_frames: Callable[[bytes], None] | None = None,
    ) -> PacedCall:
        """Start sending a call's audio.

        :param on_end: called on the loop when all was sent
        :param first_at: when the first frame is due, ``time.monotonic()``
        :param sequence: ``sequenceNumber`` of the newest message
        :param call_number: not -1: frames carry stamps (see ``fastcall._load``)
        :param on_frames: given: the sender reads the socket and echoes marks, while the transport's reading is paused;
            called with the frames that are not Twilio's messages
        :raises ValueError: ``on_frames`` with TLS
        """
        # With TLS only the transport can write.
        socket = None if transport.get_extra_info("ssl_object") else transport.get_extra_info("socket")
        call = self._sender.add(
            -1 if socket is None else socket.fileno(),
            ids.stream_sid,
            audio.joined,
            self._pack(plan),
            cycle_frames=plan.cycle_frames,
            spoken=-1 if audio.spoken is None else audio.spoken,
            total=-1 if audio.frames is None else audio.frames,
            first_at=first_at,
            first_timestamp_ms=first_timestamp_ms,
            sequence=sequence,
            mask=secrets.token_bytes(4),
            call_number=call_number,
            plays=on_frames is not None,
        )
        self._owners[call] = _Owner(transport, on_end, on_frames)
        self.wait_for(call)
        self._wake_at(self._sender.arm(time.monotonic()))
        return call

    def wait_for(self, line: PacedCall) -> None:
        """Data was written to the line's transport: frames follow it."""
        line.block()
        self._waiting.add(line)

    def remove(self, line: PacedCall) -> None:
        """Stop sending it."""
        self._sender.remove(line)
        self._waiting.discard(line)
        self._owners.pop(line, None)
        if not self._owners:
            self._rest()

    def _pack(self, plan: LinePlan) -> bytes:
        known = self._packed.get(id(plan))
        if known is None:
            known = self._packed[id(plan)] = plan, plan.packed()
        return known[1]

    def _turn(self) -> None:
        for call in tuple(self._waiting):
            if not self._owners[call].transport.get_write_buffer_size():
                call.unblock()
                self._waiting.discard(call)
        for call in self._sender.send_due(time.monotonic()):
            owner = self._owners[call]
            if rest := call.take_unsent():
                owner.transport.write(rest)
                self._waiting.add(call)
            if owner.on_frames is not None and (frames := call.take_passed()):
                owner.on_frames(frames)
                self.wait_for(call)  # they may have been answered
            if not rest and (call.over or call.broken):
                self.remove(call)
                owner.on_end()
        if self._owners:
            self._wake_at(self._sender.arm(time.monotonic()))

    def _wake_at(self, at: float) -> None:
        if self._sender.fileno() >= 0:
            if not self._is_listening:
                self._loop.add_reader(self._sender.fileno(), self._turn)
                self._is_listening = True
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, at - time.monotonic()), self._turn)

    def _rest(self) -> None:
        if self._is_listening:
            self._loop.remove_reader(self._sender.fileno())
            self._is_listening = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
