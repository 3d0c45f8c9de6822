"""The client side of HTTP/2, against ``h2``, and against bytes that are no HTTP/2 at all."""

from __future__ import annotations

import gc
import random
import struct
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcall import _http2
from fastcall._http2 import (
    BEGUN,
    ENDED,
    GOAWAY,
    HEADERS,
    MESSAGE,
    PONG,
    SETTINGS,
    WRITABLE,
    Http2Connection,
    Http2Error,
)
from fastcall.google.grpc_status import header_block
from footprint import resident_bytes
from h2peer import ANSWER, grpc_message
from h2peer import OK as TRAILERS
from thoroughness import amount

try:
    _http2.load()
except OSError as missing:
    pytest.skip(str(missing), allow_module_level=True)

REQUEST = header_block(
    (":method", "POST"), (":scheme", "http"), (":path", "/s/M"), (":authority", "a"), ("te", "trailers")
)


class Wire:
    """A client of ours and a server of h2's, joined by hand. ``cut``: so many bytes at a time reach the client."""

    def __init__(self, *, cut: int = 1 << 20, **options: int) -> None:
        self.client = Http2Connection(**options)
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.server.initiate_connection()
        self.cut = cut
        self.seen: list[tuple] = []
        self.begun: list[_http2.Http2Stream] = []
        self.heard: list[h2.events.Event] = []

    def run(self) -> list[tuple]:
        """All that is on the way arrives; returns what the client was told, but for BEGUN, which goes to ``begun``."""
        before = len(self.seen)
        while True:
            data, events = self.client.data_to_send()
            self.begun += [stream for kind, stream, _ in events if kind == BEGUN]
            self.seen += [event for event in events if event[0] != BEGUN]
            if data:
                self.heard += self.server.receive_data(data)
            back = self.server.data_to_send()
            for at in range(0, len(back), self.cut):
                self.seen += self.client.receive(back[at : at + self.cut])
            if not data and not back:
                return self.seen[before:]

    def body(self) -> bytes:
        """What the server got as DATA so far."""
        return b"".join(event.data for event in self.heard if isinstance(event, h2.events.DataReceived))

    def acknowledge(self) -> None:
        """Give the windows back."""
        for event in self.heard:
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self.server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.heard = [event for event in self.heard if not isinstance(event, h2.events.DataReceived)]


def test_a_request_and_its_answer():
    wire = Wire()
    stream = wire.client.open(REQUEST, "owner")
    assert stream.owner == "owner"
    assert wire.client.write(stream, b"config")
    assert wire.run() == [(SETTINGS, None, None)]
    assert wire.begun == [stream]
    (request,) = [e for e in wire.heard if isinstance(e, h2.events.RequestReceived)]
    assert request.headers[2] == (b":path", b"/s/M")
    assert wire.body() == grpc_message(b"config")
    wire.server.send_headers(stream.id, ANSWER)
    wire.server.send_data(stream.id, grpc_message(b"one") + grpc_message(b"") + grpc_message(b"three")[:6])
    assert wire.run() == [(HEADERS, stream, None), (MESSAGE, stream, b"one"), (MESSAGE, stream, b"")]
    wire.server.send_data(stream.id, grpc_message(b"three")[6:])
    wire.client.half_close(stream)
    assert wire.run() == [(MESSAGE, stream, b"three")]
    assert any(isinstance(e, h2.events.StreamEnded) for e in wire.heard)
    wire.server.send_headers(stream.id, TRAILERS, end_stream=True)
    headers = [(name.encode(), value.encode()) for name, value in ANSWER + TRAILERS]
    assert wire.run() == [(ENDED, stream, (0, headers, None))]
    assert wire.client.open_streams == 0
    assert wire.client.wants_more


@pytest.mark.parametrize("length", [0, 1, 127, 128, 160, 2400, 16383, 16384, 14_400])
def test_a_field_is_wrapped_as_protobuf_wraps_it(length):
    from google.cloud import speech_v1p1beta1 as speech

    audio = bytes(random.Random(length).randbytes(length))
    wire = Wire()
    wire.client.write(wire.client.open(REQUEST, None), memoryview(audio), 0x12)
    wire.run()
    body = wire.body()
    assert body[:5] == struct.pack(">BI", 0, len(body) - 5)
    parsed = speech.StreamingRecognizeRequest.deserialize(body[5:])
    assert parsed.audio_content == audio


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
def test_what_the_peer_sends_may_come_in_any_pieces(cut):
    wire = Wire(cut=cut)
    stream = wire.client.open(REQUEST, None)
    wire.run()
    bodies = [b"", b"a", b"b" * 300, b"c" * 20_000, b"d"]
    wire.server.send_headers(stream.id, ANSWER)
    data = b"".join(map(grpc_message, bodies))
    for at in range(0, len(data), 1000):
        wire.server.send_data(stream.id, data[at : at + 1000])
        wire.run()
    wire.server.send_headers(stream.id, TRAILERS, end_stream=True)
    wire.run()
    assert [value for kind, _, value in wire.seen if kind == MESSAGE] == bodies
    assert [kind for kind, _, _ in wire.seen].count(ENDED) == 1


