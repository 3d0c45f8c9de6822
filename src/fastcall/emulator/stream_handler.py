"""Drives one stream: connects the rules, the engine's stream, one timer and the transport."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Protocol

from fastcall.emulator.admission import Refusal
from fastcall.emulator.api_versions import API_VERSIONS, ApiVersion
from fastcall.emulator.audio import AudioDecoder
from fastcall.emulator.codec import Codec, codec_for
from fastcall.emulator.engines.base import EngineEvent, EngineStream
from fastcall.emulator.faults import Fault, Kind, StreamFaults
from fastcall.emulator.messages import ConfigRequest, Response, Status, StreamConfig
from fastcall.emulator.record import StreamRecord
from fastcall.emulator.rules import StreamRules
from fastcall.emulator.server_state import ServerState

__all__ = ["Peer", "StreamHandler"]


class Peer(Protocol):
    """The transport's side of a stream. Calls are made on the event loop and never block."""

    def accept(self) -> None:
        """Accept the stream: send the initial metadata."""

    def send(self, message: bytes) -> None:
        """Send one response message."""

    def finish(self, status: Status) -> None:
        """End the stream after all sent messages. Called at most once."""

    def reset_connection(self) -> None:
        """Cut the connection under the stream."""

    def leave_connection(self) -> None:
        """Announce that the connection takes no more streams (GOAWAY)."""


class StreamHandler:
    """One stream. The transport calls `message`, `half_closed`, `cancelled`; all on the event loop."""

    def __init__(self, state: ServerState, version: str, peer: Peer) -> None:
        self._state = state
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._api_version: ApiVersion = API_VERSIONS[version]
        self._codec: Codec = codec_for(version)
        self._engine_stream: EngineStream | None = None
        self._decoder: AudioDecoder | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._busy = False  # inside a step: the engine's synchronous events belong to that step
        self._over = False
        self.number = state.began(self)
        now = self._loop.time()
        self._record: StreamRecord | None = None
        if state.recorder is not None:
            self._record = state.recorder.open(self.number, version, now=now)
        faults = StreamFaults(state.faults.choose(self.number))
        self._early: list[bytes | None] | None = None  # messages received before a slow accept; None: the half-close
        self._rules = StreamRules(
            state.options,
            self._api_version,
            Random(f"{state.options.seed}/{self.number}"),
            rates_hertz=state.engine.sample_rates_hertz,
            now=now,
            faults=faults,
        )
        self._refusal = state.admission.open(now=now)
        if faults.accept_delay_s:
            self._early = []
            faults.fired.append(Kind.SLOW_ACCEPT)
            self._arm(now + faults.accept_delay_s)
        else:
            self._accept()

    @property
    def audio_s(self) -> float:
        """Audio received, in seconds."""
        return self._rules.audio_s

    def message(self, data: bytes) -> None:
        """A request message from the client."""
        if self._over:
            return
        if self._early is not None:
            self._early.append(data)
            return
        if self._is_refused():
            return
        now = self._loop.time()
        request = self._codec.decode(data)
        if self._record is not None:
            self._record.request(request, now=now)
        self._busy = True
        audio = self._rules.receive(request, now=now)
        if isinstance(request, ConfigRequest) and self._rules.status is None and self._engine_stream is None:
            self._open_engine_stream(request.config)
        if audio and self._engine_stream is not None and self._decoder is not None:
            pcm = self._decoder.decode(audio)
            if self._record is not None:
                self._record.audio(pcm)
            self._engine_stream.feed(pcm)
        self._settle()

    def half_closed(self) -> None:
        """The client has sent its last message."""
        if self._over:
            return
        if self._early is not None:
            self._early.append(None)
            return
        if self._is_refused():
            return
        if self._record is not None:
            self._record.half_close(now=self._loop.time())
        self._busy = True
        self._rules.half_close(now=self._loop.time())
        if self._rules.status is None and self._engine_stream is not None:
            self._engine_stream.finish()
        self._settle()

    def cancelled(self) -> None:
        """The client or the connection is gone. Harmless after the end."""
        self._release("CANCELLED")

    def inject(self, fault: Fault) -> None:
        """Inject a fault now, for a control call."""
        if not self._over:
            self._rules.inject(fault, now=self._loop.time())
            self._settle()

    def _accept(self) -> None:
        self._peer.accept()
        if self._refusal is None:
            self._settle()

    def _accept_late(self) -> None:
        early, self._early = self._early, None
        self._accept()
        for data in early or ():
            if data is None:
                self.half_closed()
            else:
                self.message(data)

    def _open_engine_stream(self, config: StreamConfig) -> None:
        self._decoder = AudioDecoder(config.encoding)
        self._engine_stream = self._state.engine.open(config, self._hear)

    def _hear(self, event: EngineEvent) -> None:
        if self._over:
            return
        self._rules.on_engine_event(event, now=self._loop.time())
        if not self._busy:
            self._settle()

    def _on_timer(self) -> None:
        self._timer = None
        if self._early is not None:
            self._accept_late()
            return
        self._rules.handle_deadline(now=max(self._loop.time(), self._timer_at))
        self._settle()

    def _settle(self) -> None:
        """Send the rules' output, and arm the timer for their next deadline."""
        self._busy = False
        now = self._loop.time()
        for response in self._rules.take():
            self._send(response, now)
        self._report_faults(now)
        if self._over:  # the connection was cut
            return
        status = self._rules.status
        if status is not None:
            if self._record is not None:
                self._record.status(status, now=now)
            self._release(status.code.name)
            self._peer.finish(status)
            return
        deadline = self._rules.next_deadline
        if deadline is not None:
            self._arm(deadline)

    def _arm(self, deadline: float) -> None:
        # A timer that fires too early is only armed again: deadlines that move with each request cost nothing.
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _send(self, response: Response, now: float) -> None:
        config = self._rules.config
        assert config is not None  # there is no response before a configuration
        if self._record is not None:
            self._record.response(response, now=now)
        self._peer.send(self._codec.encode(response, config, self.number))

    def _report_faults(self, now: float) -> None:
        fired = self._rules.faults.take_fired()
        if not fired:
            return
        self._state.count_faults(fired)
        if self._record is not None:
            for kind in fired:
                self._record.fault(kind.value, now=now)
        cuts, self._rules.cuts = self._rules.cuts, []
        for kind in cuts:
            if kind is Kind.RESET:
                self._release("RESET")
                self._peer.reset_connection()
            else:
                self._peer.leave_connection()

    def _is_refused(self) -> bool:
        """Refuse a stream for lack of quota, at its first request.

        Not earlier: gRPC's Python client reports an internal error of its own if a stream ends while it begins
        to write.
        """
        if self._refusal is None:
            return False
        quota = (
            self._api_version.requests_per_minute()
            if self._refusal is Refusal.REQUESTS_PER_MINUTE
            else self._api_version.concurrent_streams()
        )
        self._release(quota.code.name)
        self._peer.finish(quota)
        return True

    def _release(self, ended: str) -> None:
        if self._over:
            return
        self._over = True
        self._state.over(self.number, ended, self._rules.audio_s)
        if self._refusal is None:
            self._state.admission.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._engine_stream is not None:
            self._engine_stream.close()
        if self._record is not None:
            self._record.close()
