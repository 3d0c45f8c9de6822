"""The server's side of HTTP/2 against the library h2 as a client, and header compression against hpack."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.adapters.emulator.http2.connection import Connection
from fastcall.adapters.emulator.http2.hpack import MAX_HEADER_LIST_BYTES, Decoder, HpackError, encode
from fastcall.adapters.emulator.http2.stream import GrpcStream
from fastcall.adapters.emulator.messages import Code, Status

REQUEST = [
    *[(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/package.Service/Method")],
    *[("te", "trailers"), ("content-type", "application/grpc")],
]
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=20).map(str.encode)
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=8)


@given(st.lists(HEADERS, max_size=5), st.booleans())
def test_headers_of_another_encoder_decode(blocks: list[list[tuple[bytes, bytes]]], huffman: bool) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for headers in blocks:
        assert decoder.decode(encoder.encode(headers, huffman=huffman)) == headers


def test_every_byte_has_its_huffman_code() -> None:
    headers = [(b"all", bytes(range(256)))]
    assert Decoder().decode(hpack.Encoder().encode(headers, huffman=True)) == headers


@given(st.lists(st.integers(0, 4096), max_size=4))
def test_the_table_may_change_its_size(sizes: list[int]) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for size in sizes:
        encoder.header_table_size = size
        headers = [(b"name", b"value"), (b"long", bytes(100)), (b"name", b"value")]
        assert decoder.decode(encoder.encode(headers)) == headers


@given(HEADERS)
def test_what_is_encoded_another_decoder_understands(headers: list[tuple[bytes, bytes]]) -> None:
    texts = [(name.decode(), value.decode("latin-1")) for name, value in headers]
    assert hpack.Decoder().decode(encode(texts), raw=True) == headers


def test_a_header_list_has_a_bound() -> None:
    most = [(b"n", bytes(MAX_HEADER_LIST_BYTES - 33))]
    assert Decoder().decode(hpack.Encoder().encode(most, huffman=False)) == most
    with pytest.raises(HpackError, match="too large"):
        Decoder().decode(hpack.Encoder().encode([(b"n", bytes(MAX_HEADER_LIST_BYTES - 32))], huffman=False))


class Echo:
    """Answers each message with itself, and the half-close with a status."""

    def __init__(self, stream: GrpcStream) -> None:
        self._stream = stream

    def message(self, data: bytes) -> None:
        self._stream.send(data)

    def half_closed(self) -> None:
        self._stream.finish(Status(Code.ABORTED, "that is all"))

    def cancelled(self) -> None: ...


class Pair:
    """An h2 client and the server, joined by hand. It is the server's service and its transport."""

    streams_per_connection = 100

    def __init__(self, window: int, cut: int) -> None:
        self._cut = cut
        self._to_client = bytearray()
        self.received: dict[int, bytearray] = {}
        self.headers: dict[int, dict[bytes, bytes]] = {}
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.client.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.server = Connection(self)
        self.server.connection_made(self)  # type: ignore[arg-type]
        self.client.initiate_connection()

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...

    def call(self, path: str, stream: GrpcStream) -> Echo:
        assert path == "/package.Service/Method"
        return Echo(stream)

    def http1(self, connection: Connection, data: bytes) -> None: ...

    def write(self, data: bytes) -> None:
        self._to_client += data

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def run(self) -> None:
        """Carry bytes, in pieces, until neither side has any."""
        while data := self.client.data_to_send():
            for at in range(0, len(data), self._cut):
                self.server.data_received(data[at : at + self._cut])
            answer, self._to_client = bytes(self._to_client), bytearray()
            for event in self.client.receive_data(answer):
                self._take(event)

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.received[event.stream_id] += event.data
            self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.received.setdefault(event.stream_id, bytearray())
            self.headers.setdefault(event.stream_id, {}).update(event.headers)


@pytest.fixture(autouse=True)
def transport_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio.Transport", Pair)


@given(
    st.lists(st.lists(st.binary(max_size=2000), max_size=4), min_size=1, max_size=4),
    st.integers(1, 5000),
    st.integers(1, 3000),
    st.integers(0, 20),
)
async def test_calls_with_another_client(messages: list[list[bytes]], window: int, cut: int, padding: int) -> None:
    pair = Pair(window, cut)
    expected: dict[int, bytes] = {}
    for number, of_call in enumerate(messages):
        stream = 1 + 2 * number
        expected[stream] = b""
        pair.client.send_headers(stream, [*REQUEST, ("x-number", str(number))])
        for text in of_call:
            framed = b"\0" + len(text).to_bytes(4, "big") + text
            pair.client.send_data(stream, framed, pad_length=padding or None)
            expected[stream] += framed
        pair.client.end_stream(stream)
    pair.client.ping(b"12345678")
    pair.run()
    assert {stream: bytes(data) for stream, data in pair.received.items()} == expected
    for headers in pair.headers.values():
        assert headers[b":status"] == b"200"
        assert (headers[b"grpc-status"], headers[b"grpc-message"]) == (b"10", b"that is all")
