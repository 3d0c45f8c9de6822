"""One connection twice, without sockets: with the fast path and without. The same goes in, and must come out.

The connection, websockets' protocol, the runner, its machine, its session and the voice detector are the real ones;
the transport and the recognizer are scripts.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import re
from collections.abc import Sequence
from typing import Any

from websockets.datastructures import Headers
from websockets.frames import apply_mask
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from fastcall.audio.tones import synthesize
from fastcall.audio.vad import WebRtcVoiceDetector
from fastcall.events import TranscriptEvent
from fastcall.metrics import Metrics
from fastcall.ports import StreamConfig
from fastcall.server.call_runner import CallRunner
from fastcall.server.websocket import MAX_MESSAGE_BYTES, MediaConnection, PlainMediaConnection
from fastcall.settings import Settings
from fastcall.twilio.stream_key import StreamKey
from peers import ScriptedRecognizer, turns

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "SID",
    "TEXT",
    "Pair",
    "Side",
    "frame",
    "media",
    "prelude",
    "speech",
    "splits",
    "start_text",
    "stop_text",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SID = "MZ0123456789abcdef0123456789abcdef"
KEY = b"\x1f\x9c\x05\xe3"
ORDINARY = logging.getLogger("fastcall")
# Short windows, so that utterances begin and end within a second.
SETTINGS = Settings(vad_start_ms=40, vad_hangover_ms=100, stt_batch_ms=60)


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, key: bytes | None = KEY, rsv: int = 0) -> bytes:
    """A frame of a client, masked unless ``key`` is None, with the shortest form of its length."""
    length = len(payload)
    mask_bit = 0x80 if key is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if length < 126:
        head += bytes([mask_bit | length])
    elif length < 1 << 16:
        head += bytes([mask_bit | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([mask_bit | 127]) + length.to_bytes(8, "big")
    return head + (key + apply_mask(payload, key) if key is not None else payload)


def media(timestamp_ms: int, mulaw: bytes, *, sid: str = SID, number: int | None = None) -> bytes:
    """The text of a media message as Twilio sends it; by its time it is the ``number``-th of its call."""
    number = timestamp_ms // 20 if number is None else number
    payload = base64.b64encode(mulaw).decode()
    return (
        f'{{"event":"media","sequenceNumber":"{number}","media":{{"track":"inbound","chunk":"{number - 1}",'
        f'"timestamp":"{timestamp_ms}","payload":"{payload}"}},"streamSid":"{sid}"}}'
    ).encode()


def start_text(sid: str = SID) -> bytes:
    start = {"accountSid": "AC1", "streamSid": sid, "callSid": "CA1", "tracks": ["inbound"]}
    return json.dumps({"event": "start", "sequenceNumber": "1", "start": start, "streamSid": sid}).encode()


def stop_text() -> bytes:
    return json.dumps({"event": "stop", "sequenceNumber": "9", "streamSid": SID}).encode()


AUDIO = synthesize("[100] apple [140] arrow autumn [1000]", encoding="mulaw")
FRAMES = [AUDIO[at : at + 160] for at in range(0, len(AUDIO) - 159, 160)]


def speech(index: int) -> bytes:
    """20 ms of a call in which words and pauses alternate."""
    return FRAMES[index % len(FRAMES)]


def prelude(frames: int = 2) -> bytes:
    """The beginning of a call, as frames: ``connected``, ``start``, and some audio from 100 ms on."""
    texts = [b'{"event":"connected","protocol":"Call","version":"1.0.0"}', start_text()]
    texts += [media(100 + 20 * index, speech(index)) for index in range(frames)]
    return b"".join(map(frame, texts))


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.did: list[bytes | str] = []
        self.protocol: asyncio.BaseProtocol | None = None
        self.is_paused = False
        self.unread_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        # The two sides of a comparison may answer in different seconds.
        self.did.append(re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: now", bytes(data)))

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.did.append("eof")

    def abort(self) -> None:
        self.did.append("abort")

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def close(self) -> None:
        self.did.append("close")

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class _Server:
    """What a connection needs of websockets' server."""

    def adopt(self, connection: MediaConnection) -> None:
        pass

    def is_serving(self) -> bool:
        return True


