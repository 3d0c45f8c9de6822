"""The server, wired: which recogniser, which sinks, what a signal does. The only file that names uvloop."""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import logging
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import uvloop

from fastcall.adapters.google import GoogleRecognizer
from fastcall.adapters.output import LogOutput, TranscriptFile
from fastcall.adapters.server import MediaConnection, start_server
from fastcall.adapters.vad import WebRtcVoiceDetector
from fastcall.drivers.runner import CallRunner, Handler
from fastcall.embedded import EmbeddedRecognizer
from fastcall.errors import UsageError
from fastcall.events import TranscriptEvent
from fastcall.fallbacks import NO_FALLBACK, load_callable, load_fallback, start_fallback
from fastcall.ports import Fallback, StreamConfig
from fastcall.rules.records import log_line, record_line
from fastcall.settings import Settings

__all__ = ["ServeOptions", "Server", "load_handler", "serve"]

log = logging.getLogger("fastcall")

Recogniser = Literal["google", "emulator", "embedded", "none"]

SHUTDOWN_S = 8.0
GOING_AWAY = 1001


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The command line of ``fastcall serve``."""

    host: str = "127.0.0.1"
    port: int = 8080
    path: str = "/media"
    stt: str = "auto"
    stt_endpoint: str | None = None
    handler: str | None = None
    fallback: str | None = None
    transcripts: str | None = None
    log_format: str = "text"
    hot_lane: bool = True


def choose_recogniser(settings: Settings, options: ServeOptions) -> tuple[Recogniser, str | None]:
    """Which recogniser to use, and the endpoint where one is needed.

    The flag, else ``SPEECH_EMULATOR_HOST``, else ``GOOGLE_APPLICATION_CREDENTIALS``, else the embedded one, which is
    for this machine only.

    :raises UsageError: the choice cannot work
    """
    if not settings.enable_streaming_stt:
        return "none", None
    endpoint = options.stt_endpoint or settings.speech_emulator_host
    if options.stt == "google" or (options.stt == "google-v2" and not endpoint):
        return "google", None
    if endpoint and ":" not in endpoint:
        raise UsageError(f"the recogniser's endpoint {endpoint!r} has no port: say HOST:PORT")
    if options.stt == "emulator" and not endpoint:
        raise UsageError("--stt emulator needs --stt-endpoint HOST:PORT or SPEECH_EMULATOR_HOST")
    if endpoint:
        return "emulator", endpoint
    if settings.google_application_credentials:
        return "google", None
    if not _is_loopback(options.host):
        raise UsageError(
            f"no recogniser is set up, and the embedded one serves loopback only, not {options.host}: set "
            "GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or SPEECH_EMULATOR_HOST to an emulator"
        )
    return "embedded", None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_handler(name: str) -> Handler:
    """The callable that ``module:callable`` names.

    :raises UsageError: there is none, or it is not ``async def handler(call)``
    """
    handler = load_callable("--handler", name)
    if not inspect.iscoroutinefunction(handler):
        raise UsageError(f"--handler {name!r} is not an `async def` function of one argument, the call")
    checked: Handler = handler
    return checked


class Server:
    """The running server. Loop thread only; ``start``, then ``stop``.

    :param on_transcript: also told every transcript event as a line of JSON; must return at once
    """

    def __init__(
        self,
        settings: Settings,
        options: ServeOptions,
        *,
        on_transcript: Callable[[str], None] | None = None,
    ) -> None:
        if not settings.enable_streaming_stt and not (options.fallback or settings.whisper_model):
            raise UsageError(f"ENABLE_STREAMING_STT=false needs a fallback: {NO_FALLBACK}")
        self._settings = settings
        self._options = options
        self._kind, self._endpoint = choose_recogniser(settings, options)
        self._handler = load_handler(options.handler) if options.handler else None
        self._own_fallback = load_fallback(options.fallback) if options.fallback else None
        self._fallback: Fallback | None = None
        self._is_lack_told = False
        self._writers: list[Callable[[str], None]] = [on_transcript] if on_transcript else []
        self._file = TranscriptFile(options.transcripts) if options.transcripts else None
        if self._file is not None:
            self._writers.append(self._file.write)
        self._embedded: EmbeddedRecognizer | None = None
        self._recognizer: GoogleRecognizer | None = None
        self._config = StreamConfig(settings.language_or(), settings.model)
        self._calls: set[CallRunner] = set()

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
        if self._kind == "embedded":
            self._embedded = await EmbeddedRecognizer.start()
            self._endpoint = self._embedded.address
            self._config = StreamConfig(self._settings.language_or("en-US"), "default")
            log.warning(
                "no Google credentials: using the embedded recogniser (PocketSphinx, English only, rough; "
                "for trying out). Set GOOGLE_APPLICATION_CREDENTIALS for real recognition."
            )
        try:
            if self._kind != "none":
                self._recognizer = self._make_recognizer()
            self._fallback = await start_fallback(self._settings, self._own_fallback, self._config.language)
        except UsageError:
            await self.stop()
            raise
        try:
            self._server = await start_server(
                self._make_runner,
                host=self._options.host,
                port=self._options.port,
                path=self._options.path,
                respond=self._respond,
                hot_lane=self._options.hot_lane,
            )
        except OSError as error:
            await self.stop()
            raise UsageError(
                f"cannot listen on {self._options.host}:{self._options.port}: {error.strerror}; "
                "choose another --host or --port"
            ) from error
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        log.info(
            "listening on ws://%s:%d%s, recogniser %s%s, language %s, model %s",
            self._options.host,
            port,
            self._options.path,
            self._kind,
            f" at {self._endpoint}" if self._endpoint else "",
            self._config.language,
            self._config.model,
        )
        return port

    async def stop(self) -> None:
        """Stop accepting, close live calls, let their last words come (at most 8 s), release everything."""
        server = getattr(self, "_server", None)
        if server is not None:
            if self._calls:
                log.info("stopping: closing the live calls (%d); their last words still come", len(self._calls))
            server.close(code=GOING_AWAY, reason="the server is stopping")
            try:
                async with asyncio.timeout(SHUTDOWN_S):
                    await server.wait_closed()
            except TimeoutError:
                log.error("gave up waiting for the last words of %d calls", len(self._calls))
        if self._recognizer is not None:
            await self._recognizer.aclose()
        if self._fallback is not None:
            await self._fallback.aclose()
        if self._embedded is not None:
            await self._embedded.stop()
        if self._file is not None:
            self._file.close()

    def _make_recognizer(self) -> GoogleRecognizer:
        settings = self._settings
        if self._options.stt != "google-v2":
            return GoogleRecognizer(emulator_host=self._endpoint)
        return GoogleRecognizer.version2(
            emulator_host=self._endpoint,
            project=settings.google_cloud_project,
            location=settings.stt_location,
            sensitivity=settings.stt_sensitivity,
        )

    def _make_runner(self, connection: MediaConnection) -> CallRunner:
        runner = CallRunner(
            connection,
            settings=self._settings,
            recognizer=self._recognizer,
            config=self._config,
            fallback=self._fallback,
            voice=WebRtcVoiceDetector(self._settings.vad_mode),
            sink=self._sink,
            handler=self._handler,
        )
        self._calls.add(runner)
        runner.on_over(lambda: self._calls.discard(runner))
        return runner

    def _sink(self, event: TranscriptEvent, *, call_sid: str, stream_sid: str) -> None:
        line = log_line(event, call_sid=call_sid)
        if line is not None:
            log.info("%s", line)
        if event.event == "session_failed" and self._fallback is None and not self._is_lack_told:
            self._is_lack_told = True
            log.warning("there is no fallback for what the recogniser cannot serve: %s", NO_FALLBACK)
        if self._writers:
            text = record_line(event, call_sid=call_sid, stream_sid=stream_sid, at=time.time())
            for write in self._writers:
                write(text)

    def _respond(self, path: str) -> tuple[int, str] | None:
        return (200, "ok\n") if path == "/healthz" else None


async def _serve_until_signal(settings: Settings, options: ServeOptions) -> None:
    server = Server(settings, options)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await server.start()
        await stopping.wait()
    finally:
        await server.stop()


def serve(settings: Settings, options: ServeOptions) -> int:
    """Serve until SIGTERM or SIGINT.

    :return: the exit status
    """
    output = LogOutput(sys.stdout, options.log_format)
    try:
        uvloop.run(_serve_until_signal(settings, options))
    finally:
        output.close()
    return 0
