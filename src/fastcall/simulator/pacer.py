"""Sends the audio of all calls of a loop at its time: the compiled sending loop, and the loop that wakes it.

The sender writes on the sockets beside the transports. Both never write at once: a call is blocked while its transport
has something waiting, and what a socket does not take whole goes out through the transport.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from fastcall._load import CallSender, PacedCall
from fastcall.simulator.impairments import STEADY, LinePlan
from fastcall.simulator.twilio_client import CallIds, Lateness, PhoneAudio

__all__ = ["Pacer"]

DISCARD_AFTER_S = 5.0


class Pacer:
    """The sender of one event loop's calls; its timer runs while there are any. The loop's thread only.

    :param lateness: counts how late each frame was sent
    """

    def __init__(self, lateness: Lateness | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._sender = CallSender((lateness or Lateness()).counts, discard_after_s=DISCARD_AFTER_S)
        self._owners: dict[PacedCall, tuple[asyncio.WriteTransport, Callable[[], None]]] = {}
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
    ) -> PacedCall:
        """Begin to send a call's audio.

        :param on_end: called on the loop when all was sent
        :param first_at: when the first frame is due, ``time.monotonic()``
        :param sequence: ``sequenceNumber`` of the newest message
        :param call_number: not -1: frames carry stamps (see ``fastcall._load``)
        """
        # Under TLS the transport alone knows how to write.
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
        )
        self._owners[call] = transport, on_end
        self.wait_for(call)
        self._wake_at(self._sender.arm(time.monotonic()))
        return call

    def wait_for(self, call: PacedCall) -> None:
        """Something was written to the call's transport: frames follow it."""
        call.block()
        self._waiting.add(call)

    def remove(self, call: PacedCall) -> None:
        """Send no more of it."""
        self._sender.remove(call)
        self._waiting.discard(call)
        self._owners.pop(call, None)
        if not self._owners:
            self._rest()

    def _pack(self, plan: LinePlan) -> bytes:
        known = self._packed.get(id(plan))
        if known is None:
            known = self._packed[id(plan)] = plan, plan.packed()
        return known[1]

    def _turn(self) -> None:
        for call in tuple(self._waiting):
            if not self._owners[call][0].get_write_buffer_size():
                call.unblock()
                self._waiting.discard(call)
        for call in self._sender.send_due(time.monotonic()):
            transport, on_end = self._owners[call]
            if rest := call.take_unsent():
                transport.write(rest)
                self._waiting.add(call)
            elif call.over or call.broken:
                self.remove(call)
                on_end()
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
