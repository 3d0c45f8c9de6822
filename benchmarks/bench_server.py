"""The whole server's cost of a media message, with the fast path and through websockets alone: real sockets, real
calls.

Both servers run on one uvloop, each with its own calls: reading the socket, WebSocket, parsing, timeline, ring,
webrtcvad, endpointing, batches decoded to LINEAR16. The recognizer is a stub that returns nothing.
The sides take turns: a message is written to each call's socket, and then the time is measured until the loop has read
them all, so the callers' cost is not included. The cheapest turn of each side counts.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

import pytest
import uvloop
from websockets.frames import apply_mask

from fastcall import _codec
from fastcall.audio.tones import synthesize
from fastcall.audio.vad import WebRtcVoiceDetector
from fastcall.ports import RecognizerStream, StreamConfig, StreamEnd, StreamListener
from fastcall.retry import CircuitBreaker
from fastcall.server.call_runner import CallRunner
from fastcall.server.websocket import MediaConnection, MediaServer
from fastcall.settings import Settings
from fastcall.simulator.twilio_client import CallerMessages, CallIds, PhoneAudio

CALLS = 40
# At least so many rounds, and more while the machine is too busy for a judgement: the minima of both sides get truer.
ROUNDS, MOST_ROUNDS = 300, 3000

# The fast path's cost, as a share of the other.
CEILING = 0.45


class _SilentStream:
    writable = True

    def __init__(self, listener: StreamListener) -> None:
        self._listener = listener

    def write(self, pcm: bytes) -> None:
        pass

    def half_close(self) -> None:
        asyncio.get_running_loop().call_soon(self._listener.stream_ended, StreamEnd("OK"))

    cancel = half_close


class _SilentRecognizer:
    source = "emulator"

    def __init__(self) -> None:
        self.breaker = CircuitBreaker()

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        return _SilentStream(listener)

    def model_for(self, config: StreamConfig) -> StreamConfig:
        return config

    def model_refused(self, config: StreamConfig) -> None:
        pass

    async def aclose(self) -> None:
        pass


class _Side:
    """A server, and its calls."""

    def __init__(self, fast_path: bool) -> None:
        self.fast_path = fast_path
        self.calls: list[CallRunner] = []
        self.callers: list[_Caller] = []
        self.media_server: MediaServer
        self.server: asyncio.Server
        self.cost_s = float("inf")

    async def start(self) -> None:
        def receive(connection: MediaConnection) -> CallRunner:
            call = CallRunner(
                connection,
                settings=Settings(),
                recognizer=_SilentRecognizer(),
                config=StreamConfig("en-US", "default"),
                voice=WebRtcVoiceDetector(),
                sink=lambda event, *, key, stream_sid: None,
            )
            self.calls.append(call)
            return call

        self.media_server = MediaServer(receive, admit=lambda upgrade: None, fast_path=self.fast_path)
        self.server = await asyncio.get_running_loop().create_server(self.media_server, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        audio = PhoneAudio(
            synthesize("[200] apple arrow autumn [900] badge apple [700]", encoding="mulaw"), passes=None
        )
        self.callers = [_Caller(f"fast path {self.fast_path}", number, port, audio) for number in range(CALLS)]

    async def stop(self) -> None:
        for caller in self.callers:
            caller.socket.close()
        self.server.close()
        await self.media_server.close(1001, "measured")

    @property
    def messages(self) -> int:
        return sum(call.machine.timeline.frames for call in self.calls)

    @property
    def by_fast_path(self) -> int:
        return sum(call.fast_path.messages for call in self.calls if call.fast_path is not None)


class _Caller:
    """A call's other end: a blocking socket, written to while nothing is measured."""

    def __init__(self, name: str, number: int, port: int, audio: PhoneAudio) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /media HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self._messages = CallerMessages(CallIds.derive(name, number))
        self._audio = audio
        # Callers differ in what they say at a time, and so do batches in when they are due.
        self._said = 7 * number
        self._frames = 0

    def begin(self) -> None:
        self._send(self._messages.connected())
        self._send(self._messages.start({}))

    def speak(self) -> None:
        self._send(self._messages.media(self._frames, self._audio.payload(self._said + self._frames)))
        self._frames += 1

    def _send(self, text: str) -> None:
        data, mask = text.encode(), os.urandom(4)
        length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xFE]) + len(data).to_bytes(2, "big")
        self.socket.sendall(b"\x81" + length + mask + apply_mask(data, mask))


async def _round(side: _Side) -> float:
    """One message of each call, all there before they are read, as at full load. Seconds a message."""
    messages = side.messages + len(side.callers)
    for caller in side.callers:
        caller.speak()
    begin = time.perf_counter()
    while side.messages < messages:  # noqa: ASYNC110 - turns of the loop are what is measured
        await asyncio.sleep(0)
    return (time.perf_counter() - begin) / len(side.callers)


async def _measure() -> tuple[float, float]:
    hot, plain = _Side(True), _Side(False)
    for side in (hot, plain):
        await side.start()
        while len(side.calls) < CALLS:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for caller in side.callers:
            caller.begin()
        for number, caller in enumerate(side.callers):
            for _ in range(number % 8):
                caller.speak()
    for turn in range(MOST_ROUNDS):
        for side in (hot, plain):
            side.cost_s = min(side.cost_s, await _round(side))
        if turn >= ROUNDS and hot.cost_s <= CEILING * plain.cost_s:
            break
    # The frame that begins a call's time is the slow path's, and so is what comes in one read with ``start``.
    assert hot.by_fast_path >= hot.messages - 8 * CALLS
    assert plain.by_fast_path == 0
    for side in (hot, plain):
        await side.stop()
    return hot.cost_s, plain.cost_s


@pytest.mark.gate
def test_whole_server_a_message(benchmark: Any) -> None:
    if _codec.BUILD != "release":
        pytest.fail(f"benchmarks measure the release build, and this is {_codec.BUILD}: run `make gates`")

    costs: Sequence[float] = ()

    def run() -> None:
        nonlocal costs
        costs = uvloop.run(_measure())

    benchmark.pedantic(run, rounds=1)
    hot_s, plain_s = costs
    name, ratio, floor = "whole server with the fast path, a message", round(plain_s / hot_s, 3), round(1 / CEILING, 2)
    benchmark.extra_info.update(name=name, ours_s=hot_s, theirs_s=plain_s, units=1, ratio=ratio, floor=floor)
    print(
        f"\nwhole server, a message of {CALLS} calls: fast path {hot_s * 1e6:.1f} us, websockets {plain_s * 1e6:.1f} us"
        f"   share {hot_s / plain_s:.2f}   ceiling {CEILING:.2f}"
    )
    assert hot_s <= CEILING * plain_s
