"""A gRPC server's connections and calls, on asyncio and the library h2.

grpcio's server can neither cut a connection under a stream nor send a GOAWAY on demand, and the emulator must be able
to inject both faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections import deque
from typing import Final, Protocol
from urllib.parse import quote

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError, StreamClosedError, TooManyStreamsError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from fastcall.emulator.messages import Code, Status

__all__ = ["MAX_MESSAGE_BYTES", "MAX_UNSENT_BYTES", "CallHandler", "Connection", "GrpcStream", "Service"]

log = logging.getLogger("fastcall.emulator")

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024  # gRPC's default for what a server receives
MAX_UNSENT_BYTES: Final = 1024 * 1024
"""Limit of the data queued for a client that does not read; beyond it, the call is reset."""
STREAM_WINDOW: Final = 1024 * 1024
CONNECTION_WINDOW: Final = 16 * 1024 * 1024
MAX_HEADER_LIST_BYTES: Final = 16 * 1024
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW: Final = 65_535

# Raised by h2 for a stream that the client has reset. The second, if h2 has forgotten the stream and takes our headers
# for those of a new one, which gRPC's clients do not allow.
_GONE: Final = (StreamClosedError, TooManyStreamsError)

Headers = list[tuple[str, str]]
_INITIAL_METADATA: Final[Headers] = [
    (":status", "200"),
    ("content-type", "application/grpc"),
    ("grpc-accept-encoding", "identity"),
]
# gRPC's percent-encoding of grpc-message: printable ASCII except "%" stays.
_MESSAGE_SAFE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if code != 0x25)


class CallHandler(Protocol):
    """Receives the messages of a call."""

    def message(self, data: bytes) -> None: ...

    def half_closed(self) -> None: ...

    def cancelled(self) -> None: ...


class Service(Protocol):
    """The server of a connection."""

    streams_per_connection: int
    """0: no limit."""

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...

    def call(self, path: str, stream: GrpcStream) -> CallHandler | None:
        """The handler of a new call; None if the call was answered already."""

    def http1(self, connection: Connection, data: bytes) -> asyncio.Protocol | None:
        """The client does not use HTTP/2: the protocol that takes over the connection, or None to drop it."""


class _AnnouncedSettings(Settings):
    """Settings whose limit of streams is announced, but enforced by `Connection`: h2 would end the whole connection
    for one stream too many, while Google's servers refuse the stream."""

    @property
    def max_concurrent_streams(self) -> int:
        return 2**31 - 1

    @max_concurrent_streams.setter
    def max_concurrent_streams(self, value: int) -> None:
        self[SettingCodes.MAX_CONCURRENT_STREAMS] = value


class Connection(asyncio.Protocol):
    """A client's connection. Not thread-safe: event loop only."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._preface = b""
        self._is_http2 = False
        config = H2Configuration(
            client_side=False,
            header_encoding="latin-1",
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = H2Connection(config)
        self._streams: dict[int, GrpcStream] = {}
        self._last_stream_id = 0
        self._is_reading = False
        self._flush_planned = False
        self._leaving = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._service.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._cancel_all()
        self._service.disconnected(self)

    def pause_writing(self) -> None:
        """The client does not read: stop reading from it, so that no more responses are queued."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if not self._is_http2:
            data = self._preface + data
            if not PREFACE.startswith(data[: len(PREFACE)]):
                self._forward(data)
                return
            self._preface = data
            if len(data) < len(PREFACE):
                return
            self._greet()
        try:
            events = self.h2.receive_data(data)
        except ProtocolError as error:
            log.warning("HTTP/2 protocol error by a client: %s", error)
            self.close()  # sends the GOAWAY that h2 has queued
            return
        self._is_reading = True
        try:
            for event in events:
                self._on_event(event)
        finally:
            self._is_reading = False
        self._flush()

    # For streams and faults.

    def write_soon(self) -> None:
        """Send h2's queued data in one write, at the end of the current event."""
        if not self._is_reading and not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def stream_over(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        if self._leaving and not self._streams:
            self._loop.call_soon(self.close)

    def go_away(self) -> None:
        """Refuse new calls with GOAWAY; close when the open ones have ended."""
        self._flush()
        # Not h2's own GOAWAY, after which h2 refuses to send on open streams.
        self._write(GoAwayFrame(0, last_stream_id=self._last_stream_id).serialize())
        self._leaving = True
        if not self._streams:
            self._loop.call_soon(self.close)

    def abort(self) -> None:
        """Cut the connection with a TCP reset."""
        if self._transport is None:
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        self._flush_planned = False
        self._write(self.h2.data_to_send())

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _forward(self, data: bytes) -> None:
        assert self._transport is not None
        self._service.disconnected(self)
        other = self._service.http1(self, data)
        if other is None:
            self._transport.close()
            return
        self._transport.set_protocol(other)
        other.connection_made(self._transport)
        other.data_received(data)

    def _greet(self) -> None:
        self._is_http2 = True
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        }
        if self._service.streams_per_connection:
            values[SettingCodes.MAX_CONCURRENT_STREAMS] = self._service.streams_per_connection
        self.h2.local_settings = _AnnouncedSettings(client=False, initial_values=values)
        self.h2.decoder.max_header_list_size = MAX_HEADER_LIST_BYTES
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(CONNECTION_WINDOW - DEFAULT_WINDOW)

    def _cancel_all(self) -> None:
        for stream in list(self._streams.values()):
            stream.cancel()

    def _on_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived():
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.stream_id in self._streams:
                    self._streams[event.stream_id].receive(event.data)
            case h2.events.RequestReceived():
                self._begin(event.stream_id, {str(name): str(value) for name, value in event.headers})
            case h2.events.StreamEnded():
                if event.stream_id in self._streams:
                    self._streams[event.stream_id].receive_end()
            case h2.events.StreamReset():
                if event.stream_id in self._streams:
                    self._streams[event.stream_id].cancel()
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for stream in list(self._streams.values()):
                    stream.pump()
            case h2.events.ConnectionTerminated():
                self._cancel_all()
                self._loop.call_soon(self.close)

    def _begin(self, stream_id: int, headers: dict[str, str]) -> None:
        self._last_stream_id = stream_id
        limit = self._service.streams_per_connection
        if self._leaving or (limit and len(self._streams) >= limit):
            with contextlib.suppress(*_GONE):  # the client reset it in the same read
                self.h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        stream = self._streams[stream_id] = GrpcStream(self, stream_id)
        stream.handler = self._service.call(headers.get(":path", ""), stream)


