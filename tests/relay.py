"""A relay between a client and a server, which can hold back, and cut, what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

from accepting import accepting, connected, join
from peers import PATIENCE_S

__all__ = ["Between"]


class Between:
    """A relay between client and emulator that counts connections, and can cut one of them."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
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

    def detach(self) -> None:
        """It does not any more."""
        self._may_answer.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It accepts connections at ``address``; all of them end with it."""
        async with accepting(self._serve) as port:
            self.address = f"127.0.0.1:{port}"
            yield

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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        self.open.add(writer)
        self._changed.set()
        try:
            async with connected(*self._target) as (back, forth):
                await asyncio.gather(join(reader, forth), join(back, writer, self._may_answer))
        finally:
            self.open.discard(writer)
            self._changed.set()
