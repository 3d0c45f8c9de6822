"""The complete emulator: an engine and its server."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from fastcall.emulator.control import Control, HttpConnection
from fastcall.emulator.engines import make_engine
from fastcall.emulator.engines.base import Engine
from fastcall.emulator.faults import Fault, parse_faults
from fastcall.emulator.files import read_yaml
from fastcall.emulator.grpc_server import Connection
from fastcall.emulator.options import Options
from fastcall.emulator.record import Recorder
from fastcall.emulator.server_state import ServerState
from fastcall.emulator.service import SpeechService
from fastcall.errors import UsageError

__all__ = ["Emulator"]

log = logging.getLogger("fastcall.emulator")

_RELISTEN_S: Final = 0.1  # between attempts to listen again after a fault closed the port


class Emulator:
    """A StreamingRecognize server on the running loop: `async with Emulator(options) as emulator: ...`

    Raises UsageError, here or from `start`, for options that cannot work.
    """

    def __init__(
        self, options: Options, engine: Engine | None = None, *, faults: Sequence[Fault] | None = None
    ) -> None:
        self.options = options
        if faults is None:
            faults = read_yaml(options.scenario, parse_faults) if options.scenario is not None else ()
        recorder = None
        if options.record is not None:
            recorder = Recorder(options.record, started=datetime.now(UTC).strftime("%Y%m%dT%H%M%S"))
        self._tls = _tls_context(options)
        self._engine = engine if engine is not None else make_engine(options)
        self.state = ServerState(options, self._engine, faults=faults, recorder=recorder)
        self._control = Control(self.state, self._refuse_connections)
        self.service = SpeechService(self.state, lambda: HttpConnection(self._control))
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        """The listening port, once started."""

    @property
    def target(self) -> str:
        """`host:port`, as gRPC clients and SPEECH_EMULATOR_HOST expect it."""
        return f"{self.options.host}:{self.port}"

    async def start(self) -> None:
        """Start the engine, then listen. Raises UsageError if the port is in use or the engine cannot run."""
        await self._engine.start()
        try:
            await self._listen(self.options.port)
        except OSError as error:
            await self._engine.stop()
            raise UsageError(
                f"cannot listen on {self.options.host}:{self.options.port}: {_reason(error)}; "
                "choose another with --port"
            ) from error
        for fault in self.state.faults.of_server():
            self._refuse_connections(fault)

    async def stop(self) -> None:
        """End all streams and the engine. May be called more than once."""
        for task in list(self._tasks):
            task.cancel()
        self._close_listener()
        for connection in list(self.service.connections):
            connection.close()
        await self._engine.stop()

    async def _listen(self, port: int) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self.service), self.options.host, port, backlog=1024, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _refuse_connections(self, fault: Fault) -> None:
        task = asyncio.get_running_loop().create_task(self._refuse_for_a_time(fault))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refuse_for_a_time(self, fault: Fault) -> None:
        """Close the listening socket, so that the system refuses connections; open streams continue."""
        await asyncio.sleep(fault.at_s)
        self.state.count_faults([fault.fault])
        self._close_listener()
        await asyncio.sleep(fault.for_s or 0.0)
        while self._server is None:
            try:
                await self._listen(self.port)
            except OSError as error:
                log.error("cannot listen on %s again: %s", self.target, _reason(error))
                await asyncio.sleep(_RELISTEN_S)

    async def __aenter__(self) -> Emulator:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _reason(error: OSError) -> str:
    # asyncio adds the address to the text; the system's message is enough.
    return os.strerror(error.errno) if error.errno else str(error)


def _tls_context(options: Options) -> ssl.SSLContext | None:
    if options.tls_cert is None and options.tls_key is None:
        return None
    if options.tls_cert is None or options.tls_key is None:
        raise UsageError("TLS needs both --tls-cert and --tls-key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except OSError as error:
        raise UsageError(f"cannot use {options.tls_cert} and {options.tls_key}: {error}") from error
    return context
