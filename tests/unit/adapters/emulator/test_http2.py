"""The server's side of HTTP/2: header compression by the RFC's own vectors, then frames of all kinds."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.adapters.emulator.http2.connection import Connection
from fastcall.adapters.emulator.http2.frames import (
    HEADER_BYTES,
    PREFACE,
    ErrorCode,
    Flag,
    FrameType,
    frame,
    rst_stream,
    settings,
    window_update,
)
from fastcall.adapters.emulator.http2.hpack import Decoder, HpackError, encode
from fastcall.adapters.emulator.http2.stream import MAX_MESSAGE_BYTES, MAX_UNSENT_BYTES, GrpcStream
from fastcall.adapters.emulator.messages import Code, Status

# RFC 7541, appendix C.3 and C.4: the same three requests, plain and with Huffman codes.
PLAIN = [
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
]
HUFFMAN = [
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
]
REQUESTS = [
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")],
    [
        *[(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")],
        (b"cache-control", b"no-cache"),
    ],
    [
        *[(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html")],
        *[(b":authority", b"www.example.com"), (b"custom-key", b"custom-value")],
    ],
]


@pytest.mark.parametrize("blocks", [PLAIN, HUFFMAN], ids=["plain", "huffman"])
def test_headers_decode_as_the_rfc_says(blocks: list[str]) -> None:
    decoder = Decoder()
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == REQUESTS


def test_a_table_of_no_size_forgets() -> None:
    decoder = Decoder()
    decoder.decode(bytes.fromhex(PLAIN[0]))
    assert decoder.decode(bytes.fromhex("20")) == []
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe")


@pytest.mark.parametrize(
    "block",
    ["80", "ff80808080ff", "41", "41ff", "410f77", "3fffff7f", "4182fe00", "418cffffffffffffffffffffffff", "c0"],
)
def test_broken_header_blocks_are_refused(block: str) -> None:
    with pytest.raises(HpackError):
        Decoder().decode(bytes.fromhex(block))


def test_a_header_bomb_is_refused() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x7f\x81\x1e" + bytes(3968))  # one large entry of the table ...
    with pytest.raises(HpackError, match="too large"):
        decoder.decode(b"\xbe" * 1000)  # ... named a thousand times


@given(st.lists(st.tuples(st.text("abc-", min_size=1), st.text(st.characters(max_codepoint=126, min_codepoint=32)))))
def test_what_is_encoded_is_decoded(headers: list[tuple[str, str]]) -> None:
    assert Decoder().decode(encode(headers)) == [(name.encode(), value.encode()) for name, value in headers]


@given(st.binary(max_size=60))
def test_any_header_block_decodes_or_is_refused(block: bytes) -> None:
    with contextlib.suppress(HpackError):
        Decoder().decode(block)


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """(type, flags, stream, payload) of what was written since the last call."""
        found, at = [], 0
        while at < len(self.written):
            length = int.from_bytes(self.written[at : at + 3], "big")
            kind, flags = self.written[at + 3], self.written[at + 4]
            stream = int.from_bytes(self.written[at + 5 : at + 9], "big")
            at += HEADER_BYTES + length
            found.append((kind, flags, stream, bytes(self.written[at - length : at])))
        self.written.clear()
        return found


class Ear:
    """A call's handler that keeps what comes."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ended = self.is_cancelled = False

    def message(self, data: bytes) -> None:
        self.messages.append(data)

    def half_closed(self) -> None:
        self.ended = True

    def cancelled(self) -> None:
        self.is_cancelled = True


