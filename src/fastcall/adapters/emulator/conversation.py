"""Drives one stream: the rules, the engine's ear and one timer, between a transport and an engine."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Protocol

from fastcall.adapters.emulator.admission import Admission, Refusal
from fastcall.adapters.emulator.audio import AudioDecoder
from fastcall.adapters.emulator.codec import Codec, codec_for
from fastcall.adapters.emulator.dialects import DIALECTS, Dialect
from fastcall.adapters.emulator.engines.base import Engine, EngineEvent, EngineStream
from fastcall.adapters.emulator.messages import ConfigRequest, Response, Status, StreamConfig
from fastcall.adapters.emulator.options import Options
from fastcall.adapters.emulator.rules import StreamRules

__all__ = ["Conversation", "Host", "Peer"]

log = logging.getLogger("fastcall.emulator")


class Peer(Protocol):
    """The transport's side of a stream. Calls are made on the event loop and never block."""

    def send(self, message: bytes) -> None:
        """Send one response message."""

    def finish(self, status: Status) -> None:
        """End the stream after what was sent. Called once."""


class Host:
    """What the streams of one server share."""

    def __init__(self, options: Options, engine: Engine) -> None:
        self.options = options
        self.engine = engine
        self.admission = Admission(options)
        self.opened = 0
        """Streams opened since the start; numbers them."""


class Conversation:
    """One stream. The transport calls `message`, `half_closed`, `cancelled`; all on the event loop."""

    def __init__(self, host: Host, version: str, peer: Peer) -> None:
        self._host = host
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._dialect: Dialect = DIALECTS[version]
        self._codec: Codec = codec_for(version)
        self._ear: EngineStream | None = None
        self._decoder: AudioDecoder | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._busy = False  # inside a step: events that the engine tells at once belong to that step
        self._over = False
        host.opened += 1
        self.number = host.opened
        now = self._loop.time()
        self._rules = StreamRules(
            host.options,
            self._dialect,
            Random(f"{host.options.seed}/{self.number}"),
            rates_hertz=host.engine.sample_rates_hertz,
            now=now,
        )
        self._refusal = host.admission.open(now=now)
        if self._refusal is None:
            self._settle()

    def message(self, data: bytes) -> None:
        """A request message from the client."""
        if self._over or self._is_refused():
            return
        now = self._loop.time()
        request = self._codec.decode(data)
        self._busy = True
        audio = self._rules.receive(request, now=now)
        if isinstance(request, ConfigRequest) and self._rules.status is None:
            self._open_ear(request.config)
        if audio and self._ear is not None and self._decoder is not None:
            self._ear.feed(self._decoder.decode(audio))
        self._settle()

    def half_closed(self) -> None:
        """The client has sent all."""
        if self._over or self._is_refused():
            return
        self._busy = True
        self._rules.half_close(now=self._loop.time())
        if self._rules.status is None and self._ear is not None:
            self._ear.finish()
        self._settle()

    def cancelled(self) -> None:
        """The client or the connection is gone. Harmless after the end."""
        self._release()

    def _open_ear(self, config: StreamConfig) -> None:
        self._decoder = AudioDecoder(config.encoding)
        self._ear = self._host.engine.open(config, self._hear)

    def _hear(self, event: EngineEvent) -> None:
        if self._over:
            return
        self._rules.hear(event, now=self._loop.time())
        if not self._busy:
            self._settle()

    def _on_timer(self) -> None:
        self._timer = None
        self._rules.handle_deadline(now=max(self._loop.time(), self._timer_at))
        self._settle()

    def _settle(self) -> None:
        """Send what the rules say, and arm the timer for what they wait for."""
        self._busy = False
        for response in self._rules.take():
            self._send(response)
        status = self._rules.status
        if status is not None:
            self._release()
            self._peer.finish(status)
            return
        deadline = self._rules.next_deadline
        if deadline is None:
            return
        # A timer that fires too early only looks again: deadlines that move out with each request cost nothing.
        if self._timer is not None and self._timer_at <= deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _send(self, response: Response) -> None:
        config = self._rules.config
        assert config is not None  # there is no response before a configuration
        self._peer.send(self._codec.encode(response, config, self.number))

    def _is_refused(self) -> bool:
        """Answer the first request of a stream that no quota had room for.

        Not before the first request: gRPC's Python client reports an internal error of its own when a stream
        ends while it begins to write.
        """
        if self._refusal is None:
            return False
        quota = (
            self._dialect.requests_per_minute()
            if self._refusal is Refusal.REQUESTS_PER_MINUTE
            else self._dialect.concurrent_streams()
        )
        self._release()
        self._peer.finish(quota)
        return True

    def _release(self) -> None:
        if self._over:
            return
        self._over = True
        if self._refusal is None:
            self._host.admission.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ear is not None:
            self._ear.close()
