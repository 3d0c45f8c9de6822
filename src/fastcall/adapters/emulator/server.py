"""The emulator as a whole: an engine, and the server before it."""

from __future__ import annotations

import asyncio
import logging

from fastcall.adapters.emulator.conversation import Host
from fastcall.adapters.emulator.engines import make_engine
from fastcall.adapters.emulator.engines.base import Engine
from fastcall.adapters.emulator.http2.connection import Connection
from fastcall.adapters.emulator.options import Options
from fastcall.adapters.emulator.service import SpeechService
from fastcall.errors import UsageError

__all__ = ["Emulator"]

log = logging.getLogger("fastcall.emulator")


class Emulator:
    """A StreamingRecognize server on the running loop: `async with Emulator(options) as emulator: ...`"""

    def __init__(self, options: Options, engine: Engine | None = None) -> None:
        self.options = options
        self._engine = engine if engine is not None else make_engine(options)
        self.host = Host(options, self._engine)
        self._service = SpeechService(self.host)
        self._server: asyncio.Server | None = None
        self.port = 0
        """The port that it listens on, once started."""

    @property
    def target(self) -> str:
        """`host:port`, as gRPC clients and SPEECH_EMULATOR_HOST want it."""
        return f"{self.options.host}:{self.port}"

    async def start(self) -> None:
        """Start the engine, then listen. Raises UsageError when the port is taken or the engine cannot run."""
        await self._engine.start()
        try:
            await self._listen(self.options.port)
        except OSError as error:
            await self._engine.stop()
            raise UsageError(
                f"cannot listen on {self.options.host}:{self.options.port}: {error.strerror}; "
                "choose another with --port"
            ) from error

    async def _listen(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._service), self.options.host, port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all streams and the engine. May be called more than once."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._service.connections):
            connection.close()
        await self._engine.stop()

    async def __aenter__(self) -> Emulator:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
