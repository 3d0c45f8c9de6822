"""The emulator's gRPC server against h2 as its client, and against frames that no client should send."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from fastcall.emulator.grpc_server import (
    MAX_MESSAGE_BYTES,
    MAX_UNSENT_BYTES,
    PREFACE,
    Connection,
    GrpcStream,
)
from fastcall.emulator.messages import Code, Status

REQUEST = [
    *[(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/package.Service/Method")],
    *[("te", "trailers"), ("content-type", "application/grpc")],
]


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


class Handler:
    """A call's handler that keeps what comes; an echo sends it back, and a status at the end."""

    def __init__(self, stream: GrpcStream, *, is_echo: bool) -> None:
        self.stream = stream
        self.messages: list[bytes] = []
        self.is_ended = self.is_cancelled = False
        self._is_echo = is_echo

    def message(self, data: bytes) -> None:
        self.messages.append(data)
        if self._is_echo:
            self.stream.send(data)

    def half_closed(self) -> None:
        self.is_ended = True
        if self._is_echo:
            self.stream.finish(Status(Code.ABORTED, "that is all"))

    def cancelled(self) -> None:
        self.is_cancelled = True


class Pair:
    """An h2 client and the server, joined by hand."""

    def __init__(
        self, *, window: int = 65_535, cut: int = 1_000_000, streams: int = 0, is_echo: bool = False, greet: bool = True
    ) -> None:
        self.streams_per_connection = streams
        self._cut, self._is_echo = cut, is_echo
        self.calls: list[Handler] = []
        self.wire = Wire()
        self.events: list[h2.events.Event] = []
        self.received: dict[int, bytes] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.client.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 0,  # as gRPC's clients
            },
        )
        self.server = Connection(self)
        self.server.connection_made(self.wire)  # type: ignore[arg-type]
        if greet:
            self.client.initiate_connection()
            self.run()

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...

    def call(self, path: str, stream: GrpcStream) -> Handler:
        assert path == "/package.Service/Method"
        self.calls.append(Handler(stream, is_echo=self._is_echo))
        return self.calls[-1]

    def http1(self, connection: Connection, data: bytes) -> None:
        return None

    def open(self, *streams: int) -> None:
        for stream in streams:
            self.client.send_headers(stream, REQUEST)
        self.run()

    def send_raw(self, *frames: Frame | bytes) -> list[Frame]:
        """What the server writes about frames that the client did not make."""
        self.server.data_received(b"".join(f if isinstance(f, bytes) else f.serialize() for f in frames))
        return frames_of(self.taken())

    def taken(self) -> bytes:
        self.server.data_received(b"")  # what is planned for the loop's next turn is written now
        taken, self.wire.written = bytes(self.wire.written), bytearray()
        return taken

    def run(self, *, acknowledge: bool = True) -> None:
        """Carry bytes, in pieces, until neither side has any."""
        while True:
            data = self.client.data_to_send()
            for at in range(0, len(data), self._cut):
                self.server.data_received(data[at : at + self._cut])
            answer = self.taken()
            if not data and not answer:
                return
            for event in self.client.receive_data(answer):
                self.events.append(event)
                self._take(event, acknowledge)

    def _take(self, event: Any, acknowledge: bool) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data
            if acknowledge:
                self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.received.setdefault(event.stream_id, b"")
            self.headers.setdefault(event.stream_id, {}).update(dict(event.headers))

    def resets(self) -> dict[int, int]:
        return {e.stream_id: e.error_code for e in self.events if isinstance(e, h2.events.StreamReset)}


def frames_of(data: bytes) -> list[Frame]:
    found, view = [], memoryview(data)
    while view:
        frame, length = Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9 : 9 + length])
        found.append(frame)
        view = view[9 + length :]
    return found


