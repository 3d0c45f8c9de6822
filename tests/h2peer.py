"""A gRPC server made of PyPI's ``h2``, which can misbehave at every level of HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import h2.config
import h2.connection
import h2.events

from accepting import stop_accepting

__all__ = ["ANSWER", "OK", "H2Peer", "frame", "grpc_message", "h2_server"]

ANSWER = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]


def grpc_message(body: bytes, *, flag: int = 0) -> bytes:
    """Length-prefixed; ``flag``: 1 says that it is compressed."""
    return bytes((flag,)) + struct.pack(">I", len(body)) + body


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """An HTTP/2 frame by hand."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


class H2Peer(asyncio.Protocol):
    """One connection. ``script(peer, event)`` is called with each event of h2's; what it does goes out after it."""

    def __init__(self, script: Callable[[H2Peer, Any], None], connections: list[H2Peer]) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.bodies: dict[int, bytearray] = {}
        self.lost = asyncio.get_running_loop().create_future()
        self._script = script
        self._connections = connections

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._connections.append(self)
        self.h2.initiate_connection()
        self._script(self, "connected")
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.bodies.setdefault(event.stream_id, bytearray()).extend(event.data)
            self._script(self, event)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(None)

    def flush(self) -> None:
        """What h2 has to send."""
        data = self.h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def raw(self, data: bytes) -> None:
        """Bytes that h2 knows nothing of, in their order."""
        self.flush()
        self.transport.write(data)

    def answer(self, stream: int, *bodies: bytes, end: bool = False) -> None:
        """Headers, messages and, with ``end``, the status OK."""
        self.h2.send_headers(stream, ANSWER)
        for body in bodies:
            self.h2.send_data(stream, grpc_message(body))
        if end:
            self.h2.send_headers(stream, OK, end_stream=True)

    def credit(self, event: h2.events.DataReceived) -> None:
        """Give back the window that DATA took."""
        if event.flow_controlled_length:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)


@contextlib.asynccontextmanager
async def h2_server(
    script: Callable[[H2Peer, Any], None], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[int, list[H2Peer]]]:
    """The port, and the connections as they come."""
    connections: list[H2Peer] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: H2Peer(script, connections), host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], connections
    finally:
        await stop_accepting(server)
        for peer in connections:
            peer.transport.abort()
            await peer.lost
        await server.wait_closed()