def test_trailers_only():
    wire = Wire()
    stream = wire.client.open(REQUEST, None)
    wire.run()
    wire.server.send_headers(stream.id, [*ANSWER, ("grpc-status", "7")], end_stream=True)
    ((kind, ended, (code, headers, fault)),) = wire.run()
    assert (kind, ended, code, fault) == (ENDED, stream, 0, None)
    assert headers[-1] == (b"grpc-status", b"7")


def test_the_peer_may_end_before_we_do():
    """It is answered with RST_STREAM(NO_ERROR), or the stream would stay half open for ever."""
    wire = Wire()
    stream = wire.client.open(REQUEST, None)
    wire.run()
    wire.server.send_headers(stream.id, [*ANSWER, *TRAILERS], end_stream=True)
    wire.run()
    (reset,) = [e for e in wire.heard if isinstance(e, h2.events.StreamReset)]
    assert reset.error_code == h2.errors.ErrorCodes.NO_ERROR
    assert not wire.client.write(stream, b"late")
    wire.client.half_close(stream)
    assert wire.run() == []


@pytest.mark.parametrize("when", ["opened", "answered", "half-closed"])
def test_reset_by_the_peer(when):
    wire = Wire()
    stream = wire.client.open(REQUEST, None)
    if when == "half-closed":
        wire.client.half_close(stream)
    wire.run()
    if when == "answered":
        wire.server.send_headers(stream.id, ANSWER)
    wire.server.reset_stream(stream.id, error_code=7)
    assert [(kind, value[0]) for kind, _, value in wire.run() if kind == ENDED] == [(ENDED, 7)]
    assert wire.client.open_streams == 0


def test_reset_by_us_tells_nothing():
    wire = Wire()
    stream = wire.client.open(REQUEST, None)
    wire.run()
    wire.client.reset(stream)
    wire.server.send_headers(stream.id, ANSWER)
    wire.server.send_data(stream.id, grpc_message(b"too late"))
    assert wire.run() == []
    assert [e.error_code for e in wire.heard if isinstance(e, h2.events.StreamReset)] == [8]
    wire.client.reset(stream)  # once more does no harm
    assert wire.client.open_streams == 0


def test_reset_before_the_request_went_out():
    wire = Wire()
    stream = wire.client.open(REQUEST, None)
    wire.client.write(stream, b"config")
    wire.client.reset(stream)
    wire.run()
    assert not [e for e in wire.heard if isinstance(e, h2.events.DataReceived)]
    assert wire.client.open_streams == 0


# --- flow control, and the peer's limit of streams ----------------------------------------------------


def test_a_full_window_makes_a_stream_unwritable_and_credit_makes_it_writable_again():
    wire = Wire(writable_bytes=5000)
    stream = wire.client.open(REQUEST, None)
    wire.run()
    sent = 1
    while wire.client.write(stream, bytes(4000)):
        sent += 1
        wire.run()
    assert sent == 65535 // 4005 + 2  # what the window takes whole, and in part, and one that makes the queue too long
    assert stream.queued_bytes >= 5000
    assert wire.run() == []
    wire.acknowledge()
    assert wire.run() == [(WRITABLE, stream, None)]
    assert stream.queued_bytes == 0


def test_a_window_of_one_byte():
    wire = Wire()
    wire.server.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    wire.run()
    stream = wire.client.open(REQUEST, None)
    wire.client.write(stream, b"config")
    wire.client.half_close(stream)
    wire.run()
    assert wire.body() == b""
    for count in range(1, 12):
        wire.server.increment_flow_control_window(1, stream.id)
        wire.run()
        assert len(wire.body()) == count
    assert wire.body() == grpc_message(b"config")


