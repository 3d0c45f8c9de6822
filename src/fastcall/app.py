"""The server, wired: which recogniser, which sinks, what a signal does. The only file that names uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import uvloop

from fastcall.adapters.front import Front, WaitingRoom
from fastcall.adapters.google import GoogleRecognizer
from fastcall.adapters.http import HttpProtocols
from fastcall.adapters.output import LogOutput, TranscriptFile
from fastcall.adapters.server import MediaConnection, MediaServer
from fastcall.adapters.vad import WebRtcVoiceDetector
from fastcall.doorman import Doorman
from fastcall.drivers.broadcast import Broadcast
from fastcall.drivers.loopwatch import LoopWatch
from fastcall.drivers.probe import Probe
from fastcall.drivers.runner import CallRunner
from fastcall.embedded import EmbeddedRecognizer
from fastcall.errors import UsageError
from fastcall.events import CallStarted, TranscriptEvent
from fastcall.options import ServeOptions, check_exposure, choose_recogniser, is_loopback, load_handler, tls_context
from fastcall.ports import StreamConfig
from fastcall.rules.gate import CallGate, CallHolder, Refusal
from fastcall.rules.metrics import Metrics
from fastcall.rules.records import log_line, one_line, record_line
from fastcall.rules.streamtoken import StreamTokens
from fastcall.settings import Settings
from fastcall.website import Website

__all__ = ["ServeOptions", "Server", "serve"]

log = logging.getLogger("fastcall")

SHUTDOWN_S = 8.0
SERVICE_RESTART = 1012
GOOGLE_ADDRESS = "speech.googleapis.com:443"


class Server:
    """The running server. Loop thread only; ``start``, then ``drain`` if calls may end, then ``stop``.

    :param on_transcript: also told every transcript event as a line of JSON; must return at once
    """

    def __init__(
        self,
        settings: Settings,
        options: ServeOptions,
        *,
        on_transcript: Callable[[str], None] | None = None,
    ) -> None:
        if not settings.enable_streaming_stt:
            raise UsageError("ENABLE_STREAMING_STT=false needs a fallback recogniser, which this version does not have")
        self._settings = settings
        self._options = options
        self._kind, self._endpoint = choose_recogniser(settings, options)
        check_exposure(settings, options)
        self._tls = tls_context(options)
        self._handler = load_handler(options.handler) if options.handler else None
        self.metrics = Metrics()
        self._tokens = StreamTokens(settings.stream_secret) if settings.stream_secret else None
        self._gate = CallGate(max_calls=options.max_calls, tokens=self._tokens)
        self._doorman = Doorman(settings, self.metrics)
        self._broadcast = Broadcast(self.metrics)
        self._writers: list[Callable[[str], None]] = [self._broadcast.write]
        if on_transcript is not None:
            self._writers.append(on_transcript)
        self._file = TranscriptFile(options.transcripts) if options.transcripts else None
        if self._file is not None:
            self._writers.append(self._file.write)
        self._embedded: EmbeddedRecognizer | None = None
        self._recognizer: GoogleRecognizer | None = None
        self._config = StreamConfig(settings.language_or(), settings.model)
        self._calls: set[CallRunner] = set()
        self._is_draining = False
        self._is_drained = asyncio.Event()
        self._front: Front | None = None

    @property
    def live_calls(self) -> int:
        """Sockets that are open or whose last words are still coming."""
        return len(self._calls)

    async def start(self) -> int:
        """Bring the recogniser and the listening socket up.

        :return: the port
        :raises UsageError: something needed is not there; the message says what to do
        """
        log.info("[CFG] ENABLE_STREAMING_STT=%s", self._settings.enable_streaming_stt)
        await self._start_recogniser()
        self._open_up()
        assert self._front is not None
        host, port = self._options.host, self._options.port
        try:
            port = await self._front.listen(host, port)
        except OSError as error:
            await self.stop()
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
            ) from error
        self._tell_where(port)
        return port

    async def _start_recogniser(self) -> None:
        if self._kind == "embedded":
            self._embedded = await EmbeddedRecognizer.start()
            self._endpoint = self._embedded.address
            self._config = StreamConfig(self._settings.language_or("en-US"), "default")
            log.warning(
                "no Google credentials: using the embedded recogniser (PocketSphinx, English only, rough; "
                "for trying out). Set GOOGLE_APPLICATION_CREDENTIALS for real recognition."
            )
        self._recognizer = GoogleRecognizer(emulator_host=self._endpoint)
        self._probe = Probe(self._endpoint or GOOGLE_ADDRESS)

    def _open_up(self) -> None:
        """Everything behind the listening socket."""
        self._watch = LoopWatch(self.metrics, max_lag_s=self._options.max_lag_ms / 1000, on_look=self._look)
        self._media = MediaServer(self._make_runner, admit=self._admit)
        room = WaitingRoom(on_closed=self._note_idle_closed)
        website = Website(
            self._settings,
            path=self._options.path,
            doorman=self._doorman,
            gate=self._gate,
            tokens=self._tokens,
            metrics=self.metrics,
            broadcast=self._broadcast,
            readiness=self.readiness,
            has_room=self._has_room,
            numbers=self._numbers,
            leave_room=room.leave,
        )
        self._http = HttpProtocols(website.answer)
        self._front = Front(
            websocket=self._media, plain=self._http, room=room, on_bad_head=self._note_bad_head, tls=self._tls
        )

    def _tell_where(self, port: int) -> None:
        log.info(
            "listening on %s://%s:%d%s, recogniser %s%s, language %s, model %s",
            "wss" if self._tls is not None else "ws",
            self._options.host,
            port,
            self._options.path,
            self._kind,
            f" at {self._endpoint}" if self._endpoint else "",
            self._config.language,
            self._config.model,
        )
        is_guarded = self._settings.twilio_auth_tokens or self._settings.stream_secret
        if not is_guarded and (self._settings.public_url or not is_loopback(self._options.host)):
            log.warning("whoever reaches this server can place calls: set TWILIO_AUTH_TOKEN or FASTCALL_STREAM_SECRET")

    async def drain(self) -> None:
        """Take no more calls, but those that were promised a place; return when the last has ended, or after
        ``drain_timeout_s``. Plain requests are answered meanwhile: not ready, busy."""
        self._is_draining = True
        self._gate.take_no_more()
        timeout_s = self._options.drain_timeout_s
        if self._calls and timeout_s:
            log.info("draining: the live calls (%d) may end by themselves for %g s", len(self._calls), timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_drained.wait()
        except TimeoutError:
            log.info("the time for draining is over")

    async def stop(self) -> None:
        """Stop accepting, close live calls, let their last words come (at most 8 s), release everything."""
        self._is_draining = True
        if self._front is not None:
            self._front.close()
            if self._calls:
                log.info("stopping: closing the live calls (%d); their last words still come", len(self._calls))
            try:
                async with asyncio.timeout(SHUTDOWN_S):
                    await self._media.close(SERVICE_RESTART, "the server is stopping")
            except TimeoutError:
                log.error("gave up waiting for the last words of %d calls", len(self._calls))
            self._broadcast.close()
            await self._http.close()
            self._watch.stop()
        if self._recognizer is not None:
            await self._recognizer.aclose()
        if self._embedded is not None:
            await self._embedded.stop()
        if self._file is not None:
            self._file.close()

    # --- calls ------------------------------------------------------------------------------------------

    def _make_runner(self, connection: MediaConnection) -> CallRunner:
        assert self._recognizer is not None
        assert self._front is not None
        runner = CallRunner(
            connection,
            settings=self._settings,
            recognizer=self._recognizer,
            config=self._config,
            voice=WebRtcVoiceDetector(self._settings.vad_mode),
            sink=self._sink,
            handler=self._handler,
            gate=_Entry(self, connection, self._front.room),
            metrics=self.metrics,
        )
        self._calls.add(runner)
        runner.on_over(lambda: self._forget(runner))
        return runner

    def _forget(self, runner: CallRunner) -> None:
        self._calls.discard(runner)

    def _look(self) -> None:
        """A few times a second: a drain waits for calls, and for those that were promised a place."""
        if self._is_draining and not self._calls and not self._gate.may_come(now=time.time()):
            self._is_drained.set()

    def _sink(self, event: TranscriptEvent, *, call_sid: str, stream_sid: str) -> None:
        line = log_line(event, call_sid=call_sid)
        if line is not None:
            log.info("%s", line, extra={"call": one_line(call_sid)})
        text = record_line(event, call_sid=call_sid, stream_sid=stream_sid, at=time.time())
        for write in self._writers:
            write(text)

    def enter(self, call: CallStarted, holder: CallHolder) -> Refusal | None:
        """A call's start came."""
        refusal = self._gate.enter(call, holder, now=time.time())
        if refusal is None:
            self.metrics.calls_live = self._gate.live
        elif refusal.is_auth:
            self.metrics.auth_refusals[refusal.reason] += 1
        else:
            self.metrics.calls_refused[refusal.reason] += 1
        return refusal

    def leave(self, call_sid: str, holder: CallHolder) -> None:
        """A call's socket is gone."""
        self._gate.leave(call_sid, holder)
        self.metrics.calls_live = self._gate.live

    # --- who may come in ----------------------------------------------------------------------------------

    def _admit(self, target: str, signatures: list[str]) -> tuple[int, str] | None:
        path = target.partition("?")[0]
        if path.rstrip("/") != self._options.path.rstrip("/"):
            return 404, f"Nothing here; calls connect to {self._options.path}.\n"
        if not self._doorman.may_open_stream(self._options.path, signatures):
            return 403, "This is for Twilio's signed requests.\n"
        if not self._gate.may_come(now=time.time()) or self._watch.is_saturated:
            self.metrics.calls_refused["upgrade"] += 1
            return 503, "No room for another call.\n"
        return None

    def _has_room(self) -> bool:
        breaker_is_open = self._recognizer is not None and self._recognizer.breaker.is_open
        return not (self._is_draining or self._watch.is_saturated or breaker_is_open)

    async def readiness(self) -> list[str]:
        """Why no more calls should be sent here; nothing if they should."""
        reasons = []
        if self._is_draining:
            reasons.append("draining")
        elif not self._gate.is_ready(now=time.time()):
            reasons.append(f"nearly all {self._options.max_calls} places are taken")
        if self._watch.is_strained:
            reasons.append("the event loop is late")
        if self._recognizer is not None and self._recognizer.breaker.is_open:
            reasons.append("the recogniser fails")
        elif not await self._probe.is_reachable():
            reasons.append("the recogniser cannot be reached")
        return reasons

    # --- numbers ------------------------------------------------------------------------------------------

    async def _numbers(self) -> dict[str, Any]:
        return self.snapshot()

    def snapshot(self) -> dict[str, Any]:
        """This process's numbers, as of now."""
        for runner in self._calls:
            runner.count()
        if self._front is not None:
            self.metrics.sockets_waiting = len(self._front.room)
        return self.metrics.snapshot()

    def _note_idle_closed(self) -> None:
        self.metrics.idle_closed += 1

    def _note_bad_head(self, reason: str) -> None:
        self.metrics.bad_heads[reason] += 1


