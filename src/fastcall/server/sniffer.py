"""The port: reads the head of each connection's first request, then passes the connection to the right protocol.

Nothing here implements HTTP. A connection's first bytes are kept until the head of a request is complete; a WebSocket's
upgrade goes to one protocol, everything else to another, with the bytes (``set_protocol``), and this module is out of
the audio path.

An idle connection costs a descriptor and a timer: the head has a size limit and a deadline, and the number of sockets
without a call (or an admitted reader) is limited; when there are more, the oldest is closed. A caller's socket becomes
a call within a few round trips, so the oldest are the idle ones.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from typing import cast

__all__ = ["PendingConnections", "ProtocolSniffer"]

MAX_HEAD_BYTES = 16 * 1024
HEAD_TIMEOUT_S = 5.0
TLS_HANDSHAKE_TIMEOUT_S = 5.0
TLS_SHUTDOWN_TIMEOUT_S = 5.0
MAX_WAITING = 1000
BACKLOG = 1024

_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*\bwebsocket\b", re.IGNORECASE)


class PendingConnections:
    """The sockets without a call or reader so far. Loop thread only.

    :param limit: how many may wait; slightly more for a moment
    :param on_closed: called for each that is closed because too many waited
    """

    def __init__(self, limit: int = MAX_WAITING, on_closed: Callable[[], None] | None = None) -> None:
        self._limit = limit
        self._sweep_at = limit + max(1, limit // 4)
        self._on_closed = on_closed
        self._waiting: dict[asyncio.BaseTransport, None] = {}

    def __len__(self) -> int:
        """Open sockets that wait."""
        return sum(not transport.is_closing() for transport in self._waiting)

    def enter(self, transport: asyncio.BaseTransport) -> None:
        """A socket was accepted."""
        self._waiting[transport] = None
        if len(self._waiting) >= self._sweep_at:
            self._sweep()

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """It has a call or reader now, or is closed."""
        self._waiting.pop(transport, None)

    def close_all(self) -> None:
        """Close all that wait."""
        for transport in tuple(self._waiting):
            _abort(transport)
        self._waiting.clear()

    def _sweep(self) -> None:
        # Closed sockets are removed here, a quarter of the limit at a time, so that closing itself costs nothing.
        self._waiting = {each: None for each in self._waiting if not each.is_closing()}
        too_many = len(self._waiting) - self._limit
        for transport in tuple(self._waiting)[: max(0, too_many)]:
            del self._waiting[transport]
            _abort(transport)
            if self._on_closed is not None:
                self._on_closed()


def _abort(transport: asyncio.BaseTransport) -> None:
    cast(asyncio.WriteTransport, transport).abort()


class ProtocolSniffer:
    """Listens, and distinguishes the two protocols. Loop thread only; ``listen`` or ``adopt``, then ``close``.

    :param websocket: makes the protocol for a WebSocket's upgrade
    :param plain: makes the protocol for every other request
    :param on_bad_head: called for each connection closed for its head: ``head_slow``, ``head_too_long``,
        ``head_not_http``
    :param tls: speak TLS
    """

    def __init__(
        self,
        *,
        websocket: Callable[[], asyncio.Protocol],
        plain: Callable[[], asyncio.Protocol],
        room: PendingConnections,
        on_bad_head: Callable[[str], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.websocket = websocket
        self.plain = plain
        self.room = room
        self.on_bad_head = on_bad_head
        self._tls = tls
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Accept connections.

        :return: the port
        :raises OSError: the address cannot be listened on
        """
        loop = asyncio.get_running_loop()
        handshake_s, shutdown_s = self._tls_timeouts()
        self._server = await loop.create_server(
            self._greet,
            host,
            port,
            ssl=self._tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=handshake_s,
            ssl_shutdown_timeout=shutdown_s,
        )
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def adopt(self, connection: socket.socket) -> None:
        """Take over a connection that was accepted elsewhere.

        :raises OSError: it is gone already, or its TLS handshake failed
        """
        loop = asyncio.get_running_loop()
        handshake_s, shutdown_s = self._tls_timeouts()
        await loop.connect_accepted_socket(
            self._greet,
            connection,
            ssl=self._tls,
            ssl_handshake_timeout=handshake_s,
            ssl_shutdown_timeout=shutdown_s,
        )

    def close(self) -> None:
        """Accept no more, and close those without a call or reader."""
        if self._server is not None:
            self._server.close()
        self.room.close_all()

    def _greet(self) -> asyncio.Protocol:
        return _FirstRequest(self)

    def _tls_timeouts(self) -> tuple[float | None, float | None]:
        return (TLS_HANDSHAKE_TIMEOUT_S, TLS_SHUTDOWN_TIMEOUT_S) if self._tls is not None else (None, None)


class _FirstRequest(asyncio.Protocol):
    """A connection's protocol until its first request's head is complete."""

    def __init__(self, front: ProtocolSniffer) -> None:
        self._front = front
        self._head = bytearray()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        self._front.room.enter(transport)
        self._timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._refuse, "head_slow")

    def data_received(self, data: bytes) -> None:
        searched = max(0, len(self._head) - 3)
        self._head += data
        end = self._head.find(b"\r\n\r\n", searched)
        if end >= 0:
            self._forward(end)
        elif not self._head[:1].isalpha():
            self._refuse("head_not_http")  # a method consists of letters; a TLS hello does not
        elif len(self._head) > MAX_HEAD_BYTES:
            self._refuse("head_too_long")

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._front.room.leave(self._transport)

    def _forward(self, end: int) -> None:
        self._timer.cancel()
        is_upgrade = self._head.startswith(b"GET ") and _UPGRADE.search(self._head, 0, end) is not None
        protocol = self._front.websocket() if is_upgrade else self._front.plain()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(bytes(self._head))

    def _refuse(self, reason: str) -> None:
        self._timer.cancel()
        self._front.on_bad_head(reason)
        self._transport.abort()