class GrpcStream:
    """A call. The handler answers through `send` and `finish`; all on the event loop.

    h2 may know already that the client has reset the call, while the event is queued behind others of the same read.
    Until it is dispatched, sent data is discarded.
    """

    def __init__(self, connection: Connection, stream_id: int) -> None:
        self.connection = connection
        self.stream_id = stream_id
        self.handler: CallHandler | None = None
        self._h2 = connection.h2
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._trailers: Headers | None = None
        self._headers_sent = False
        self._received = bytearray()
        self._half_closed = False
        self._over = False

    # From the client.

    def receive(self, payload: bytes) -> None:
        """DATA, without padding."""
        if self._over or self.handler is None:
            return
        # The usual case: a frame that is one message.
        if not self._received and payload[:1] == b"\0" and int.from_bytes(payload[1:5], "big") == len(payload) - 5:
            self.handler.message(payload[5:])
            return
        self._received += payload
        self._take_messages(self.handler)

    def receive_end(self) -> None:
        """The client sends no more."""
        self._half_closed = True
        if self.handler is not None and not self._over:
            self.handler.half_closed()

    def _take_messages(self, handler: CallHandler) -> None:
        buffer = self._received
        while len(buffer) >= 5 and not self._over:
            size = int.from_bytes(buffer[1:5], "big")
            if buffer[0]:
                self._fail(Status(Code.UNIMPLEMENTED, "Compressed messages are not supported"))
            elif size > MAX_MESSAGE_BYTES:
                text = f"Received message larger than max ({size} vs. {MAX_MESSAGE_BYTES})"
                self._fail(Status(Code.RESOURCE_EXHAUSTED, text))
            elif len(buffer) < 5 + size:
                return
            else:
                message = bytes(buffer[5 : 5 + size])
                del buffer[: 5 + size]
                handler.message(message)

    def cancel(self) -> None:
        """RST_STREAM was received, or the connection is lost."""
        self._forget()
        if self.handler is not None:
            self.handler.cancelled()

    def _fail(self, status: Status) -> None:
        """End the call, and notify the handler."""
        self.finish(status)
        if self.handler is not None:
            self.handler.cancelled()

    # To the client.

    def accept(self) -> None:
        """Send the initial metadata, once; `send` does it if needed."""
        if not self._headers_sent and not self._over:
            self._headers_sent = True
            with contextlib.suppress(*_GONE):
                self._h2.send_headers(self.stream_id, _INITIAL_METADATA)
            self.connection.write_soon()

    def send(self, message: bytes) -> None:
        if self._over or self._trailers is not None:
            return
        self.accept()
        data = b"\0" + len(message).to_bytes(4, "big") + message
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self.reset(ErrorCodes.ENHANCE_YOUR_CALM)
            return
        self.pump()

    def finish(self, status: Status) -> None:
        if self._over or self._trailers is not None:
            return
        self._trailers = [("grpc-status", str(int(status.code)))]
        if status.message:
            self._trailers.append(("grpc-message", quote(status.message, safe=_MESSAGE_SAFE)))
        if not self._headers_sent:  # gRPC's "Trailers-Only"
            self._trailers[:0] = _INITIAL_METADATA
        self.pump()

    def reset_connection(self) -> None:
        """Cut the whole connection with a TCP reset."""
        self.connection.abort()

    def leave_connection(self) -> None:
        """Send GOAWAY: open calls continue, new ones need another connection."""
        self.connection.go_away()

    def reset(self, code: ErrorCodes) -> None:
        """Cut this call with RST_STREAM."""
        if not self._over:
            with contextlib.suppress(*_GONE):
                self._h2.reset_stream(self.stream_id, code)
            self.connection.write_soon()
            self.cancel()

    def pump(self) -> None:
        """Send what the client's windows allow."""
        with contextlib.suppress(*_GONE):
            self._pump()

    def _pump(self) -> None:
        while self._unsent and not self._over:
            data = self._unsent[0]
            size = min(len(data), self._h2.local_flow_control_window(self.stream_id), self._h2.max_outbound_frame_size)
            if size <= 0:
                return  # until the client widens a window
            self._unsent.popleft()
            if size < len(data):
                self._unsent.appendleft(data[size:])
            self._unsent_bytes -= size
            self._h2.send_data(self.stream_id, data[:size])
            self.connection.write_soon()
        if self._trailers is not None and not self._over:
            self._h2.send_headers(self.stream_id, self._trailers, end_stream=True)
            if not self._half_closed:  # the client need not send the rest
                self._h2.reset_stream(self.stream_id, ErrorCodes.NO_ERROR)
            self.connection.write_soon()
            self._forget()

    def _forget(self) -> None:
        if not self._over:
            self._over = True
            self._unsent.clear()
            self.connection.stream_over(self.stream_id)
