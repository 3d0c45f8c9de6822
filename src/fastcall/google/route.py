"""Connecting to an address: by TCP to the first of its IP addresses that answers, or through a proxy.

Streams and the readiness probe use the same route, so that the probe's result holds for the streams.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Any

import aiohappyeyeballs

from fastcall.google.proxy import Proxy, connect_request, proxy_for, refusal_of

__all__ = ["Route"]

# RFC 8305 section 5: after this time without an answer, the next address is tried in parallel.
STAGGER_S = 0.25
MAX_HEAD_BYTES = 16 * 1024
END_OF_HEAD = b"\r\n\r\n"


class Route:
    """An address, and the proxy to it. Immutable.

    :param host: a name or an address, without brackets
    """

    def __init__(self, host: str, port: int, *, proxy: Proxy | None = None) -> None:
        self.host = host
        self.port = port
        self.proxy = proxy

    @classmethod
    def to(cls, address: str, environ: Mapping[str, str] = os.environ) -> Route:
        """The route to ``address`` (``host:port``), through the proxy that the environment sets for it.

        :raises UsageError: the environment's proxy is malformed
        """
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        return cls(host, int(port), proxy=proxy_for(environ, host))

    @property
    def address(self) -> str:
        """``host:port``, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def connect(self) -> socket.socket:
        """A connected socket, owned by the caller. Has no timeout.

        :raises OSError: connecting failed; also UnicodeError and OverflowError for a malformed host or port
        """
        if self.proxy is None:
            return await _connect(self.host, self.port)
        try:
            sock = await _connect(self.proxy.host, self.proxy.port)
        except OSError as error:
            raise OSError(f"the proxy {self.proxy} cannot be reached: {error.strerror or error}") from error
        try:
            await self._ask_for_a_tunnel(sock, self.proxy)
        except BaseException:
            sock.close()
            raise
        return sock

    async def reach(self) -> None:
        """Connect and disconnect; errors as ``connect``."""
        (await self.connect()).close()

    async def _ask_for_a_tunnel(self, sock: socket.socket, proxy: Proxy) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, connect_request(proxy, self.address))
        head = b""
        while not head.endswith(END_OF_HEAD):
            # Read no byte beyond the head: what follows belongs to the tunnel.
            missing = next(4 - cut for cut in (3, 2, 1, 0) if head.endswith(END_OF_HEAD[:cut]))
            data = await loop.sock_recv(sock, missing)
            head += data
            if not data or len(head) > MAX_HEAD_BYTES:
                raise OSError(f"the proxy {proxy} did not respond like an HTTP proxy")
        refusal = refusal_of(head)
        if refusal is not None:
            raise OSError(f"the proxy {proxy} {refusal}")


async def resolve(host: str, port: int) -> list[Any]:
    """The results of ``getaddrinfo``, in the order to try them."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _connect(host: str, port: int) -> socket.socket:
    infos = await resolve(host, port)
    try:
        return await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=STAGGER_S)
    except RuntimeError as error:  # uvloop's, for some addresses
        raise OSError(str(error)) from error
