"""The emulator as a whole: an engine and the gRPC server before it."""

from __future__ import annotations

import logging

import grpc
import grpc.aio

from fastcall.adapters.emulator.conversation import Host
from fastcall.adapters.emulator.engines import make_engine
from fastcall.adapters.emulator.engines.base import Engine
from fastcall.adapters.emulator.options import Options
from fastcall.adapters.emulator.service import handlers
from fastcall.errors import UsageError

__all__ = ["Emulator"]

log = logging.getLogger("fastcall.emulator")


class Emulator:
    """A StreamingRecognize server on the running event loop. `async with Emulator(options) as emulator: ...`"""

    def __init__(self, options: Options, engine: Engine | None = None) -> None:
        self.options = options
        self._engine = engine if engine is not None else make_engine(options)
        self.host = Host(options, self._engine)
        self._server: grpc.aio.Server | None = None
        self.port = 0
        """The port that it listens on, once started."""

    @property
    def target(self) -> str:
        """`host:port`, as gRPC clients and SPEECH_EMULATOR_HOST want it."""
        return f"{self.options.host}:{self.port}"

    async def start(self) -> None:
        """Start the engine, then listen. Raises UsageError when the port is taken or the engine cannot run."""
        options = self.options
        await self._engine.start()
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # a port in use must be an error, not a second server
                ("grpc.max_concurrent_streams", options.streams_per_connection or 2**31 - 1),
                ("grpc.max_receive_message_length", 10 * 1024 * 1024),
            ]
        )
        server.add_generic_rpc_handlers(handlers(self.host))
        try:
            self.port = server.add_insecure_port(f"{options.host}:{options.port}")
        except RuntimeError as error:
            await self._engine.stop()
            raise UsageError(
                f"cannot listen on {options.host}:{options.port}: the port is in use or not allowed; "
                "choose another with --port"
            ) from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End all streams and the engine. May be called more than once."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None
        await self._engine.stop()

    async def __aenter__(self) -> Emulator:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