class Side:
    """A connection whose handshake is done, and its call."""

    def __init__(self, kind: type[MediaConnection], *, is_open: bool = True) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.recognizer = ScriptedRecognizer()
        self.metrics = Metrics()
        self.transport = _Transport()
        protocol = ServerProtocol(state=State.OPEN if is_open else State.CONNECTING, max_size=MAX_MESSAGE_BYTES)
        self.connection = kind(protocol, _Server(), ping_interval=None, ping_timeout=None)
        self.connection.request = Request("/media", Headers()) if is_open else None
        self.connection.connection_made(self.transport)
        self.runner = CallRunner(
            self.connection,
            settings=SETTINGS,
            recognizer=self.recognizer,
            config=StreamConfig("en-US", "default"),
            voice=WebRtcVoiceDetector(2),
            sink=self._sink,
            rand=lambda: 0.5,
            metrics=self.metrics,
        )
        if is_open:
            self.connection.attach(self.runner)
            # A transport remembers the method that it calls, and is to know of the fast path's.
            assert self.transport.protocol is self.connection
        self.by_fast_path = 0
        self._eof = False

    @classmethod
    async def opened(cls, kind: type[MediaConnection], *reads: bytes) -> Side:
        """One whose handshake happens: ``reads`` come before it is done, the first begins with the request."""
        side = cls(kind, is_open=False)
        for read in reads:
            side.connection.data_received(read)
        await side.connection.handshake(server_header=None)
        side.connection.attach(side.runner)
        return side

    def _sink(self, event: TranscriptEvent, *, key: StreamKey, stream_sid: str) -> None:
        self.events.append((event, key.call_sid, stream_sid))

    def receive(self, data: bytes) -> None:
        fast_path = self.runner.fast_path
        taken = fast_path.messages if fast_path is not None else 0
        self.connection.data_received(data)
        while self.connection.turns.are_due:  # at once, for comparison: the two ways' turns end at other frames
            self.connection.turns.take()
        if fast_path is not None:
            self.by_fast_path += fast_path.messages - taken

    def end(self) -> None:
        """The peer goes."""
        self.connection.eof_received()
        self.connection.connection_lost(None)
        self.runner.socket_closed(*self.connection.how_it_ended())

    async def drop(self) -> None:
        """Let go of what the call still has."""
        self.runner.socket_closed(None, "")
        await turns(1)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for stream in self.recognizer.streams:
            stream.ended = True
        await turns(4)

    def seen(self) -> dict[str, Any]:
        """All that can be seen of it from outside, and the counters."""
        machine, timeline = self.runner.machine, self.runner.machine.timeline
        session, protocol = self.runner.session, self.connection.protocol
        self.runner.count()
        return {
            "events": tuple(self.events),
            "sent": tuple(self.transport.did),
            "written": tuple(tuple(stream.written) for stream in self.recognizer.streams),
            "state": (machine.state, protocol.state, self.connection.is_closing),
            "rejected": dict(machine.rejected),
            "frames": (
                timeline.frames,
                timeline.gaps,
                timeline.gap_samples,
                timeline.duplicate_frames,
                timeline.rebases,
            ),
            "session": session and (session.call_samples, session.dropped_samples, session.audio_input.waiting_samples),
            "heard": self.metrics.frames,
            "silent": self.runner.silent_s(),
            "deadline": machine.next_deadline(),
        }


class Pair:
    """Both, fed alike. Lines that they log at WARNING and above are compared too."""

    def __init__(self, hot: Side | None = None, plain: Side | None = None) -> None:
        self.hot, self.plain = hot or Side(MediaConnection), plain or Side(PlainMediaConnection)
        self._log = _Lines()

    @classmethod
    async def opened(cls, *reads: bytes) -> Pair:
        """With their handshakes, during which ``reads`` come."""
        return cls(await Side.opened(MediaConnection, *reads), await Side.opened(PlainMediaConnection, *reads))

    def receive(self, *pieces: bytes) -> None:
        """One read each."""
        for piece in pieces:
            for side in (self.hot, self.plain):
                with self._log.of(side):
                    side.receive(piece)

    async def settle(self) -> None:
        """What was begun by what was received."""
        await turns(4)

    async def end(self) -> None:
        """The peer goes, and what is under way goes to its end."""
        for side in (self.hot, self.plain):
            with self._log.of(side):
                side.end()
        await self.settle()

    def check(self) -> None:
        hot, plain = self.hot.seen(), self.plain.seen()
        if self.hot.connection.is_closing and self.plain.connection.is_closing:
            # What lies behind the message for which it is closed, in the same read, websockets may have parsed already,
            # and may have found an error that closes it, too.
            for seen in (hot, plain):
                seen["sent"], seen["state"] = (), seen["state"][:1]
        assert hot == plain, {name: (hot[name], plain[name]) for name in hot if hot[name] != plain[name]}
        assert self._log.lines.get(self.hot) == self._log.lines.get(self.plain)
        assert self.plain.by_fast_path == 0

    def ended(self) -> tuple[int | None, str]:
        """Code and reason, alike on both sides."""
        hot, plain = (side.connection.how_it_ended() for side in (self.hot, self.plain))
        assert hot == plain
        return hot

    async def drop(self) -> None:
        """Let go of what a call still has."""
        for side in (self.hot, self.plain):
            await side.drop()


class _Lines(logging.Handler):
    """Who logged what."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: dict[Side, list[str]] = {}
        self._side: Side | None = None
        self._heard: list[str] = []

    def of(self, side: Side) -> _Lines:
        self._heard = self.lines.setdefault(side, [])
        return self

    def __enter__(self) -> None:
        ORDINARY.addHandler(self)

    def __exit__(self, *_: object) -> None:
        ORDINARY.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())


def splits(data: bytes, at: Sequence[int]) -> list[bytes]:
    """``data`` cut at each of ``at``."""
    edges = [0, *at, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]
