"""One HTTP/2 connection: frames in, calls out, flow control between. RFC 9113."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Final, Protocol

from fastcall.adapters.emulator.http2.frames import (
    DEFAULT_WINDOW,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    PREFACE,
    ErrorCode,
    Flag,
    FrameType,
    Setting,
    frame,
    goaway,
    rst_stream,
    settings,
    window_update,
)
from fastcall.adapters.emulator.http2.hpack import MAX_HEADER_LIST_BYTES, Decoder, HpackError
from fastcall.adapters.emulator.http2.stream import STREAM_WINDOW, CallHandler, GrpcStream

__all__ = ["Connection", "Service"]

log = logging.getLogger("fastcall.emulator")

_CONNECTION_WINDOW: Final = 16 * 1024 * 1024
_MAX_HEADER_BLOCK_BYTES: Final = MAX_HEADER_LIST_BYTES


class Service(Protocol):
    """What a connection belongs to."""

    streams_per_connection: int
    """0: no limit."""

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...

    def call(self, path: str, stream: GrpcStream) -> CallHandler | None:
        """A call begins. None when it was answered already."""

    def http1(self, connection: Connection, data: bytes) -> asyncio.Protocol | None:
        """The client speaks no HTTP/2: who takes the connection over, or None to drop it."""


class _ProtocolError(Exception):
    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class Connection(asyncio.Protocol):
    """A client's connection. Not thread-safe: event loop only."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._decoder = Decoder()
        self._prefaced = False
        self._greeted = False  # the client's first frame was SETTINGS
        self._streams: dict[int, GrpcStream] = {}
        self._blocked: dict[int, GrpcStream] = {}  # waiting for window
        self._last_stream_id = 0
        self._headers: tuple[int, bool, bytearray] | None = None  # a header block that goes on
        self._out: list[bytes] = []
        self._flush_planned = False
        self._reading = False
        self._unacknowledged = 0
        self._client_window = DEFAULT_WINDOW
        self._leaving = False
        self.window = DEFAULT_WINDOW
        """What the client lets us send on the whole connection, in bytes."""
        self.max_frame_bytes = MAX_FRAME_BYTES

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._service.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for stream in list(self._streams.values()):
            stream.cancel()
        self._service.disconnected(self)

    def pause_writing(self) -> None:
        """The client does not read: take nothing more from it, so that nothing piles up for it."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        if not self._prefaced:
            if not self._take_preface(data):
                return
            data = data[len(PREFACE) :]
        self._reading = True
        try:
            self._rest = self._take_frames(data)
        except _ProtocolError as error:
            log.warning("a client broke HTTP/2: %s", error)
            self._rest = b""
            self.write(goaway(self._last_stream_id, error.code, str(error).encode()))
            self._flush()
            self.close()
        finally:
            self._reading = False
        self._flush()

    # For streams and faults.

    def write(self, data: bytes) -> None:
        """Queue bytes; they leave together at the end of the event that caused them."""
        self._out.append(data)
        if not self._reading and not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def wait_for_window(self, stream: GrpcStream) -> None:
        self._blocked[stream.stream_id] = stream

    def stream_over(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)
        self._blocked.pop(stream_id, None)
        if self._leaving and not self._streams:
            self._loop.call_soon(self.close)

    def go_away(self, code: ErrorCode = ErrorCode.NO_ERROR, debug: str = "") -> None:
        """Announce that no new call is taken; close when the open ones are over."""
        self.write(goaway(self._last_stream_id, code, debug.encode()))
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
        if self._out:
            out, self._out = self._out, []
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(b"".join(out))

    # Frames.

    def _take_preface(self, data: bytes) -> bool:
        if not PREFACE.startswith(data[: len(PREFACE)]):
            assert self._transport is not None
            self._service.disconnected(self)
            other = self._service.http1(self, data)
            if other is None:
                self._transport.close()
                return False
            self._transport.set_protocol(other)
            other.connection_made(self._transport)
            other.data_received(data)
            return False
        if len(data) < len(PREFACE):
            self._rest = data
            return False
        self._prefaced = True
        values: dict[int, int] = {
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        }
        if self._service.streams_per_connection:
            values[Setting.MAX_CONCURRENT_STREAMS] = self._service.streams_per_connection
        self.write(settings(values) + window_update(0, _CONNECTION_WINDOW - DEFAULT_WINDOW))
        return True

    def _take_frames(self, data: bytes) -> bytes:
        """Handle the whole frames; return what is left."""
        at, size = 0, len(data)
        while size - at >= HEADER_BYTES:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > MAX_FRAME_BYTES:
                raise _ProtocolError(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            end = at + HEADER_BYTES + length
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream_id = int.from_bytes(data[at + 5 : at + 9], "big") & MAX_WINDOW
            payload = data[at + HEADER_BYTES : end]
            at = end
            if self._headers is not None and kind != FrameType.CONTINUATION:
                raise _ProtocolError(ErrorCode.PROTOCOL_ERROR, "a header block must not be interrupted")
            if kind == FrameType.DATA and self._greeted:
                self._data(stream_id, flags, payload)
            else:
                self._other(kind, stream_id, flags, payload)
        return data[at:]

    def _data(self, stream_id: int, flags: int, payload: bytes) -> None:
        # What is taken is given back before much is used up: a client that keeps to its window never meets its end.
        flow_bytes = len(payload)
        self._unacknowledged += flow_bytes
        if self._unacknowledged >= _CONNECTION_WINDOW // 4:
            self.write(window_update(0, self._unacknowledged))
            self._unacknowledged = 0
        if flags & Flag.PADDED:
            payload = _unpadded(payload)
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.receive(payload, flow_bytes, end=bool(flags & Flag.END_STREAM))
        elif stream_id > self._last_stream_id or not stream_id:
            raise _ProtocolError(ErrorCode.PROTOCOL_ERROR, "DATA on a stream that is idle")

    def _other(self, kind: int, stream_id: int, flags: int, payload: bytes) -> None:
        if not self._greeted:
            _expect(kind == FrameType.SETTINGS, ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
            self._greeted = True
        if kind == FrameType.HEADERS:
            self._headers_frame(stream_id, flags, payload)
        elif kind == FrameType.CONTINUATION:
            self._continuation(stream_id, flags, payload)
        elif kind == FrameType.WINDOW_UPDATE:
            self._window_update(stream_id, payload)
        elif kind == FrameType.RST_STREAM:
            _expect(len(payload) == 4, ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
            self._expect_known(stream_id)
            if stream_id in self._streams:
                self._streams[stream_id].cancel()
        elif kind == FrameType.PUSH_PROMISE:
            raise _ProtocolError(ErrorCode.PROTOCOL_ERROR, "a client must not push")
        elif kind in (FrameType.SETTINGS, FrameType.PING, FrameType.GOAWAY):
            _expect(not stream_id, ErrorCode.PROTOCOL_ERROR, "a frame of the connection on a stream")
            self._of_connection(kind, flags, payload)
        # PRIORITY and unknown types are ignored, as the RFC wants.

    def _of_connection(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == FrameType.SETTINGS:
            self._settings(flags, payload)
        elif kind == FrameType.PING:
            _expect(len(payload) == 8, ErrorCode.FRAME_SIZE_ERROR, "PING of a wrong size")
            if not flags & Flag.ACK:
                self.write(frame(FrameType.PING, Flag.ACK, 0, payload))
        else:  # GOAWAY
            self._leaving = True
            if not self._streams:
                self._loop.call_soon(self.close)

    def _headers_frame(self, stream_id: int, flags: int, payload: bytes) -> None:
        _expect(stream_id % 2 == 1, ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that a client cannot open")
        if flags & Flag.PADDED:
            payload = _unpadded(payload)
        if flags & Flag.PRIORITY:
            _expect(len(payload) >= 5, ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for their priority")
            payload = payload[5:]
        self._headers = (stream_id, bool(flags & Flag.END_STREAM), bytearray(payload))
        if flags & Flag.END_HEADERS:
            self._headers_complete()

    def _continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        if self._headers is None or self._headers[0] != stream_id:
            raise _ProtocolError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._headers[2].extend(payload)
        # Empty ones could come without end.
        if len(self._headers[2]) > _MAX_HEADER_BLOCK_BYTES or not (payload or flags & Flag.END_HEADERS):
            raise _ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "header block too large")
        if flags & Flag.END_HEADERS:
            self._headers_complete()

    def _headers_complete(self) -> None:
        assert self._headers is not None
        stream_id, end, block = self._headers
        self._headers = None
        try:
            headers = dict(self._decoder.decode(bytes(block)))
        except HpackError as error:
            raise _ProtocolError(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        if stream_id in self._streams:  # trailers of the client, which gRPC does not use
            if end:
                self._streams[stream_id].receive_end()
            else:
                self._streams[stream_id].reset(ErrorCode.PROTOCOL_ERROR)
            return
        if stream_id <= self._last_stream_id:
            return  # of a stream that is over
        self._last_stream_id = stream_id
        limit = self._service.streams_per_connection
        if self._leaving or (limit and len(self._streams) >= limit):
            self.write(rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
            return
        stream = GrpcStream(self, stream_id, self._client_window)
        self._streams[stream_id] = stream
        stream.handler = self._service.call(headers.get(b":path", b"").decode("latin-1"), stream)
        if end:
            stream.receive_end()

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & Flag.ACK:
            _expect(not payload, ErrorCode.FRAME_SIZE_ERROR, "SETTINGS that acknowledge hold nothing")
            return
        _expect(len(payload) % 6 == 0, ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        for key, value in struct.iter_unpack(">HI", payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                _expect(value <= MAX_WINDOW, ErrorCode.FLOW_CONTROL_ERROR, "window too large")
                for stream in self._streams.values():
                    stream.window += value - self._client_window
                self._client_window = value
            elif key == Setting.MAX_FRAME_SIZE:
                fits = MAX_FRAME_BYTES <= value < 2**24
                _expect(fits, ErrorCode.PROTOCOL_ERROR, "frame size outside of what is allowed")
                self.max_frame_bytes = value
        self.write(frame(FrameType.SETTINGS, Flag.ACK, 0))
        self._window_opened()

    def _window_update(self, stream_id: int, payload: bytes) -> None:
        _expect(len(payload) == 4, ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size")
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if not stream_id:
            _expect(increment > 0, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            self.window += increment
            _expect(self.window <= MAX_WINDOW, ErrorCode.FLOW_CONTROL_ERROR, "window too large")
        else:
            self._expect_known(stream_id)
            if stream_id in self._streams:
                self._streams[stream_id].widen(increment)
        self._window_opened()

    def _expect_known(self, stream_id: int) -> None:
        known = 0 < stream_id <= self._last_stream_id
        _expect(known, ErrorCode.PROTOCOL_ERROR, "a frame for a stream that is idle")

    def _window_opened(self) -> None:
        if self._blocked:
            blocked, self._blocked = self._blocked, {}
            for stream in blocked.values():
                stream.pump()


def _expect(condition: bool, code: ErrorCode, text: str) -> None:
    if not condition:
        raise _ProtocolError(code, text)


def _unpadded(payload: bytes) -> bytes:
    _expect(bool(payload), ErrorCode.FRAME_SIZE_ERROR, "a padded frame holds at least its length of padding")
    padding = payload[0]
    _expect(padding < len(payload), ErrorCode.PROTOCOL_ERROR, "padding longer than the frame")
    return payload[1 : len(payload) - padding]