def test_a_queue_has_an_end():
    wire = Wire()
    stream = wire.client.open(REQUEST, None)
    for _ in range(69):
        wire.client.write(stream, bytes(15_000))
    with pytest.raises(BufferError, match="wait until it is writable"):
        wire.client.write(stream, bytes(15_000))
    assert stream.queued_bytes <= 1024 * 1024 + 11
    with pytest.raises(BufferError):
        wire.client.write(wire.client.open(REQUEST, None), bytes(1024 * 1024 + 1))


def test_streams_beyond_the_peers_limit_wait_for_others_to_end():
    wire = Wire()
    wire.server.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    assert wire.client.max_streams == 100
    wire.run()
    wire.run()
    assert wire.client.max_streams == 2
    streams = [wire.client.open(REQUEST, None) for _ in range(3)]
    for stream in streams:
        wire.client.write(stream, b"config")
    wire.run()
    assert wire.server.open_inbound_streams == 2
    assert wire.begun == streams[:2]
    wire.server.send_headers(streams[0].id, [*ANSWER, *TRAILERS], end_stream=True)
    wire.run()
    assert wire.server.open_inbound_streams == 2
    assert wire.begun == streams
    assert wire.body() == grpc_message(b"config") * 3


# --- the end of a connection ---------------------------------------------------------------------------


def test_goaway_ends_the_streams_above_its_last():
    wire = Wire()
    first, second = wire.client.open(REQUEST, 1), wire.client.open(REQUEST, 2)
    wire.run()
    # h2 closes at once; a GOAWAY by hand leaves the first stream open.
    goaway = struct.pack(">HBBBL", 0, 10, 7, 0, 0) + struct.pack(">LL", first.id, 11) + b"calm"[:2]
    seen = wire.client.receive(goaway)
    assert (ENDED, second, (7, [], None)) in seen
    assert (GOAWAY, None, (first.id, 11, b"ca")) in seen
    wire.server.send_headers(first.id, [*ANSWER, *TRAILERS], end_stream=True)
    assert [kind for kind, _, _ in wire.run()] == [ENDED]
    assert not wire.client.wants_more


def test_goodbye():
    wire = Wire()
    wire.run()
    wire.client.goodbye()
    wire.run()
    assert any(isinstance(e, h2.events.ConnectionTerminated) for e in wire.heard)
    assert not wire.client.wants_more


def test_ping():
    wire = Wire()
    wire.client.ping()
    wire.server.ping(b"12345678")
    assert (PONG, None, None) in wire.run()
    assert any(isinstance(e, h2.events.PingAckReceived) for e in wire.heard)


def test_a_flood_of_pings_that_we_cannot_answer_ends_the_connection():
    wire = Wire()
    wire.run()
    ping = struct.pack(">HBBBL", 0, 8, 6, 0, 0) + b"12345678"
    with pytest.raises(Http2Error):
        wire.client.receive(ping * 20_000)


def test_bytes_that_are_no_http2():
    wire = Wire()
    wire.run()
    wire.client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    data, _ = wire.client.data_to_send()
    assert data[3] == 7  # GOAWAY, by the library
    assert not wire.client.wants_more


# --- what a peer may not do ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (grpc_message(b"x", flag=1), "a compressed message, but no compression was offered"),
        (grpc_message(b"x", flag=2), "a message with an unknown compression flag"),
        (struct.pack(">BI", 0, 1001), "a message longer than allowed"),
        (struct.pack(">BI", 0, 0xFFFFFFFF), "a message longer than allowed"),
    ],
)
def test_messages_that_break_the_rules_end_their_stream_only(data, fault):
    wire = Wire(max_message_bytes=1000)
    stream, other = wire.client.open(REQUEST, None), wire.client.open(REQUEST, None)
    wire.run()
    wire.server.send_headers(stream.id, ANSWER)
    wire.server.send_headers(other.id, ANSWER)
    wire.server.send_data(stream.id, grpc_message(b"good") + data + grpc_message(b"after"))
    wire.server.send_data(other.id, grpc_message(b"untouched"))
    seen = wire.run()
    assert [(s, v) for kind, s, v in seen if kind == MESSAGE] == [(stream, b"good"), (other, b"untouched")]
    assert [(s, v[2]) for kind, s, v in seen if kind == ENDED] == [(stream, fault)]
    assert [e.stream_id for e in wire.heard if isinstance(e, h2.events.StreamReset)] == [stream.id]