class Service:
    streams_per_connection = 2

    def __init__(self) -> None:
        self.calls: list[tuple[str, GrpcStream, Ear]] = []
        self.wire = Wire()
        self.connection = Connection(self)
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...

    def call(self, path: str, stream: GrpcStream) -> Ear:
        self.calls.append((path, stream, Ear()))
        return self.calls[-1][2]

    def http1(self, connection: Connection, data: bytes) -> None:
        return None

    def receive(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        self.connection.data_received(data)
        return self.wire.frames()


@pytest.fixture(autouse=True)
def transport_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio.Transport", Wire)


@pytest.fixture
async def service() -> Service:
    made = Service()
    made.receive(PREFACE + settings({}))
    return made


HEADERS = encode([(":method", "POST"), (":path", "/a/b"), ("te", "trailers")])


def open_call(stream_id: int = 1, flags: int = Flag.END_HEADERS) -> bytes:
    return frame(FrameType.HEADERS, flags, stream_id, HEADERS)


def message(data: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(data)) + data


def data_frames(payload: bytes, size: int, stream_id: int = 1) -> Iterator[bytes]:
    for at in range(0, len(payload), size):
        yield frame(FrameType.DATA, 0, stream_id, payload[at : at + size])


async def test_the_server_answers_the_preface_with_its_settings() -> None:
    service = Service()
    assert service.receive(PREFACE[:10]) == []
    kinds = [kind for kind, *_ in service.receive(PREFACE[10:] + settings({}))]
    assert kinds == [FrameType.SETTINGS, FrameType.WINDOW_UPDATE, FrameType.SETTINGS]


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 50), st.integers(1, 400))
async def test_messages_come_whole_however_they_are_cut(messages: list[bytes], cut: int, size: int) -> None:
    service = Service()
    service.receive(PREFACE + settings({}))
    wire = open_call() + b"".join(data_frames(b"".join(map(message, messages)), cut))
    wire += frame(FrameType.DATA, Flag.END_STREAM, 1)
    for at in range(0, len(wire), size):
        service.receive(wire[at : at + size])
    path, _, ear = service.calls[0]
    assert (path, ear.messages, ear.ended) == ("/a/b", messages, True)


async def test_padding_priority_and_continuation_are_understood(service: Service) -> None:
    half = len(HEADERS) // 2
    padded = bytes([3]) + bytes(5) + HEADERS[:half] + bytes(3)
    service.receive(frame(FrameType.HEADERS, Flag.PADDED | Flag.PRIORITY, 1, padded))
    assert service.calls == []
    service.receive(frame(FrameType.CONTINUATION, Flag.END_HEADERS, 1, HEADERS[half:]))
    service.receive(frame(FrameType.DATA, Flag.PADDED, 1, b"\x02" + message(b"hello") + b"\0\0"))
    assert service.calls[0][2].messages == [b"hello"]


async def test_answers_are_headers_messages_trailers(service: Service) -> None:
    service.receive(open_call())
    _, stream, _ = service.calls[0]
    stream.send(b"one")
    stream.finish(Status(Code.OUT_OF_RANGE, "50% of ü\n"))
    service.connection.close()
    frames = service.wire.frames()
    assert [(kind, flags) for kind, flags, *_ in frames] == [
        (FrameType.HEADERS, Flag.END_HEADERS),
        (FrameType.DATA, 0),
        (FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM),
        (FrameType.RST_STREAM, 0),  # the client had not ended its side
    ]
    assert frames[1][3] == message(b"one")
    trailers = Decoder().decode(frames[2][3])
    assert trailers == [(b"grpc-status", b"11"), (b"grpc-message", b"50%25 of %C3%BC%0A")]


async def test_a_status_without_messages_is_trailers_only(service: Service) -> None:
    service.receive(open_call(flags=Flag.END_HEADERS | Flag.END_STREAM))
    service.calls[0][1].finish(Status(Code.OK))
    service.connection.close()
    ((kind, flags, _, block),) = service.wire.frames()
    assert (kind, flags) == (FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM)
    assert Decoder().decode(block)[0] == (b":status", b"200")
    assert Decoder().decode(block)[-1] == (b"grpc-status", b"0")


async def test_both_windows_and_the_frame_size_hold_answers_back(service: Service) -> None:
    service.receive(settings({4: 10}) + open_call())
    _, stream, _ = service.calls[0]
    stream.send(bytes(95))
    stream.finish(Status(Code.OK))

    def sent(answer: list[tuple[int, int, int, bytes]]) -> list[int]:
        return [len(payload) for kind, _, _, payload in answer if kind == FrameType.DATA]

    assert sent(service.receive(b"")) == [10]
    assert sent(service.receive(window_update(1, 20))) == [20]
    assert sent(service.receive(settings({4: 15}))) == [5]
    last = service.receive(window_update(1, 1000))
    assert sent(last) == [65]
    assert last[-2][0] == FrameType.HEADERS  # the trailers wait for the messages