def framed(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


@pytest.fixture(autouse=True)
def transport_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio.Transport", Wire)


@given(
    st.lists(st.lists(st.binary(max_size=2000), max_size=4), min_size=1, max_size=4),
    st.integers(1, 5000),
    st.integers(1, 3000),
    st.integers(0, 20),
)
async def test_calls_come_whole_however_they_are_cut(
    messages: list[list[bytes]], window: int, cut: int, padding: int
) -> None:
    pair = Pair(window=window, cut=cut, is_echo=True)
    expected: dict[int, bytes] = {}
    for number, of_call in enumerate(messages):
        stream = 1 + 2 * number
        pair.client.send_headers(stream, [*REQUEST, ("x-number", str(number))])
        for text in of_call:
            pair.client.send_data(stream, framed(text), pad_length=padding or None)
        pair.client.end_stream(stream)
        expected[stream] = b"".join(map(framed, of_call))
    pair.client.ping(b"12345678")
    pair.run()
    assert pair.received == expected
    assert [handler.messages for handler in pair.calls] == messages
    assert all(handler.is_ended for handler in pair.calls)
    ends = [[headers[name] for name in (":status", "grpc-status", "grpc-message")] for headers in pair.headers.values()]
    assert ends == [["200", "10", "that is all"]] * len(messages)
    assert any(isinstance(event, h2.events.PingAckReceived) for event in pair.events)


async def test_answers_are_headers_messages_trailers() -> None:
    pair = Pair()
    pair.open(1)
    stream = pair.calls[0].stream
    stream.send(b"one")
    stream.finish(Status(Code.OUT_OF_RANGE, "50% of ü\n"))
    frames = frames_of(pair.taken())
    assert [type(frame) for frame in frames] == [HeadersFrame, DataFrame, HeadersFrame, RstStreamFrame]
    assert frames[1].data == framed(b"one")
    assert frames[2].flags == {"END_HEADERS", "END_STREAM"}
    assert frames[3].error_code == ErrorCodes.NO_ERROR  # the client had not ended its side
    decoder = hpack.Decoder()
    decoder.decode(frames[0].data)
    assert decoder.decode(frames[2].data) == [("grpc-status", "11"), ("grpc-message", "50%25 of %C3%BC%0A")]


async def test_a_status_without_messages_is_trailers_only() -> None:
    pair = Pair()
    pair.client.send_headers(1, REQUEST, end_stream=True)
    pair.run()
    pair.calls[0].stream.finish(Status(Code.OK))
    (frame,) = frames_of(pair.taken())
    assert frame.flags == {"END_HEADERS", "END_STREAM"}
    headers = hpack.Decoder().decode(frame.data)
    assert (headers[0], headers[-1]) == ((":status", "200"), ("grpc-status", "0"))


async def test_both_windows_hold_answers_back() -> None:
    pair = Pair(window=10)
    pair.open(1)
    stream = pair.calls[0].stream
    stream.send(bytes(90))
    stream.finish(Status(Code.OK))
    pair.run(acknowledge=False)
    assert len(pair.received[1]) == 10
    assert "grpc-status" not in pair.headers[1], "the trailers wait for the messages"
    pair.client.increment_flow_control_window(20, 1)
    pair.run(acknowledge=False)
    assert len(pair.received[1]) == 30
    pair.client.increment_flow_control_window(1000, 1)
    pair.run()
    assert len(pair.received[1]) == 95
    assert pair.headers[1]["grpc-status"] == "0"


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    pair = Pair(window=0)
    pair.open(1)
    for _ in range(MAX_UNSENT_BYTES // 65_536 + 1):
        pair.calls[0].stream.send(bytes(65_536))
    pair.run()
    assert pair.calls[0].is_cancelled
    assert pair.resets() == {1: ErrorCodes.ENHANCE_YOUR_CALM}


async def test_audio_without_end_gets_new_windows() -> None:
    pair = Pair()
    pair.open(1)
    for _ in range(1100):  # more than the connection's first window; h2 raises when one is used up
        pair.client.send_data(1, framed(bytes(16_000)))
        pair.run()
    assert pair.client.local_flow_control_window(1) > 0


async def test_a_reset_and_a_lost_connection_cancel_calls() -> None:
    pair = Pair()
    pair.open(1, 3)
    pair.client.reset_stream(1)
    pair.run()
    assert [handler.is_cancelled for handler in pair.calls] == [True, False]
    pair.server.connection_lost(None)
    assert [handler.is_cancelled for handler in pair.calls] == [True, True]


async def test_a_call_that_is_given_up_in_the_read_that_began_it_leaves_the_others_alone() -> None:
    """h2 knows of the reset before the request's event is handled."""
    pair = Pair(streams=2, is_echo=True)
    pair.open(1)
    pair.client.send_headers(3, REQUEST)
    pair.client.send_data(3, framed(b"in vain"))
    pair.client.reset_stream(3)
    pair.run()
    assert pair.calls[1].is_cancelled
    assert not pair.wire.closed
    pair.server.go_away()
    request = HeadersFrame(5, hpack.Encoder().encode(REQUEST), flags=["END_HEADERS"])
    pair.send_raw(request, RstStreamFrame(5, ErrorCodes.CANCEL))
    assert not pair.wire.closed
    pair.calls[0].stream.send(b"still")
    assert any(isinstance(frame, DataFrame) for frame in frames_of(pair.taken()))


async def test_an_answer_to_a_call_that_h2_has_forgotten_goes_nowhere() -> None:
    """gRPC's clients allow no stream of the server's own, for one of which h2 would take the answer's headers."""

    class Refusing(Pair):
        def call(self, path: str, stream: GrpcStream) -> Handler:
            handler = super().call(path, stream)
            stream.finish(Status(Code.UNIMPLEMENTED))
            return handler

    pair = Refusing()
    pair.client.send_headers(1, REQUEST)
    pair.client.reset_stream(1)
    pair.client.send_headers(3, REQUEST)  # with which h2 clears away what is closed
    pair.run()
    assert not pair.wire.closed
    assert pair.headers[3]["grpc-status"] == str(int(Code.UNIMPLEMENTED))


async def test_more_streams_than_announced_are_refused_and_the_others_go_on() -> None:
    pair = Pair(streams=2, greet=False)
    # A client that sends all at once, before it has seen the settings.
    pair.client.initiate_connection()
    pair.open(1, 3, 5)
    assert pair.client.remote_settings.max_concurrent_streams == 2
    assert pair.resets() == {5: ErrorCodes.REFUSED_STREAM}
    assert [handler.is_cancelled for handler in pair.calls] == [False, False]
    headers = HeadersFrame(7, hpack.Encoder().encode(REQUEST), flags=["END_HEADERS"])
    (frame,) = pair.send_raw(headers)  # nor does it break the connection once the settings are acknowledged
    assert (type(frame), frame.stream_id, frame.error_code) == (RstStreamFrame, 7, ErrorCodes.REFUSED_STREAM)


async def test_goaway_lets_open_calls_end() -> None:
    pair = Pair()
    pair.open(1)
    pair.server.go_away()
    headers = HeadersFrame(3, hpack.Encoder().encode(REQUEST), flags=["END_HEADERS"])
    goaway, refusal = pair.send_raw(headers)
    assert isinstance(goaway, GoAwayFrame)
    assert (goaway.last_stream_id, goaway.error_code) == (1, 0)
    assert (refusal.stream_id, refusal.error_code) == (3, ErrorCodes.REFUSED_STREAM)
    assert not pair.wire.closed
    pair.calls[0].stream.send(b"still")
    assert any(isinstance(frame, DataFrame) for frame in frames_of(pair.taken()))


@pytest.mark.parametrize(
    ("prefix", "size", "code"),
    [
        (b"\1", 3, Code.UNIMPLEMENTED),
        (b"\0", MAX_MESSAGE_BYTES + 1, Code.RESOURCE_EXHAUSTED),
    ],
)
async def test_compressed_and_huge_messages_end_the_call(prefix: bytes, size: int, code: int) -> None:
    pair = Pair()
    pair.open(1)
    pair.client.send_data(1, prefix + size.to_bytes(4, "big") + b"abc")
    pair.run()
    assert pair.headers[1]["grpc-status"] == str(int(code))
    assert pair.calls[0].is_cancelled


@pytest.mark.parametrize(
    "wire",
    [
        (DataFrame(7, b"123"),),
        (HeadersFrame(1, b"\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS"]),),
        (HeadersFrame(1, b"\x82"), PingFrame(0)),
        (HeadersFrame(1), *[ContinuationFrame(1, b"")] * 100),
        (WindowUpdateFrame(0, 2**31 - 1),),
        (SettingsFrame(0, {5: 100}),),
        (b"\xff\xff\xff" + bytes(6),),
    ],
    ids=["idle", "compression", "interrupted", "endless", "window", "settings", "huge"],
)
async def test_broken_frames_end_the_connection_with_a_reason(wire: tuple[Frame | bytes, ...]) -> None:
    pair = Pair()
    answer = pair.send_raw(*wire)
    assert isinstance(answer[-1], GoAwayFrame)
    assert answer[-1].error_code != ErrorCodes.NO_ERROR
    assert pair.wire.closed


async def test_a_header_list_has_a_bound() -> None:
    pair = Pair()
    encoder = hpack.Encoder()
    pair.send_raw(HeadersFrame(1, encoder.encode([*REQUEST, ("large", "x" * 3900)]), flags=["END_HEADERS"]))
    # The entry is in the table: each further name of it is one byte on the wire.
    answer = pair.send_raw(HeadersFrame(3, b"\xbe" * 1000, flags=["END_HEADERS"]))
    assert isinstance(answer[-1], GoAwayFrame)
    assert pair.wire.closed


async def test_a_client_that_does_not_read_is_not_read() -> None:
    pair = Pair()
    pair.server.pause_writing()
    assert pair.wire.paused
    pair.server.resume_writing()
    assert not pair.wire.paused


@given(st.binary(max_size=200))
async def test_any_bytes_are_survived(data: bytes) -> None:
    pair = Pair(greet=False)
    pair.server.data_received(PREFACE[:10])
    pair.server.data_received(PREFACE[10:] + SettingsFrame(0).serialize() + data)
    assert pair.wire.closed or data == b"" or frames_of(pair.taken())


async def test_no_http2_is_dropped() -> None:
    pair = Pair(greet=False)
    pair.server.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert pair.wire.closed