def test_a_stream_that_ends_in_the_middle_of_a_message():
    wire = Wire()
    stream = wire.client.open(REQUEST, None)
    wire.run()
    wire.server.send_headers(stream.id, ANSWER)
    wire.server.send_data(stream.id, grpc_message(b"cut")[:6])
    wire.server.send_headers(stream.id, TRAILERS, end_stream=True)
    assert [v[2] for kind, _, v in wire.run() if kind == ENDED] == ["the stream ended in the middle of a message"]


def test_too_many_headers_end_the_stream():
    wire = Wire()
    stream = wire.client.open(REQUEST, None)
    wire.run()
    # A dynamic table makes few bytes of many headers: the bound is on what they become.
    wire.server.send_headers(stream.id, [*ANSWER, *[("x", "y" * 1000)] * 100])
    assert [v[2] for kind, _, v in wire.run() if kind == ENDED] == ["headers of over 64 KiB"]


@pytest.mark.parametrize("block", [b"", b"a\0b", b"a\0", b"\0b\0", b"a\0b\0c\0", b"a\0b\0" * 33])
def test_header_blocks_that_are_none(block):
    with pytest.raises(ValueError, match="headers"):
        Http2Connection().open(block, None)


# --- robustness ----------------------------------------------------------------------------------------


def server_bytes() -> bytes:
    """A conversation's worth of a server's bytes for streams 1 and 3."""
    wire = Wire()
    streams = [wire.client.open(REQUEST, None) for _ in range(2)]
    recorded = bytearray()
    real = wire.server.data_to_send

    def record() -> bytes:
        data = real()
        recorded.extend(data)
        return data

    wire.server.data_to_send = record
    wire.run()
    for stream in streams:
        wire.server.send_headers(stream.id, ANSWER)
        wire.server.send_data(stream.id, grpc_message(b"hello" * 30) * 3)
        wire.server.ping(b"12345678")
        wire.run()
    wire.server.send_headers(streams[0].id, TRAILERS, end_stream=True)
    wire.server.reset_stream(streams[1].id)
    wire.run()
    return bytes(recorded)


RECORDED = server_bytes()


def feed(data: bytes, cut: int) -> None:
    """Nothing but an ``Http2Error`` may come of it, each stream ends at most once, and nothing is told after that."""
    client = Http2Connection()
    streams = [client.open(REQUEST, number) for number in range(2)]
    for stream in streams:
        client.write(stream, b"config")
    ended: list[object] = []
    try:
        client.data_to_send()
        for at in range(0, len(data), cut):
            events = client.receive(data[at : at + cut])
            events += client.data_to_send()[1]
            for kind, stream, _ in events:
                assert stream not in ended
                if kind == ENDED:
                    ended.append(stream)
    except Http2Error:
        pass
    assert len(ended) <= 2


@settings(max_examples=amount(100, thorough=300), deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes(data, cut):
    feed(data, cut)
    feed(RECORDED[: len(data)] + data, cut)


@settings(max_examples=amount(150, thorough=500), deadline=None)
@given(st.integers(0, len(RECORDED) - 1), st.integers(1, 255), st.integers(0, len(RECORDED)), st.integers(1, 2000))
def test_recorded_bytes_with_a_mistake(at, flip, length, cut):
    data = bytearray(RECORDED[: length or None])
    data[at % len(data)] ^= flip
    feed(bytes(data), cut)


def alive() -> int:
    gc.collect()
    return sum(type(thing).__name__ == "Http2Stream" for thing in gc.get_objects())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the resident size is read from /proc")
def test_nothing_is_left_of_streams_that_ended():
    wire = Wire()
    wire.run()

    def some(count: int) -> None:
        for _ in range(count):
            stream = wire.client.open(REQUEST, None)
            wire.client.write(stream, bytes(2400), 0x12)
            wire.run()
            wire.server.send_headers(stream.id, [*ANSWER, *TRAILERS], end_stream=True)
            wire.acknowledge()
            wire.run()
            wire.seen.clear()
            wire.heard.clear()
            wire.begun.clear()

    some(300)
    before, bytes_before = alive(), resident_bytes()
    some(1000)
    assert wire.client.open_streams == 0
    assert alive() <= before
    assert resident_bytes() - bytes_before < 1000 * 1000  # less than half of what the streams' queues alone held


def test_a_connection_may_go_with_its_streams_open():
    client = Http2Connection()
    for _ in range(10):
        client.write(client.open(REQUEST, client), bytes(1000))
    client.data_to_send()
    with_them = alive()
    del client
    assert alive() == with_them - 10


def test_a_library_that_is_there_is_not_looked_for_again(tmp_path):
    _http2.load(str(tmp_path / "none.so"))  # else it would raise that there is none
