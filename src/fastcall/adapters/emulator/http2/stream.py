"""One gRPC call on an HTTP/2 connection: messages out of DATA frames, messages and trailers into them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from fastcall.adapters.emulator.http2.frames import (
    MAX_WINDOW,
    ErrorCode,
    Flag,
    FrameType,
    frame,
    rst_stream,
    window_update,
)
from fastcall.adapters.emulator.http2.hpack import encode
from fastcall.adapters.emulator.messages import Code, Status

if TYPE_CHECKING:
    from fastcall.adapters.emulator.http2.connection import Connection

__all__ = ["MAX_MESSAGE_BYTES", "STREAM_WINDOW", "CallHandler", "GrpcStream"]

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024  # gRPC's default for what a server receives
STREAM_WINDOW: Final = 1024 * 1024
MAX_UNSENT_BYTES: Final = 1024 * 1024
"""What may wait for a client that does not read. Beyond it the call is cut."""

_INITIAL_METADATA: Final = encode(
    [(":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "identity")]
)
# gRPC's percent-encoding of grpc-message: printable ASCII except "%" stays.
_MESSAGE_SAFE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if code != 0x25)


class CallHandler(Protocol):
    """What takes the messages of a call."""

    def message(self, data: bytes) -> None: ...

    def half_closed(self) -> None: ...

    def cancelled(self) -> None: ...


class GrpcStream:
    """A call. The handler answers through `send` and `finish`; all on the event loop."""

    def __init__(self, connection: Connection, stream_id: int, window: int) -> None:
        self.connection = connection
        self.stream_id = stream_id
        self.handler: CallHandler | None = None
        self.window = window
        """What the client lets us send on this stream, in bytes."""
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._trailers: bytes | None = None
        self._headers_sent = False
        self._received = bytearray()
        self._unacknowledged = 0
        self._half_closed = False
        self._over = False

    # From the client.

    def receive(self, payload: bytes, flow_bytes: int, *, end: bool) -> None:
        """DATA: `payload` without padding, `flow_bytes` with it."""
        self._unacknowledged += flow_bytes
        if self._unacknowledged >= STREAM_WINDOW // 2:
            self.connection.write(window_update(self.stream_id, self._unacknowledged))
            self._unacknowledged = 0
        handler = self.handler
        if self._half_closed:
            self.reset(ErrorCode.STREAM_CLOSED)
        if self._over or handler is None:
            return
        # The usual case: a frame that is one message.
        if not self._received and payload[:1] == b"\0" and int.from_bytes(payload[1:5], "big") == len(payload) - 5:
            handler.message(payload[5:])
            payload = b""
        if payload:
            self._received += payload
            self._take_messages(handler)
        if end and not self._over:
            self._end_of_requests()

    def receive_end(self) -> None:
        """HEADERS with END_STREAM: a call without messages."""
        self._end_of_requests()

    def widen(self, increment: int) -> None:
        """WINDOW_UPDATE; `increment` in bytes. The connection pumps."""
        self.window += increment
        if not increment:
            self.reset(ErrorCode.PROTOCOL_ERROR)
        elif self.window > MAX_WINDOW:
            self.reset(ErrorCode.FLOW_CONTROL_ERROR)

    def _end_of_requests(self) -> None:
        self._half_closed = True
        if self.handler is not None and not self._over:
            self.handler.half_closed()

    def _take_messages(self, handler: CallHandler) -> None:
        buffer = self._received
        while len(buffer) >= 5 and not self._over:
            size = int.from_bytes(buffer[1:5], "big")
            if buffer[0]:
                self.fail(Status(Code.UNIMPLEMENTED, "Compressed messages are not supported"))
            elif size > MAX_MESSAGE_BYTES:
                text = f"Received message larger than max ({size} vs. {MAX_MESSAGE_BYTES})"
                self.fail(Status(Code.RESOURCE_EXHAUSTED, text))
            elif len(buffer) < 5 + size:
                return
            else:
                message = bytes(buffer[5 : 5 + size])
                del buffer[: 5 + size]
                handler.message(message)

    def cancel(self) -> None:
        """RST_STREAM came, or the connection is lost."""
        self._forget()
        if self.handler is not None:
            self.handler.cancelled()

    def fail(self, status: Status) -> None:
        """End the call from below the handler."""
        self.finish(status)
        if self.handler is not None:
            self.handler.cancelled()

    # To the client.

    def accept(self) -> None:
        """Send the initial metadata, once; `send` does it when it was not done."""
        if not self._headers_sent and not self._over:
            self._headers_sent = True
            self.connection.write(frame(FrameType.HEADERS, Flag.END_HEADERS, self.stream_id, _INITIAL_METADATA))

    def send(self, message: bytes) -> None:
        if self._over or self._trailers is not None:
            return
        self.accept()
        data = b"\0" + len(message).to_bytes(4, "big") + message
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self.reset(ErrorCode.ENHANCE_YOUR_CALM)
            return
        self.pump()

    def finish(self, status: Status) -> None:
        if self._over or self._trailers is not None:
            return
        trailers = [("grpc-status", str(int(status.code)))]
        if status.message:
            trailers.append(("grpc-message", quote(status.message, safe=_MESSAGE_SAFE)))
        if self._headers_sent:
            self._trailers = encode(trailers)
        else:  # gRPC's "Trailers-Only"
            self._trailers = _INITIAL_METADATA + encode(trailers)
        self.pump()

    def reset_connection(self) -> None:
        """Cut the whole connection with a TCP reset."""
        self.connection.abort()

    def leave_connection(self) -> None:
        """Send GOAWAY: open calls go on, new ones need another connection."""
        self.connection.go_away()

    def reset(self, code: ErrorCode) -> None:
        """Cut this call with RST_STREAM."""
        if not self._over:
            self.connection.write(rst_stream(self.stream_id, code))
            self.cancel()

    def pump(self) -> None:
        """Send what the two windows allow."""
        connection = self.connection
        while self._unsent and not self._over:
            data = self._unsent[0]
            size = min(len(data), self.window, connection.window, connection.max_frame_bytes)
            if size <= 0:
                connection.wait_for_window(self)
                return
            self._unsent.popleft()
            if size < len(data):
                self._unsent.appendleft(data[size:])
            self.window -= size
            connection.window -= size
            self._unsent_bytes -= size
            connection.write(frame(FrameType.DATA, 0, self.stream_id, data[:size]))
        if self._trailers is not None and not self._over:
            flags = Flag.END_HEADERS | Flag.END_STREAM
            connection.write(frame(FrameType.HEADERS, flags, self.stream_id, self._trailers))
            if not self._half_closed:  # nothing more is wanted of the client
                connection.write(rst_stream(self.stream_id, ErrorCode.NO_ERROR))
            self._forget()

    def _forget(self) -> None:
        if not self._over:
            self._over = True
            self._unsent.clear()
            self.connection.stream_over(self.stream_id)