async def test_a_client_that_does_not_read_is_cut_off(service: Service) -> None:
    service.receive(settings({4: 0}) + open_call())
    _, stream, ear = service.calls[0]
    for _ in range(MAX_UNSENT_BYTES // 65_536 + 1):
        stream.send(bytes(65_536))
    assert ear.is_cancelled
    assert service.receive(b"")[-1][::3] == (FrameType.RST_STREAM, ErrorCode.ENHANCE_YOUR_CALM.to_bytes(4, "big"))


async def test_audio_without_end_gets_new_windows(service: Service) -> None:
    service.receive(open_call())
    given_back = {0: 0, 1: 0}
    for _ in range(1000):
        for kind, _, stream, payload in service.receive(frame(FrameType.DATA, 0, 1, bytes(16_000))):
            if kind == FrameType.WINDOW_UPDATE:
                given_back[stream] += int.from_bytes(payload, "big")
    assert given_back[0] > 10_000_000
    assert given_back[1] > 15_000_000


async def test_a_reset_and_a_lost_connection_cancel_calls(service: Service) -> None:
    service.receive(open_call(1) + open_call(3) + rst_stream(1, ErrorCode.CANCEL))
    assert [ear.is_cancelled for _, _, ear in service.calls] == [True, False]
    service.connection.connection_lost(None)
    assert [ear.is_cancelled for _, _, ear in service.calls] == [True, True]


async def test_more_streams_than_announced_are_refused(service: Service) -> None:
    answer = service.receive(open_call(1) + open_call(3) + open_call(5))
    assert (FrameType.RST_STREAM, 0, 5, ErrorCode.REFUSED_STREAM.to_bytes(4, "big")) in answer
    assert len(service.calls) == 2


async def test_pings_are_answered(service: Service) -> None:
    assert service.receive(frame(FrameType.PING, 0, 0, b"12345678")) == [(FrameType.PING, Flag.ACK, 0, b"12345678")]
    assert service.receive(frame(FrameType.PING, Flag.ACK, 0, b"12345678")) == []


async def test_goaway_lets_open_calls_end(service: Service) -> None:
    service.receive(open_call(1))
    service.connection.go_away()
    answer = service.receive(open_call(3))
    assert answer[0][0] == FrameType.GOAWAY
    assert answer[0][3] == struct.pack(">II", 1, 0)
    assert (FrameType.RST_STREAM, 0, 3, ErrorCode.REFUSED_STREAM.to_bytes(4, "big")) in answer
    assert not service.wire.closed


@pytest.mark.parametrize(
    ("prefix", "size", "code"),
    [
        (b"\1", 3, Code.UNIMPLEMENTED),
        (b"\0", MAX_MESSAGE_BYTES + 1, Code.RESOURCE_EXHAUSTED),
    ],
)
async def test_compressed_and_huge_messages_end_the_call(service: Service, prefix: bytes, size: int, code: int) -> None:
    service.receive(open_call())
    answer = service.receive(frame(FrameType.DATA, 0, 1, prefix + struct.pack(">I", size) + b"abc"))
    assert (b"grpc-status", b"%d" % code) in Decoder().decode(answer[0][3])
    assert service.calls[0][2].is_cancelled


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(FrameType.PING, 0, 0, b"123"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(FrameType.SETTINGS, 0, 0, b"123"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(FrameType.DATA, 0, 7, b"123"), ErrorCode.PROTOCOL_ERROR),
        (frame(FrameType.DATA, 0, 0, b"123"), ErrorCode.PROTOCOL_ERROR),
        (frame(FrameType.HEADERS, Flag.END_HEADERS, 2, HEADERS), ErrorCode.PROTOCOL_ERROR),
        (frame(FrameType.HEADERS, Flag.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (frame(FrameType.HEADERS, 0, 1, HEADERS) + frame(FrameType.PING, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frame(FrameType.CONTINUATION, 0, 1, HEADERS), ErrorCode.PROTOCOL_ERROR),
        (frame(FrameType.HEADERS, 0, 1) + frame(FrameType.CONTINUATION, 0, 1, bytes(16_000)) * 5,
         ErrorCode.ENHANCE_YOUR_CALM),
        (frame(FrameType.PUSH_PROMISE, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (settings({5: 100}), ErrorCode.PROTOCOL_ERROR),
        (settings({4: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (b"\xff\xff\xff" + bytes(6), ErrorCode.FRAME_SIZE_ERROR),
        (open_call() + frame(FrameType.DATA, Flag.PADDED, 1, b"\x05abc"), ErrorCode.PROTOCOL_ERROR),
        (open_call() + frame(FrameType.DATA, Flag.PADDED, 1), ErrorCode.FRAME_SIZE_ERROR),
        (frame(FrameType.HEADERS, Flag.PRIORITY | Flag.END_HEADERS, 1, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(FrameType.HEADERS, 0, 1) + frame(FrameType.CONTINUATION, 0, 1), ErrorCode.ENHANCE_YOUR_CALM),
        (window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (window_update(7, 1), ErrorCode.PROTOCOL_ERROR),
        (frame(FrameType.WINDOW_UPDATE, 0, 0, b"123"), ErrorCode.FRAME_SIZE_ERROR),
        (rst_stream(7, 0), ErrorCode.PROTOCOL_ERROR),
        (frame(FrameType.RST_STREAM, 0, 1, b"123"), ErrorCode.FRAME_SIZE_ERROR),
        (frame(FrameType.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frame(FrameType.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frame(FrameType.SETTINGS, Flag.ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(FrameType.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (settings({5: 2**24}), ErrorCode.PROTOCOL_ERROR),
    ],
)  # fmt: skip
async def test_broken_frames_end_the_connection_with_a_reason(service: Service, wire: bytes, code: int) -> None:
    answer = service.receive(wire)
    kind, _, _, payload = answer[-1]
    assert kind == FrameType.GOAWAY
    assert struct.unpack(">II", payload[:8])[1] == code
    assert service.wire.closed


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
        (window_update(1, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (frame(FrameType.DATA, Flag.END_STREAM, 1) + frame(FrameType.DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
        (open_call(), ErrorCode.PROTOCOL_ERROR),  # headers again, and not as trailers
    ],
)
async def test_what_breaks_one_call_leaves_the_others(service: Service, wire: bytes, code: int) -> None:
    service.receive(open_call(1) + open_call(3))
    assert (FrameType.RST_STREAM, 0, 1, code.to_bytes(4, "big")) in service.receive(wire)
    assert not service.wire.closed
    service.receive(frame(FrameType.DATA, 0, 3, message(b"hello")))
    assert [(ear.is_cancelled, ear.messages) for _, _, ear in service.calls] == [(True, []), (False, [b"hello"])]


async def test_a_client_must_begin_with_its_settings() -> None:
    service = Service()
    answer = service.receive(PREFACE + frame(FrameType.PING, 0, 0, bytes(8)))
    assert answer[-1][0] == FrameType.GOAWAY
    assert service.wire.closed


async def test_unknown_frames_and_settings_are_ignored(service: Service) -> None:
    service.receive(open_call())
    service.receive(frame(0xBE, 0xFF, 1, b"anything") + frame(FrameType.PRIORITY, 0, 1, bytes(5)))
    acknowledged = service.receive(settings({0xBEEF: 1, 2: 0}))
    assert [(kind, flags) for kind, flags, *_ in acknowledged] == [(FrameType.SETTINGS, Flag.ACK)]
    service.receive(frame(FrameType.DATA, Flag.END_STREAM, 1, message(b"hello")))
    assert service.calls[0][2].messages == [b"hello"]
    assert service.calls[0][2].ended


async def test_a_client_that_does_not_read_is_not_read(service: Service) -> None:
    service.connection.pause_writing()
    assert service.wire.paused
    service.connection.resume_writing()
    assert not service.wire.paused


@given(st.binary(max_size=200))
async def test_any_bytes_are_survived(data: bytes) -> None:
    service = Service()
    service.receive(PREFACE + settings({}) + data)
    assert all(0 <= kind <= 9 for kind, *_ in service.receive(data))


async def test_no_http2_is_dropped(service: Service) -> None:
    other = Service()
    other.receive(b"GET / HTTP/1.1\r\n\r\n")
    assert other.wire.closed
