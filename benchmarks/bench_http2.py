"""The emulator's HTTP/2 against the library h2: a turn of 80 calls, each with a request in and an answer out."""

from __future__ import annotations

import asyncio
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from fastcall.adapters.emulator.http2.connection import Connection
from fastcall.adapters.emulator.http2.frames import PREFACE, Flag, FrameType, frame, settings, window_update
from fastcall.adapters.emulator.http2.stream import GrpcStream
from ratio import compare

CALLS = 80
REQUEST = b"\0" + (2565).to_bytes(4, "big") + bytes(2565)  # 160 ms of LINEAR16 at 8 kHz
ANSWER = bytes(60)
READ_BYTES = 65_536
MAX_WINDOW = 2**31 - 1
IDS = range(1, 2 * CALLS, 2)


def opening(headers: bytes) -> bytes:
    """All calls opened, by a client that never lets a window run out."""
    wide = settings({4: MAX_WINDOW}) + window_update(0, MAX_WINDOW - 65_535)
    calls = (frame(FrameType.HEADERS, Flag.END_HEADERS, stream_id, headers) for stream_id in IDS)
    return PREFACE + wide + b"".join(calls)


def reads(data: bytes) -> list[bytes]:
    """The data as it comes off a busy socket."""
    return [data[at : at + READ_BYTES] for at in range(0, len(data), READ_BYTES)]


TURN = reads(b"".join(frame(FrameType.DATA, 0, stream_id, REQUEST) for stream_id in IDS))
CLIENT_HEADERS = [
    *[(":method", "POST"), (":scheme", "http"), (":authority", "127.0.0.1:50051")],
    (":path", "/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize"),
    *[("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "grpc-python-asyncio/1.66.0")],
]


class Sink(asyncio.Transport):
    """Counts what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def write(self, data: Any) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False


class Echo:
    """A call that answers each request."""

    def __init__(self, stream: GrpcStream) -> None:
        self._stream = stream

    def message(self, data: bytes) -> None:
        self._stream.send(ANSWER)

    def half_closed(self) -> None: ...

    def cancelled(self) -> None: ...


class Service:
    streams_per_connection = 100

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...

    def call(self, path: str, stream: GrpcStream) -> Echo:
        return Echo(stream)

    def http1(self, connection: Connection, data: bytes) -> None: ...


class Ours:
    def __init__(self, headers: bytes) -> None:
        self.sink = Sink()

        async def open_calls() -> Connection:
            connection = Connection(Service())
            connection.connection_made(self.sink)
            connection.data_received(opening(headers))
            await asyncio.sleep(0)  # what it planned to write
            return connection

        self._connection = asyncio.run(open_calls())

    def turn(self) -> None:
        for data in TURN:
            self._connection.data_received(data)


class Library:
    """The same with h2, its checks of headers off."""

    def __init__(self, headers: bytes) -> None:
        self.sink = Sink()
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(16 * 1024 * 1024)
        self._received: dict[int, bytearray] = {}
        self._take(opening(headers))

    def turn(self) -> None:
        for data in TURN:
            self._take(data)

    def _take(self, data: bytes) -> None:
        connection = self._h2
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self._data(event)
            elif isinstance(event, h2.events.RequestReceived):
                self._received[event.stream_id] = bytearray()
                connection.send_headers(event.stream_id, [(b":status", b"200"), (b"content-type", b"application/grpc")])
        self.sink.write(connection.data_to_send())

    def _data(self, event: h2.events.DataReceived) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        buffer = self._received[event.stream_id]
        buffer += event.data
        while len(buffer) >= 5 and len(buffer) >= 5 + int.from_bytes(buffer[1:5], "big"):
            del buffer[: 5 + int.from_bytes(buffer[1:5], "big")]
            self._h2.send_data(event.stream_id, b"\0" + len(ANSWER).to_bytes(4, "big") + ANSWER)


@pytest.mark.gate
def test_a_request_and_its_answer(benchmark: Any) -> None:
    headers = h2.connection.Encoder().encode(CLIENT_HEADERS)
    ours, library = Ours(headers), Library(headers)
    answer_frames = CALLS * (9 + 5 + len(ANSWER))
    for side in (ours, library):
        before = side.sink.written
        side.turn()
        assert side.sink.written - before >= answer_frames
    compare(benchmark, "HTTP/2: a request in, an answer out", ours.turn, library.turn, floor=3, units=CALLS)
