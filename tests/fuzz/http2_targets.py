"""What reads a recognizer's bytes: HTTP/2 and gRPC, in the core alone, and as the uplink that streams go by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Any
from unittest import mock

import h2.config
import h2.connection
from google.cloud import speech_v1p1beta1 as speech

from fastcall._http2 import ENDED, MESSAGE, Http2Connection, Http2Error, Http2Stream
from fastcall.google import http2
from fastcall.google.grpc_status import header_block
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.google.route import Route
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from h2peer import ANSWER, OK, frame, grpc_message

__all__ = ["Http2Core", "Uplink"]

REQUEST = header_block((":method", "POST"), (":scheme", "http"), (":path", "/s/M"), (":authority", "a"))
CONFIG = StreamConfig("en-US", "default")
TOKENS: Sequence[bytes] = (
    *(frame(kind, stream=stream) for kind in range(11) for stream in (0, 1, 3)),
    *(frame(4, b"\0\3" + value.to_bytes(4, "big")) for value in (0, 1, 2**31)),  # MAX_CONCURRENT_STREAMS
    *(frame(4, b"\0\4" + value.to_bytes(4, "big")) for value in (0, 1, 2**31 - 1)),  # INITIAL_WINDOW_SIZE
    *(frame(7, last.to_bytes(4, "big") + bytes(4)) for last in (0, 1, 2**31 - 1)),
    *(frame(3, code.to_bytes(4, "big"), stream=1) for code in (0, 2, 7, 8, 11)),
    *(frame(8, grant.to_bytes(4, "big"), stream=stream) for grant in (0, 1, 2**31 - 1) for stream in (0, 1)),
    *(frame(0, grpc_message(b"x" * length), stream=1) for length in (0, 1, 40)),
    *(frame(0, b"\1\0\0\0\1x", stream=3), frame(0, b"\0\xff\xff\xff\xff", stream=3), frame(0, b"\0\0\0", stream=1)),
    *(frame(0, b"", flags=1, stream=1), frame(6, b"12345678"), frame(6, b"12345678", flags=1), frame(0xFA, b"?")),
    *(b"\x88", b"\xbe", b"\x0f\x0d", b"grpc-status", b"\0\0\0", b"\xff\xff\xff"),
)


def conversation(act: Callable[[h2.connection.H2Connection], None]) -> bytes:
    """What a server says that has met a client's streams 1 and 3, and then acts."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client = Http2Connection()
    for _ in range(2):
        client.open(REQUEST, None)
    server.initiate_connection()
    server.receive_data(client.data_to_send()[0])
    act(server)
    return bytes(server.data_to_send())


def results(text: str, *, is_final: bool) -> bytes:
    alternative = speech.SpeechRecognitionAlternative(transcript=text, words=[speech.WordInfo(word=text)])
    result = speech.StreamingRecognitionResult(alternatives=[alternative], is_final=is_final)
    return bytes(speech.StreamingRecognizeResponse.serialize(speech.StreamingRecognizeResponse(results=[result])))


def serves(server: h2.connection.H2Connection) -> None:
    for stream in (1, 3):
        server.send_headers(stream, ANSWER)
        server.send_data(stream, grpc_message(results("apple", is_final=False)))
        server.send_data(stream, grpc_message(results("apple arrow", is_final=True)) + grpc_message(b"")[:3])
        server.send_data(stream, grpc_message(b"")[3:])
    server.ping(b"12345678")
    server.send_headers(1, OK, end_stream=True)


def refuses(server: h2.connection.H2Connection) -> None:
    server.send_headers(1, [*ANSWER, ("grpc-status", "8"), ("grpc-message", "%d7%a9")], end_stream=True)
    server.send_headers(3, [(":status", "503"), ("content-type", "text/html")])
    server.send_data(3, b"<html>", end_stream=True)


def leaves(server: h2.connection.H2Connection) -> None:
    server.send_headers(1, ANSWER)
    server.reset_stream(3, 7)
    server.close_connection(last_stream_id=1)


SEEDS = [conversation(act) for act in (serves, refuses, leaves)]
_NO_SOCKET = mock.Mock()
OPENING = conversation(lambda server: None)
"""The settings, without which nothing begins."""


