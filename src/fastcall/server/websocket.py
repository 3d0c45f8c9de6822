"""The WebSocket server, by the websockets package.

Messages are handled in ``process_event``, in the loop turn in which their bytes arrive, never through ``recv()``: no
queue, no task switch, and ``start``, ``media`` and ``stop`` keep their order. Handshake, ping and pong, close,
fragmentation and the size limit are left to websockets.

Nothing listens here: connections arrive with the bytes of their upgrade request, or as WebSockets passed on by another
process with the bytes of their first messages. No extension is offered: Twilio uses none, and compression would cost
64 KiB per call. ``ping_timeout=None``: how Twilio answers pings is not documented, and must not end a call.

The fast path: once the handshake is done, the transport passes received bytes to a compiled ``WebSocketFastPath``. It
handles a live call's ordinary media messages; marks that come back go to the receiver (``MarkFilter``), and all other
bytes to websockets, in order, as without it. It also limits how many bytes one turn of the loop handles
(``ReadTurns``).

The work that a stranger can cause is bounded: nothing is read after a request until it is admitted, a refused
connection is closed, every frame is charged to the receiver, and once we close, only the peer's close frame is parsed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from fastcall._codec import MarkFilter, WebSocketFastPath
from fastcall.aio.read_turns import ReadTurns
from fastcall.ports import MessageReceiver

__all__ = ["MediaConnection", "MediaServer", "PlainMediaConnection", "UpgradeRequest"]

log = logging.getLogger("fastcall.server")
# websockets' own log: it writes INFO lines for each connection.
protocol_log = logging.getLogger("fastcall.websocket")
protocol_log.setLevel(logging.WARNING)

MAX_MESSAGE_BYTES = 64 * 1024
# Unsent bytes allowed for a peer that does not read: about two minutes of audio in base64.
MAX_OUTBOUND_BYTES = 2 * 1024 * 1024
# The request, and data that impatient peers send after it. Twilio sends nothing before the response.
MAX_EARLY_BYTES = 64 * 1024
# Bytes kept of a connection that may move to another process: its first messages, about a kilobyte.
MAX_KEPT_BYTES = 32 * 1024
# How long a closing peer's data is searched for its close frame before reading stops.
MAX_DROPPED_BYTES = 256 * 1024
# Data read from a lost connection is handled at once. 256 KiB of a call's messages take so many turns before `start`
# is known, and fewer later; as many bytes of pings would take 2,000.
MAX_LAST_TURNS = 64
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
MAX_REASON_BYTES = 123

END_OF_REQUEST = b"\r\n\r\n"
# The steps of a ``WebSocketFastPath`` that are not ``attend``.
HAND_OVER = 1
LATER = 3
INTERNAL_ERROR = 1011
POLICY_VIOLATION = 1008

# The header with Twilio's signature of an upgrade.
SIGNATURE_HEADER = "X-Twilio-Signature"


@dataclass(slots=True, frozen=True)
class UpgradeRequest:
    """A request to open a WebSocket. Nothing in it can be trusted."""

    target: str
    """Path and query, as sent."""
    signatures: tuple[str, ...]
    """The values of all its signature headers."""
    origins: tuple[str, ...]
    """The values of ``Origin``: browsers send it, Twilio does not."""
    hosts: tuple[str, ...]
    """The values of ``Host``."""


def fit_reason(reason: str) -> str:
    """``reason``, cut to what a close frame holds: 123 bytes of UTF-8, whole characters (RFC 6455 section 5.5)."""
    return reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")


class MediaConnection(ServerConnection):
    """A connection that passes each message on at once. Implements ``fastcall.ports.CallSocket``."""

    uses_fast_path = True
    """Whether the receiver's fast path is used."""

    def __init__(self, protocol: ServerProtocol, server: Any, **options: Any) -> None:
        super().__init__(protocol, server, **options)
        self._fast_path: WebSocketFastPath | None = None
        self._marks = MarkFilter()
        self._turns = ReadTurns(self._go_on)
        self._early = b""
        self._kept: bytearray | None = None
        self.is_moved = False
        """Whether another process passed it here; it is not passed on again."""
        self._is_request_read = False
        self._dropped_bytes: int | None = None
        self._receiver: MessageReceiver | None = None
        self._fragments = bytearray()
        self._fragmented: Opcode | None = None
        self._closing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is made. Skips what websockets' own server would do."""
        super(ServerConnection, self).connection_made(transport)
        owner: Any = self.server
        owner.adopt(self)

    # --- inbound ----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Data before a receiver is attached: the request. Bytes after its head wait, and reading pauses."""
        self.transport.pause_reading()
        self._early += data
        if len(self._early) > MAX_EARLY_BYTES:
            self._early = b""
            self.transport.abort()
        elif not self._is_request_read:
            end = self._early.find(END_OF_REQUEST)
            if end < 0:
                self.transport.resume_reading()
                return
            self._is_request_read = True
            end += len(END_OF_REQUEST)
            request, self._early = self._early[:end], self._early[end:]
            super().data_received(request)

    def attach(self, receiver: MessageReceiver, *, keeps: bool = False) -> None:
        """The handshake is done: pass messages to ``receiver`` from now on.

        :param keeps: keep received data, so that the connection can be passed to another process
        """
        self._receiver = receiver
        self._fast_path = fast_path = WebSocketFastPath(self.loop.time, self._take_steps)
        self._kept = bytearray() if keeps else None
        self._receive_by(self._receive_and_keep if keeps else fast_path.data_received)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)
        if not self._turns.are_due and self._fast_path is not None:
            self.transport.resume_reading()

    def continue_from(self, target: str) -> None:
        """Another process has done the handshake: all data is frames. Call it before the connection is made.

        :param target: path and query of the upgrade
        """
        self.is_moved = self._is_request_read = True
        self.request = Request(target, Headers())

    def _receive_and_keep(self, data: bytes) -> None:
        assert self._fast_path is not None
        assert self._kept is not None
        self._kept += data
        fast_path = self._fast_path
        if len(self._kept) > MAX_KEPT_BYTES:
            self.stay()
        fast_path.data_received(data)

    def stay(self) -> None:
        """The connection will not be passed to another process."""
        if self._kept is not None:
            self._kept = None
            if self._fast_path is not None and self._dropped_bytes is None:
                self._receive_by(self._fast_path.data_received)

    def give(self, send: Callable[[int, bytes], bool]) -> bool:
        """Pass the connection to another process, with all data since the handshake; nothing of it stays here.

        :param send: takes a copy of the descriptor and the data; returns whether it did
        :return: whether it is passed on; it stays if too much data arrived, or if output is still pending
        """
        if self._kept is None or self._closing is not None or self.transport.get_write_buffer_size():
            return False
        self.transport.pause_reading()
        if not send(self.transport.get_extra_info("socket").fileno(), bytes(self._kept)):
            self.transport.resume_reading()
            return False
        self.detach()
        self.transport.abort()  # this copy only
        return True

    def deliver_to(self, receiver: MessageReceiver | None) -> None:
        """Pass messages to another receiver from now on; None: to nobody."""
        self._receiver = receiver

    @property
    def receiver(self) -> MessageReceiver | None:
        """The receiver of messages."""
        return self._receiver

    def _receive_by(self, receive: Callable[[bytes], None]) -> None:
        self.data_received = receive  # type: ignore[method-assign, assignment]
        self.transport.set_protocol(self)  # transports remember the method that they call

    def _take_steps(self, step: int) -> None:
        """Handle what the fast path leaves to us."""
        while step and (fast_path := self._fast_path) is not None:  # none: nothing more is read
            if step == LATER:
                self._turns.defer(self.transport)
                return
            if step == HAND_OVER:
                self._take_passthrough(fast_path.take_passthrough())
                self._update_state(fast_path)
            else:
                self._guard(fast_path.dispatch)
            step = fast_path.resume()

    def _take_passthrough(self, data: bytes) -> None:
        """A call that speaks gets five marks a second: they are spared the way through websockets."""
        mark = self._marks.take(data) if self.uses_fast_path else None
        if mark is not None and self._receiver is not None and self._dropped_bytes is None:
            self._guard(self._receiver.message_received, mark)
        else:
            super().data_received(data)

    def _go_on(self) -> None:
        """Another turn of the loop: handle a share of the waiting data."""
        if self._fast_path is not None:
            self._take_steps(self._fast_path.next_turn())

    def _update_state(self, fast_path: WebSocketFastPath) -> None:
        if self._dropped_bytes is not None:
            return
        if self.protocol.state is not State.OPEN:  # the peer closes, or violated the protocol
            self.close_soon(1000, "")  # sends nothing any more, but makes it end within 5 s
        elif self.uses_fast_path and self._receiver is not None:
            fast_path.bind(self._receiver.fast_path)

    def _stop_reading(self) -> None:
        """We are closing: drop the peer's data except its close frame, and soon stop reading."""
        if self._dropped_bytes is None:
            self._dropped_bytes = 0
            if self._fast_path is not None:
                self._fast_path.expect_close()
            self._receive_by(self._drop)
            if not self._turns.are_due:
                self.transport.resume_reading()

    def _drop(self, data: bytes) -> None:
        assert self._dropped_bytes is not None
        self._dropped_bytes += len(data)
        if self._is_deaf:
            self._turns.cancel()
            self._forget_fast_path()
            self.transport.pause_reading()
            self.send_data()
        elif self._fast_path is not None:
            self._fast_path.data_received(data)

    @property
    def _is_deaf(self) -> bool:
        return self._dropped_bytes is not None and self._dropped_bytes > MAX_DROPPED_BYTES

    def eof_received(self) -> None:
        """The peer sends no more."""
        self._finish_reading()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._finish_reading()
        super().connection_lost(exc)

    def _finish_reading(self) -> None:
        """Handle the waiting data now, unless it is far more than audio can be. An incomplete last frame is for
        websockets."""
        left = MAX_LAST_TURNS
        while self._turns.are_due and left:
            self._turns.cancel()
            self._go_on()
            left -= 1
        self._turns.cancel()
        if self._fast_path is not None and (rest := self._fast_path.take_partial()):
            super().data_received(rest)

    def process_event(self, event: Any) -> None:
        """One frame, or the handshake's request. Called by websockets from ``data_received``; may not raise."""
        if not isinstance(event, Frame) or event.opcode is Opcode.CLOSE:
            super().process_event(event)
        elif self._receiver is not None and self._dropped_bytes is None:
            self._take(event, self._receiver)

    def _take(self, frame: Frame, receiver: MessageReceiver) -> None:
        if frame.opcode is Opcode.TEXT and frame.fin:
            self._guard(receiver.message_received, bytes(frame.data))
        elif frame.opcode in (Opcode.PING, Opcode.PONG):
            super().process_event(frame)
            self._guard(receiver.frame_received)
        else:
            self._guard(self._take_fragment, frame, receiver)

    def _guard(self, act: Callable[..., None], *args: Any) -> None:
        try:
            act(*args)
        except Exception:
            # A bug of ours must end this call only, and be visible.
            log.exception("internal error on a message; closing this call only")
            self.close_soon(INTERNAL_ERROR, "internal error")

    def _take_fragment(self, frame: Frame, receiver: MessageReceiver) -> None:
        # websockets checks the order of fragments and the size of the whole.
        if frame.opcode is not Opcode.CONT:
            self._fragmented = frame.opcode
        if self._fragmented is Opcode.TEXT:
            self._fragments += frame.data
        if not frame.fin:
            receiver.frame_received()
        else:
            message, self._fragments = bytes(self._fragments), bytearray()
            if self._fragmented is Opcode.TEXT:
                receiver.message_received(message)
            else:
                receiver.binary_received()

    @property
    def turns(self) -> ReadTurns:
        """The rest of what was read, which waits for later turns of the loop."""
        return self._turns

    @property
    def is_closing(self) -> bool:
        """Whether this side has begun to close the connection."""
        return self._closing is not None

    @property
    def target(self) -> str:
        """Path and query of the upgrade, as sent; empty before the handshake."""
        return self.request.path if self.request is not None else ""

    def how_it_ended(self) -> tuple[int | None, str]:
        """Code and reason of the side that closed first; 1006 if neither did."""
        protocol = self.protocol
        close = protocol.close_rcvd if protocol.close_rcvd_then_sent else protocol.close_sent
        return (close.code, close.reason) if close is not None else (self.close_code, self.close_reason or "")

    def detach(self) -> None:
        """Break reference cycles, so that it is freed at once: a garbage collection would stop all calls."""
        self._turns.close()
        self._forget_fast_path()
        self.data_received = _ignore  # type: ignore[method-assign]
        self._receiver = None

    def _forget_fast_path(self) -> None:
        if self._fast_path is not None:
            self._fast_path.bind(None)
            self._fast_path = None

    # --- outbound ---------------------------------------------------------------------------------------

    def send_soon(self, frames: bytes) -> None:
        """Send whole text frames; the transport writes once for all those of a turn of the loop. With more than 2 MiB
        unsent, the peer is not reading and is closed with 1008."""
        if self._closing is None and self.protocol.state is State.OPEN:
            self.transport.write(frames)
            self._check_unread()

    def send_data(self) -> None:
        """Called by websockets: send its protocol's data, such as pongs and close frames."""
        if self._is_deaf and self.protocol.state is State.CLOSING and not self.protocol.eof_sent:
            self.protocol.send_eof()  # the peer's close frame would not be read
        super().send_data()
        if self.protocol.state is State.CONNECTING and self.protocol.eof_sent:
            self.transport.close()  # a refusal, which is sent first; see the handshake for when it is not
        elif self._closing is None:
            self._check_unread()

    def _check_unread(self) -> None:
        """The transport's unsent bytes: messages and pongs."""
        if self.transport.get_write_buffer_size() > MAX_OUTBOUND_BYTES:
            self.close_soon(POLICY_VIOLATION, "the peer is not reading")

    def close_soon(self, code: int, reason: str) -> None:
        """Begin the closing handshake; further input is dropped."""
        if self._closing is None:
            self._closing = self.loop.create_task(self.close(code, reason))
            self._stop_reading()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """The closing handshake; a peer that does not respond is cut off after 5 s."""
        self._stop_reading()
        try:
            # websockets' own close waits for a pending write, which waits for a peer that does not read.
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await super().close(code, fit_reason(reason))
        except TimeoutError:
            self.transport.abort()
        except Exception:
            log.exception("internal error while closing a connection; aborting it")
            self.transport.abort()


