"""The server, wired: which recogniser, which sinks, what a signal does. The only file that names uvloop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable

import uvloop

from fastcall.adapters.google import GoogleRecognizer
from fastcall.adapters.output import LogOutput, TranscriptFile
from fastcall.adapters.server import MediaConnection, start_server
from fastcall.adapters.vad import WebRtcVoiceDetector
from fastcall.drivers.runner import CallRunner
from fastcall.embedded import EmbeddedRecognizer
from fastcall.errors import UsageError
from fastcall.events import TranscriptEvent
from fastcall.options import ServeOptions, choose_recogniser, load_handler
from fastcall.ports import StreamConfig
from fastcall.rules.records import log_line, record_line
from fastcall.settings import Settings

__all__ = ["ServeOptions", "Server", "load_handler", "serve"]

log = logging.getLogger("fastcall")

SHUTDOWN_S = 8.0
GOING_AWAY = 1001


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
        if not settings.enable_streaming_stt:
            raise UsageError("ENABLE_STREAMING_STT=false needs a fallback recogniser, which this version does not have")
        self._settings = settings
        self._options = options
        self._kind, self._endpoint = choose_recogniser(settings, options)
        self._handler = load_handler(options.handler) if options.handler else None
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
        self._recognizer = GoogleRecognizer(emulator_host=self._endpoint)
        try:
            self._server = await start_server(
                self._make_runner,
                host=self._options.host,
                port=self._options.port,
                path=self._options.path,
                respond=self._respond,
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
        if self._embedded is not None:
            await self._embedded.stop()
        if self._file is not None:
            self._file.close()

    def _make_runner(self, connection: MediaConnection) -> CallRunner:
        assert self._recognizer is not None
        runner = CallRunner(
            connection,
            settings=self._settings,
            recognizer=self._recognizer,
            config=self._config,
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
