"""RFC 6455, sections 5 and 7, on real sockets in a live call, with the fast path and without.

The cases are those of Autobahn's test suite, by its numbers, for a server that does not echo: what it must show is
which messages it took, which control frames it answered, and the code with which it closed. Each case comes right after
a media message and right before another, so that it meets the fast path at work.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest

from both_paths import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, media, prelude, speech
from fastcall.audio.vad import WebRtcVoiceDetector
from fastcall.ports import StreamConfig, StreamEnd
from fastcall.server.call_runner import CallRunner
from fastcall.server.sniffer import PendingConnections, ProtocolSniffer
from fastcall.server.websocket import MAX_MESSAGE_BYTES, MediaConnection, MediaServer
from fastcall.server.workers import fd_forwarder as handover
from fastcall.server.workers.fd_forwarder import Sender, Upgrade, handover_pair
from fastcall.settings import Settings
from peers import PATIENCE_S, ScriptedRecognizer, ScriptedStream, upgrade_request


class Receiver(CallRunner):
    """A call that keeps its messages: texts that are no media, and ``None`` for a binary one."""

    kept: list[bytes | None]
    ended: tuple[int | None, str] | None = None

    def message_received(self, message: bytes) -> None:
        if b'"media"' not in message and b'"start"' not in message and b'"connected"' not in message:
            self.kept.append(message)
        super().message_received(message)

    def binary_received(self) -> None:
        self.kept.append(None)
        super().binary_received()

    def socket_closed(self, code: int | None, reason: str) -> None:
        self.ended = code, reason
        super().socket_closed(code, reason)


def _end_at_once(stream: ScriptedStream) -> None:
    """No more audio will come, and nothing more is to be said of it."""
    loop = asyncio.get_running_loop()
    stream.half_close = lambda: loop.call_soon(stream.end, StreamEnd("OK")) and None  # type: ignore[method-assign]


@dataclass
class Line:
    """The client's end, and the call at the other."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    call: Receiver

    async def next_frame(self) -> tuple[int, bytes] | None:
        """(opcode, payload) of the server's next frame; None at the end of what it sends."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                head = await self.reader.readexactly(2)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            assert head[1] < 126
            return head[0] & 0x0F, await self.reader.readexactly(head[1])

    def send(self, data: bytes, chop: int | None = None) -> None:
        """In one piece, or ``chop`` bytes a write. Small writes may be joined on their way; the unit tests cut for
        certain."""
        for at in range(0, len(data), chop or len(data)):
            self.writer.write(data[at : at + (chop or len(data))])


@contextlib.asynccontextmanager
async def front_of(media_server: MediaServer, *, handed_over: bool) -> AsyncIterator[int]:
    """The port, from which connections go to the server; or by their descriptors, as they go to another process."""
    ours, theirs = handover_pair()

    async def take(descriptor: int, message: bytes) -> None:
        await handover.adopt(descriptor, handover.read_message(message)[1], media_server)

    sender, receiver = Sender(ours), handover.Receiver(theirs, take)
    front = ProtocolSniffer(
        websocket=(lambda: Upgrade(sender.send, asyncio.Protocol)) if handed_over else media_server,
        plain=asyncio.Protocol,
        room=PendingConnections(),
        on_bad_head=print,
    )
    try:
        yield await front.listen("127.0.0.1", 0)
    finally:
        front.close()
        sender.close()
        receiver.close()
        async with asyncio.timeout(PATIENCE_S):
            await media_server.close(1001, "the test is over")
    assert (receiver.received > 0) == handed_over


@contextlib.asynccontextmanager
async def on_the_line(fast_path: bool, *, handed_over: bool = False) -> AsyncIterator[Line]:
    calls: list[Receiver] = []

    def receive(connection: MediaConnection) -> Receiver:
        call = Receiver(
            connection,
            settings=Settings(),
            recognizer=ScriptedRecognizer(_end_at_once),
            config=StreamConfig("en-US", "default"),
            voice=WebRtcVoiceDetector(),
            sink=lambda event, *, key, stream_sid: None,
        )
        call.kept = []
        calls.append(call)
        return call

    media_server = MediaServer(receive, admit=lambda upgrade: None, fast_path=fast_path)
    async with front_of(media_server, handed_over=handed_over) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(upgrade_request(port))
            async with asyncio.timeout(PATIENCE_S):
                await reader.readuntil(b"\r\n\r\n")
            writer.write(frame(b"ready?", PING))
            line = Line(reader, writer, None)  # type: ignore[arg-type]
            assert await line.next_frame() == (PONG, b"ready?")
            line.call = calls[0]
            line.send(prelude(1))
            yield line
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@dataclass(frozen=True)
class Case:
    """What is sent, and what must come of it. ``code``: the server closes with it; None: the call goes on."""

    sent: bytes
    messages: Sequence[bytes | None] = ()
    pongs: Sequence[bytes] = ()
    code: int | None = None
    chop: int | None = None
    told: int | None = None
    """The code that the call is told of, where it is not the same: that of the side that closed first."""


def text_of(size: int) -> bytes:
    return b"*" * size


def close(code: int | None, reason: bytes = b"") -> bytes:
    return frame(code.to_bytes(2, "big") + reason if code is not None else reason, CLOSE)


def part(payload: bytes, opcode: int = CONTINUATION) -> bytes:
    return frame(payload, opcode, fin=False)


def last(payload: bytes) -> bytes:
    return frame(payload, CONTINUATION)


CASES: dict[str, Case] = {}

# 1: framing
for number, size in enumerate((0, 125, 126, 127, 128, 65_535, MAX_MESSAGE_BYTES), 1):
    CASES[f"1.1.{number}"] = Case(frame(text_of(size)), [text_of(size)])
    CASES[f"1.2.{number}"] = Case(frame(text_of(size), BINARY), [None])
CASES["1.1.8"] = Case(frame(text_of(MAX_MESSAGE_BYTES)), [text_of(MAX_MESSAGE_BYTES)], chop=997)
CASES["1.2.8"] = Case(frame(text_of(MAX_MESSAGE_BYTES), BINARY), [None], chop=997)

# 2: pings and pongs
for number, payload in enumerate((b"", b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125), 1):
    CASES[f"2.{number}"] = Case(frame(payload, PING), pongs=[payload])
CASES["2.5"] = Case(frame(b"\xfe" * 126, PING), code=1002)
CASES["2.6"] = Case(frame(b"\xfe" * 125, PING), pongs=[b"\xfe" * 125], chop=1)
CASES["2.7"] = Case(frame(b"", PONG))
CASES["2.8"] = Case(frame(b"unsolicited", PONG))
CASES["2.9"] = Case(frame(b"unsolicited", PONG) + frame(b"ping", PING), pongs=[b"ping"])
TEN = [b"payload-%d" % number for number in range(10)]
CASES["2.10"] = Case(b"".join(frame(payload, PING) for payload in TEN), pongs=TEN)
CASES["2.11"] = Case(b"".join(frame(payload, PING) for payload in TEN), pongs=TEN, chop=1)

# 3: reserved bits
for number, rsv in enumerate((1, 2, 3, 4, 5, 6, 7), 1):
    opcode = (TEXT, TEXT, TEXT, TEXT, BINARY, PING, CLOSE)[number - 1]
    before = b"" if number == 1 else frame(b"before") + frame(b"", PING)
    taken = [b"before"] if before else []
    CASES[f"3.{number}"] = Case(before + frame(b"\x03\xe8", opcode, rsv=rsv), taken, [b""] if before else [], code=1002)

# 4: reserved opcodes
for number, opcode in enumerate((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)):
    name = f"4.{1 + number // 5}.{1 + number % 5}"
    CASES[name] = Case(frame(b"before") + frame(b"", opcode) + frame(b"", PING), [b"before"], code=1002)

# 5: fragments
AB = part(b"frag1", TEXT) + last(b"frag2")
WITH_PING = part(b"frag1", TEXT) + frame(b"ping", PING) + last(b"frag2")
CASES["5.1"] = Case(part(b"frag1", PING) + last(b"frag2"), code=1002)
CASES["5.2"] = Case(part(b"frag1", PONG) + last(b"frag2"), code=1002)
for number, chop in ((3, None), (4, 5), (5, 1)):
    CASES[f"5.{number}"] = Case(AB, [b"frag1frag2"], chop=chop)
    CASES[f"5.{number + 3}"] = Case(WITH_PING, [b"frag1frag2"], [b"ping"], chop=chop)
for number, chop in ((9, None), (10, 5), (11, 1)):
    CASES[f"5.{number}"] = Case(last(b"nothing to continue") + frame(b"text"), code=1002, chop=chop)
    CASES[f"5.{number + 3}"] = Case(part(b"nothing to continue") + frame(b"text"), code=1002, chop=chop)
CASES["5.15"] = Case(AB + part(b"nothing to continue") + frame(b"text"), [b"frag1frag2"], code=1002)
CASES["5.16"] = Case((part(b"nothing") + part(b"text", TEXT) + last(b"rest")) * 2, code=1002)
CASES["5.17"] = Case((last(b"nothing") + part(b"text", TEXT) + last(b"rest")) * 2, code=1002)
CASES["5.18"] = Case(part(b"frag1", TEXT) + frame(b"frag2"), code=1002)
CASES["5.18 binary"] = Case(part(b"frag1", TEXT) + frame(b"frag2", BINARY), code=1002)
FIVE = [part(b"f1", TEXT), part(b"f2"), frame(b"p1", PING), part(b"f3"), part(b"f4"), frame(b"p2", PING), last(b"f5")]
CASES["5.19"] = Case(b"".join(FIVE), [b"f1f2f3f4f5"], [b"p1", b"p2"])
CASES["5.20"] = Case(b"".join(FIVE), [b"f1f2f3f4f5"], [b"p1", b"p2"], chop=1)

# 6: UTF-8; what is wrong is answered when the message is whole (Autobahn: "non-strict")
GREEK = "Hello-µ@ßöäüàá-UTF-8!! κόσμε 𐀀 \U0010ffff \ufffd".encode()
CASES["6.1.1"] = Case(frame(b""), [b""])
CASES["6.1.2"] = Case(part(b"", TEXT) + part(b"") + last(b""), [b""])
CASES["6.1.3"] = Case(part(b"", TEXT) + part(b"middle") + last(b""), [b"middle"])
CASES["6.2.1"] = Case(frame(GREEK), [GREEK])
CASES["6.2.2"] = Case(part(GREEK[:10], TEXT) + last(GREEK[10:]), [GREEK])
CASES["6.2.3"] = Case(part(b"", TEXT) + b"".join(part(bytes([b])) for b in GREEK) + last(b""), [GREEK])
CASES["6.2.4"] = Case(frame("κόσμε".encode()), ["κόσμε".encode()], chop=1)
WRONG = {
    "6.3": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    "6.4": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
    "6.6 cut": b"\xce\xba\xe1\xbd",
    "6.8 two cut": b"\xe0\x80",
    "6.10 5 bytes": b"\xf8\x88\x80\x80\x80",
    "6.10 6 bytes": b"\xfc\x84\x80\x80\x80\x80",
    "6.11 above": b"\xf7\xbf\xbf\xbf",
    "6.12 continuation": b"\x80",
    "6.12 continuations": bytes(range(0x80, 0xC0)),
    "6.13 lonely starts": b" ".join(bytes([b]) for b in range(0xC0, 0xFE)),
    "6.14 missing last": b"\xdf",
    "6.16 impossible": b"\xfe\xff",
    "6.17 overlong 2": b"\xc0\xaf",
    "6.17 overlong 3": b"\xe0\x80\xaf",
    "6.18 overlong 4": b"\xf0\x80\x80\xaf",
    "6.19 overlong nul": b"\xc0\x80",
    "6.20 surrogate": b"\xed\xa0\x80",
    "6.21 pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
}
for name, wrong in WRONG.items():
    CASES[name] = Case(frame(wrong), [wrong], code=1007)
    CASES[f"{name} in fragments"] = Case(part(wrong[:1], TEXT) + last(wrong[1:]), [wrong], code=1007)
CASES["6.22"] = Case(frame("\ufffe\uffff\U0001fffe".encode()), ["\ufffe\uffff\U0001fffe".encode()])

# 7: closing; the server answers with the code that it got, and takes nothing more
CASES["7.1.1"] = Case(frame(b"before") + close(1000), [b"before"], code=1000)
CASES["7.1.2"] = Case(close(1000) + close(1000), code=1000)
CASES["7.1.3"] = Case(close(1000) + frame(b"", PING), code=1000)
CASES["7.1.4"] = Case(close(1000) + frame(b"after"), code=1000)
CASES["7.1.5"] = Case(part(b"frag1", TEXT) + close(1000) + last(b"frag2"), code=1002, told=1000)
LARGEST = text_of(MAX_MESSAGE_BYTES)
CASES["7.1.6"] = Case(frame(LARGEST) + close(1000) + frame(b"", PING), [LARGEST], code=1000)
CASES["7.3.1"] = Case(close(None), code=1005)
CASES["7.3.2"] = Case(close(None, b"a"), code=1002)
CASES["7.3.3"] = Case(close(1000), code=1000)
CASES["7.3.4"] = Case(close(1000, b"Hello World!"), code=1000)
CASES["7.3.5"] = Case(close(1000, b"*" * 123), code=1000)
CASES["7.3.6"] = Case(close(1000, b"*" * 124), code=1002)
CASES["7.5.1"] = Case(close(1000, WRONG["6.3"]), code=1007)
for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999):
    CASES[f"7.7 {code}"] = Case(close(code), code=code)
for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535):
    CASES[f"7.9 {code}"] = Case(close(code), code=1002)

# 9 and 10: limits, and fragments of every size
CASES["9.1 too large"] = Case(frame(text_of(MAX_MESSAGE_BYTES + 1)), code=1009)
CASES["9.2 too large, binary"] = Case(frame(text_of(MAX_MESSAGE_BYTES + 1), BINARY), code=1009)
CASES["9.3 too large in fragments"] = Case(
    part(text_of(40_000), TEXT) + last(text_of(MAX_MESSAGE_BYTES - 39_999)), code=1009
)
CASES["9.3 just not too large"] = Case(
    part(text_of(40_000), TEXT) + last(text_of(MAX_MESSAGE_BYTES - 40_000)), [text_of(MAX_MESSAGE_BYTES)]
)
CASES["9.7"] = Case(frame(b"a") * 500, [b"a"] * 500)
CASES["10.1.1"] = Case(
    part(text_of(1300), TEXT) + part(text_of(1300)) * 48 + last(text_of(536)), [text_of(1300 * 49 + 536)]
)
# 5.1 and 5.2 of the RFC itself
CASES["not masked"] = Case(frame(b"text", key=None), code=1002)
CASES["a ping that is not masked"] = Case(frame(b"", PING, key=None), code=1002)
CASES["a length of 64 bits with the highest set"] = Case(b"\x81\xff\x80" + bytes(7) + bytes(4), code=1009)


@pytest.mark.parametrize("fast_path", [True, False], ids=["hot", "plain"])
@pytest.mark.parametrize("name", CASES)
async def test_case(name: str, fast_path: bool) -> None:
    case = CASES[name]
    async with on_the_line(fast_path) as line:
        call = line.call
        line.send(frame(media(120, speech(1))) + frame(b"at work?", PING))
        assert await line.next_frame() == (PONG, b"at work?")
        line.send(frame(media(140, speech(2))) + case.sent + frame(media(160, speech(3))), case.chop)
        frames = call.machine.timeline
        for pong in case.pongs:
            assert await line.next_frame() == (PONG, pong)
        if case.code is None:
            line.send(frame(b"over?", PING))
            assert await line.next_frame() == (PONG, b"over?")
            assert frames.frames == 4
            # The first comes in one read with the message that opens the call, as a rule.
            taken = call.fast_path.messages if call.fast_path else 0
            assert (taken >= 1 + (case.chop is None)) if fast_path and call.fast_path else not fast_path
            line.send(close(1000))
        answer = await line.next_frame()
        assert answer is not None
        opcode, payload = answer
        assert opcode == CLOSE
        assert (int.from_bytes(payload[:2], "big") if payload else 1005) == (case.code or 1000)
        line.send(frame(payload, CLOSE))  # where the server closes of itself, it waits for this
        assert await line.next_frame() is None
        line.writer.close()  # the server has shut its half, and waits for ours
        async with asyncio.timeout(PATIENCE_S):
            await call.wait_over()
    assert list(call.kept) == list(case.messages)
    assert call.ended is not None
    assert call.ended[0] == (case.told or case.code or 1000)
    assert frames.gaps == frames.duplicate_frames == 0
    assert frames.frames == (4 if case.code is None else 3)


@pytest.mark.parametrize("fast_path", [True, False], ids=["hot", "plain"])
async def test_a_connection_that_was_handed_over_has_the_fast_path_too(fast_path: bool) -> None:
    """As workers get theirs: by the descriptor, with the bytes of the request."""
    async with on_the_line(fast_path, handed_over=True) as line:
        line.send(frame(b"{}") + frame(b"at work?", PING))
        assert await line.next_frame() == (PONG, b"at work?")
        line.send(b"".join(frame(media(120 + 20 * index, speech(index))) for index in range(50)) + frame(b"?", PING))
        assert await line.next_frame() == (PONG, b"?")
        assert line.call.machine.timeline.frames == 51
        assert line.call.fast_path is not None
        assert line.call.fast_path.messages == (50 if fast_path else 0)
        line.send(close(1000))
        assert await line.next_frame() == (CLOSE, b"\x03\xe8")


@pytest.mark.parametrize("fast_path", [True, False], ids=["hot", "plain"])
async def test_a_frame_may_begin_in_one_piece_with_the_request(fast_path: bool) -> None:
    """It is read when the handshake is done."""
    async with on_the_line(fast_path) as line:
        reader, writer = await asyncio.open_connection(*line.writer.get_extra_info("peername"))
        data = frame(media(120, speech(1)))
        port = line.writer.get_extra_info("peername")[1]
        writer.write(upgrade_request(port) + prelude(0) + data[:1])
        async with asyncio.timeout(PATIENCE_S):
            await reader.readuntil(b"\r\n\r\n")
        other = Line(reader, writer, line.call)
        other.send(data[1:] + frame(media(140, speech(2))) + frame(b"over?", PING) + close(1000))
        assert await other.next_frame() == (PONG, b"over?")
        assert await other.next_frame() == (CLOSE, b"\x03\xe8")
        assert await other.next_frame() is None
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