class Http2Core:
    """Bytes at once, and the same bytes in pieces of any size: both tell the same, as far as they get."""

    name = "http2"
    tokens = TOKENS

    def seeds(self) -> Sequence[bytes]:
        return [bytes((cut,)) + seed for seed in SEEDS for cut in (0, 6, 255)]

    def check(self, data: bytes) -> Hashable:
        cut, body = (data[0] + 1 if data else 1), data[1:]
        whole, whole_error = self._told(body, len(body) or 1)
        parts, parts_error = self._told(body, cut)
        # What is told in the call that fails is lost with the connection; and the library takes a CONTINUATION frame
        # whose head comes in more than 8 pieces for a flood of them.
        known = min(len(parts), len(whole))
        assert parts[:known] == whole[:known]
        assert whole_error or parts_error or len(parts) == len(whole)
        kinds = frozenset(kind for kind, _, _ in parts)
        return kinds, parts_error, sum(kind == MESSAGE for kind, _, _ in parts).bit_length()

    def _told(self, body: bytes, cut: int) -> tuple[list[Any], bool]:
        client = Http2Connection(max_message_bytes=1000)
        for number in range(2):
            client.write(client.open(REQUEST, number), b"config")
        told: list[Any] = []
        ended: set[Http2Stream] = set()
        client.data_to_send()
        try:
            for at in range(0, len(body), cut):
                for kind, stream, value in client.receive(body[at : at + cut]):
                    if stream is None:
                        continue  # of a connection that is over, no more is read; but what is there already is
                    assert stream not in ended
                    if kind == ENDED:
                        ended.add(stream)
                    told.append((kind, stream.owner, value))
            client.data_to_send()
            assert client.open_streams <= 2
        except Http2Error:
            return told, True
        return told, False


class Uplink:
    """A recognizer on the native uplink, whose peer says anything: each stream ends once, and nothing is told after."""

    name = "uplink"
    tokens = TOKENS

    def __init__(self) -> None:
        self._loop: _Loop | None = None

    def seeds(self) -> Sequence[bytes]:
        return [bytes((cut,)) + seed.removeprefix(OPENING) for seed in SEEDS for cut in (0, 6, 255)]

    def check(self, data: bytes) -> Hashable:
        if self._loop is None:
            self._loop = _Loop()
        with (
            mock.patch.object(http2, "WRITE_EVERY_S", 0.0),  # turns pass here, and no time
            mock.patch.object(Route, "connect", _connect),  # nor is there a socket
        ):
            return self._loop.run_until_complete(self._check(data, self._loop))

    async def _check(self, data: bytes, loop: _Loop) -> Hashable:
        cut, body = (data[0] + 1 if data else 1), data[1:]
        recognizer = GoogleRecognizer(emulator_host="127.0.0.1:1", uplink="native")
        listeners = [_Listener() for _ in range(2)]
        streams = [recognizer.open(CONFIG, listener) for listener in listeners]
        await _turns()
        peer = loop.peers.pop()
        peer.receive(OPENING)
        await _turns()
        for at in range(0, len(body), cut):
            peer.receive(body[at : at + cut])
            if at % 3 == 0:
                for stream in streams:
                    if stream.writable:
                        stream.write(bytes(320))
                await asyncio.sleep(0)
        seen = tuple(listener.end.code if listener.end else "" for listener in listeners)
        await recognizer.aclose()
        assert all(listener.end is not None for listener in listeners)
        assert recognizer.open_streams == 0
        assert len(asyncio.all_tasks()) == 1
        loop.peers.clear()
        return seen, tuple(listener.results > 0 for listener in listeners)


async def _connect(route: Route) -> Any:
    return _NO_SOCKET


async def _turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


class _Listener:
    def __init__(self) -> None:
        self.results = 0
        self.end: StreamEnd | None = None

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        assert self.end is None
        self.results += len(results)

    def stream_writable(self) -> None:
        assert self.end is None

    def stream_ended(self, end: StreamEnd) -> None:
        assert self.end is None
        self.end = end


class _Peer(asyncio.Transport):
    """A connection whose other end is the fuzzer."""

    def __init__(self, protocol: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._protocol = protocol
        self._loop = loop
        self._is_closing = False

    def receive(self, data: bytes) -> None:
        if not self._is_closing:
            self._protocol.data_received(data)

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose connections are the fuzzer's."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[_Peer] = []

    async def create_connection(self, protocol_factory: Any, *_: Any, **options: Any) -> Any:
        protocol = protocol_factory()
        peer = _Peer(protocol, self)
        self.peers.append(peer)
        protocol.connection_made(peer)
        return peer, protocol
