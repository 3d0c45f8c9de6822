"""A relay between a client and a server, which can hold back, and cut, what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from peers import PATIENCE_S

__all__ = ["Between"]


class Between:
    """A relay between client and emulator that counts connections, and can cut one of them."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.clients: list[asyncio.StreamWriter] = []
        """Every connection that there was, in order."""
        self.open: set[asyncio.StreamWriter] = set()
        self.address = ""
        self._may_answer = asyncio.Event()
        self._may_answer.set()

    def hold(self) -> None:
        """What the emulator says waits."""
        self._may_answer.clear()

    def let_go(self) -> None:
        """It does not any more."""
        self._may_answer.set()

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=100)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    def cut(self, number: int) -> None:
        """A TCP reset of connection ``number``, from 0."""
        transport = self.clients[number].transport
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for connections to come or go until it is true."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_true():
                self._changed.clear()
                await self._changed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        self.open.add(writer)
        self._changed.set()
        to_reader, to_writer = await asyncio.open_connection(*self._target)
        try:
            await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer, self._may_answer))
        finally:
            self.open.discard(writer)
            self._changed.set()


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_go: asyncio.Event | None = None
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            if may_go is not None:
                await may_go.wait()
            writer.write(data)
            await writer.drain()
    writer.close()