class _Entry:
    """The gate as one connection sees it: with the call it leaves the room of those that wait."""

    def __init__(self, server: Server, connection: MediaConnection, room: WaitingRoom) -> None:
        self._server = server
        self._connection = connection
        self._room = room

    def enter(self, call: CallStarted, holder: CallHolder) -> Refusal | None:
        refusal = self._server.enter(call, holder)
        if refusal is None:
            self._room.leave(self._connection.transport)
        return refusal

    def leave(self, call_sid: str, holder: CallHolder) -> None:
        self._server.leave(call_sid, holder)


async def _serve_until_signal(settings: Settings, options: ServeOptions) -> None:
    server = Server(settings, options)
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    try:
        await server.start()
        await signals.get()
        # The first signal lets calls end, the second does not.
        draining = loop.create_task(server.drain())
        again = loop.create_task(signals.get())
        await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        again.cancel()
    finally:
        await server.stop()


def _allow_sockets() -> None:
    """A call takes a descriptor; the usual limit of a shell is 1024, and may be raised to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # where it may not, the limit stays what it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(settings: Settings, options: ServeOptions) -> int:
    """Serve until SIGTERM or SIGINT.

    :return: the exit status
    """
    _allow_sockets()
    output = LogOutput(sys.stdout, options.log_format)
    try:
        uvloop.run(_serve_until_signal(settings, options))
    finally:
        output.close()
    return 0
