"""The gRPC service: routes calls to `StreamHandler`s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastcall.emulator.api_versions import API_VERSIONS
from fastcall.emulator.grpc_server import CallHandler, Connection, GrpcStream
from fastcall.emulator.messages import Code, Status
from fastcall.emulator.server_state import ServerState
from fastcall.emulator.stream_handler import StreamHandler

__all__ = ["SpeechService"]

_PATHS = {f"/{api_version.service}/StreamingRecognize": version for version, api_version in API_VERSIONS.items()}


class SpeechService:
    """StreamingRecognize of all versions, for all connections of a server."""

    def __init__(self, state: ServerState, other: Callable[[], asyncio.Protocol]) -> None:
        """`other` creates the protocol for clients that use HTTP/1.1."""
        self._state = state
        self._other = other
        self.streams_per_connection = state.options.streams_per_connection
        self.connections: set[Connection] = set()

    def connected(self, connection: Connection) -> None:
        self.connections.add(connection)

    def disconnected(self, connection: Connection) -> None:
        self.connections.discard(connection)

    def call(self, path: str, stream: GrpcStream) -> CallHandler | None:
        version = _PATHS.get(path)
        if version is None:
            # For unknown methods, like Google's servers, and for those that the emulator does not have: Recognize, ...
            stream.finish(Status(Code.UNIMPLEMENTED, f"The emulator has no method {path[:200]}"))
            return None
        return StreamHandler(self._state, version, stream)

    def http1(self, connection: Connection, data: bytes) -> asyncio.Protocol | None:
        # All HTTP/1.1 methods are upper-case letters; drop everything else.
        return self._other() if data[:1].isalpha() and data[:1].isupper() else None