def _ignore(data: bytes) -> None:
    """Ignore data for a connection that was released."""


class PlainMediaConnection(MediaConnection):
    """The same without the fast path: websockets handles every message."""

    uses_fast_path = False


class MediaServer:
    """Makes the protocol of each WebSocket, and knows those that are open. Loop thread only.

    :param make_receiver: called for each connection when its handshake is done
    :param admit: checks an upgrade; None admits it, (status, body) refuses it
    :param fast_path: whether receivers' lanes are used; without, websockets handles every message
    :param keeps: whether connections may be passed to another process, until ``MediaConnection.stay`` is called
    """

    def __init__(
        self,
        make_receiver: Callable[[MediaConnection], MessageReceiver],
        *,
        admit: Callable[[UpgradeRequest], tuple[int, str] | None],
        fast_path: bool = True,
        keeps: bool = False,
    ) -> None:
        self._make_receiver = make_receiver
        self._admit = admit
        self._make_connection = MediaConnection if fast_path else PlainMediaConnection
        self._keeps = keeps
        self._open: dict[MediaConnection, asyncio.Task[None]] = {}
        self._is_closing = False

    def __call__(self) -> MediaConnection:
        """The protocol of one connection, whose first bytes are an upgrade request."""
        return self._make(State.CONNECTING)

    def moved(self, target: str) -> MediaConnection:
        """The protocol of a connection that another process passed here.

        :param target: path and query of its upgrade
        """
        connection = self._make(State.OPEN)
        connection.continue_from(target)
        return connection

    def _make(self, state: State) -> MediaConnection:
        return self._make_connection(
            ServerProtocol(state=state, max_size=MAX_MESSAGE_BYTES, logger=protocol_log),
            self,
            ping_timeout=None,
            close_timeout=CLOSE_TIMEOUT_S,
        )

    @property
    def open_connections(self) -> int:
        """Connections that are not finished, those in their handshake included."""
        return len(self._open)

    def is_serving(self) -> bool:
        """Whether handshakes may still finish; called by websockets."""
        return not self._is_closing

    def adopt(self, connection: MediaConnection) -> None:
        """A connection is made."""
        self._open[connection] = asyncio.get_running_loop().create_task(self._serve(connection))

    async def close(self, code: int, reason: str) -> None:
        """Accept no more, close the open ones, and return when their receivers are done."""
        self._is_closing = True
        is_open = [connection for connection in self._open if connection.state is State.OPEN]
        await asyncio.gather(*(connection.close(code, reason) for connection in is_open))
        if self._open:
            await asyncio.wait(tuple(self._open.values()))

    async def _serve(self, connection: MediaConnection) -> None:
        try:
            if connection.state is State.CONNECTING:
                async with asyncio.timeout(OPEN_TIMEOUT_S):
                    await connection.handshake(self._process_request, server_header=None)
            if connection.state is State.OPEN:
                connection.start_keepalive()
                async with connection:
                    await self._receive(connection)
        except TimeoutError:
            log.debug("a handshake timed out")
        except (ConnectionClosed, OSError) as error:
            log.debug("a connection was lost, or kept open by its peer after a refusal: %s", error)
        except Exception:
            log.exception("internal error on a connection; closing this one only")
        finally:
            connection.transport.abort()
            connection.detach()
            del self._open[connection]

    async def _receive(self, connection: MediaConnection) -> None:
        connection.attach(self._make_receiver(connection), keeps=self._keeps and not connection.is_moved)
        try:
            await connection.wait_closed()
        finally:
            if connection.receiver is not None:
                connection.receiver.socket_closed(*connection.how_it_ended())
        if connection.receiver is not None:
            await connection.receiver.wait_over()

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        every = request.headers.get_all
        upgrade = UpgradeRequest(
            request.path, tuple(every(SIGNATURE_HEADER)), tuple(every("Origin")), tuple(every("Host"))
        )
        refusal = self._admit(upgrade)
        return None if refusal is None else connection.respond(*refusal)
