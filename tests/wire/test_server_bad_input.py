"""What no Twilio sends: each answered as defined, logged once, and without harm to the call beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from fastcall.formats import MAX_FIELD_CHARS
from fastcall.server import comeback
from fastcall.server.call_runner import MAX_LOG_CHARS
from fastcall.simulator.twilio_client import CallerMessages, CallIds
from peers import (
    PATIENCE_S,
    Phone,
    Served,
    both_paths,
    client_frame,
    media_message_of,
    serving,
    tones,
    turns,
    upgrade_request,
    words_of_call,
)

TEXT, BINARY, CONTINUATION, CLOSE = 1, 2, 0, 8


class Warnings:
    """What the server's log says at WARNING and above."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level(logging.INFO, "fastcall")

    @property
    def lines(self) -> list[str]:
        return [
            r.getMessage()
            for r in self._caplog.records
            if r.levelno >= logging.WARNING and r.name.startswith("fastcall")
        ]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Warnings:
    return Warnings(caplog)


@contextlib.asynccontextmanager
async def beside_a_good_call(served: Served) -> AsyncIterator[None]:
    """What is inside happens while another call on the same server speaks; that one must be right throughout."""
    before, after = words_of_call(3, 2), words_of_call(5, 3)
    async with Phone(served.url, "good") as phone:
        await phone.start()
        await phone.speak(tones(["[200]", *before, "[1000]"]))
        yield
        assert served.server.live_calls >= 1
        await phone.speak(tones([*after, "[1000]"]))
        assert await served.hang_up(phone) == [" ".join(before), " ".join(after)]
    names = [record["event"] for record in served.transcripts.of(phone.call_sid)]
    assert names.count("session_started") == names.count("session_closed") == 1
    assert "session_failed" not in names


@contextlib.asynccontextmanager
async def raw_socket(
    served: Served, first: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection on which a WebSocket was opened; ``first`` is sent in one piece with the request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(upgrade_request(served.port) + first)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ")
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def closing_code(reader: asyncio.StreamReader) -> int:
    """The code of the server's close frame, the next thing that it sends."""
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readexactly(2)
        payload = await reader.readexactly(head[1])
    assert head[0] == 0x80 | CLOSE
    return int.from_bytes(payload[:2], "big")


# --- messages that are ignored and counted --------------------------------------------------------------------------


IGNORED: dict[str, tuple[Callable[[Phone], str | bytes], str]] = {
    "malformed JSON": (lambda phone: '{"event": "media", ', "not_json"),
    "no JSON at all": (lambda phone: "hello", "not_json"),
    "JSON nested without end": (lambda phone: "[" * 30_000, "not_json"),
    "JSON that is no object": (lambda phone: "[1, 2]", "not_an_object"),
    "a binary message": (lambda phone: b"\x00\x01\x02", "binary"),
    "an unknown event": (lambda phone: '{"event": "video"}', "unknown_event"),
    "an event that is no text": (lambda phone: '{"event": {"a": 1}}', "unknown_event"),
    "base64 that is none": (lambda phone: media_message_of(phone.ids.stream_sid, "%%%%"), "bad_payload"),
    "base64 cut short": (lambda phone: media_message_of(phone.ids.stream_sid, "AAA"), "bad_payload"),
    "a payload without audio": (lambda phone: media_message_of(phone.ids.stream_sid, ""), "bad_payload"),
    "media without media": (lambda phone: '{"event": "media", "streamSid": "MZ1"}', "bad_field"),
    "media of another stream": (lambda phone: media_message_of("MZ" + "f" * 32, "AAAA"), "wrong_stream"),
    "the outbound track": (
        lambda phone: media_message_of(phone.ids.stream_sid, "AAAA").replace('"inbound"', '"outbound"'),
        "other_track",
    ),
}


@both_paths
@pytest.mark.parametrize("what", IGNORED)
async def test_a_message_that_cannot_be_taken_is_ignored_and_the_call_goes_on(
    what: str, prompt_emulator: str, warnings: Warnings
) -> None:
    make, reason = IGNORED[what]
    async with serving(prompt_emulator) as served, Phone(served.url, "odd") as phone:
        await phone.start()
        await phone.say(tones("[200] apple"))
        for _ in range(3):
            await phone.socket.send(make(phone))
        await phone.say(tones("arrow [300]"))
        # Where the machine is busy the odd messages may take so long that the utterance ends before them.
        assert " ".join(await served.hang_up(phone)) == "apple arrow"
    (line,) = warnings.lines
    assert line.startswith(f"message ignored: {reason}")
    assert line.endswith(f"more like it are only counted call={phone.call_sid}")


@both_paths
async def test_all_of_it_in_one_call_beside_a_good_one(prompt_emulator: str, warnings: Warnings) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "odd") as phone, beside_a_good_call(served):
        await phone.start()
        for make, _ in IGNORED.values():
            await phone.socket.send(make(phone))
        await phone.say(tones("[200] apple arrow [300]"))
        assert await served.hang_up(phone) == ["apple arrow"]
    reasons = [line.split(": ")[1].split(" ")[0].rstrip(";") for line in warnings.lines]
    assert sorted(reasons) == sorted({reason for _, reason in IGNORED.values()})


async def test_media_before_start_is_ignored_and_the_call_can_still_start(
    prompt_emulator: str, warnings: Warnings
) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "early") as phone:
        await phone.say(tones("badge"))
        assert await served.take_call(phone, "[200] apple [300]") == ["apple"]
    (line,) = warnings.lines
    assert line.startswith("message ignored: before_start (media outside of start and stop)")


async def test_what_a_caller_sends_cannot_forge_a_log_line(prompt_emulator: str, warnings: Warnings) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "forger") as phone:
        message = json.loads(phone.messages.start({}))
        message["start"]["callSid"] = "CA1\n🟢 Final: forged"
        await phone.socket.send(json.dumps(message))
        await phone.socket.send("no JSON\n[STT] Streaming session closed")
        await phone.stop()
        await served.transcripts.wait_for("CA1\n🟢 Final: forged", "call_ended")
    assert len(warnings.lines) == 1
    assert not any("\n" in record.getMessage() for record in warnings._caplog.records)


LONG = 20_000
LONG_STARTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "parameters' names": lambda start: start.update(customParameters={f"{n}" + "p" * LONG: "" for n in range(3)}),
    "names of what a terminal obeys": lambda start: start.update(
        customParameters={f"{n}" + "\x1b" * 60: 7 for n in range(100)}
    ),
    "parameters' values": lambda start: start.update(customParameters={"name": "v" * LONG}),
    "a format's name": lambda start: start.update(mediaFormat={"encoding": "e" * LONG}),
    "a format's rate": lambda start: start.update(mediaFormat={"encoding": "mulaw", "sampleRate": "8" * LONG}),
    "a format of lists": lambda start: start.update(mediaFormat={"encoding": ["e"] * 5000, "channels": [1] * 5000}),
    "a format that is a text": lambda start: start.update(mediaFormat="f" * LONG),
    "the call's id": lambda start: start.update(callSid="c" * LONG),
    "the call's id, as long as may be": lambda start: start.update(callSid="c" * 128),
    "tracks": lambda start: start.update(tracks=["t" * 32] * 4),
}


@pytest.mark.parametrize("what", LONG_STARTS)
async def test_what_a_start_names_is_short_in_every_line_of_the_log(
    what: str, prompt_emulator: str, warnings: Warnings
) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "long") as phone:
        message = json.loads(phone.messages.start({}))
        LONG_STARTS[what](message["start"])
        await phone.socket.send(json.dumps(message))
        await phone.stop()
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionClosed):
                await (await phone.socket.ping())  # it was taken, or refused
            await phone.socket.close()
            while served.server.live_calls:
                await turns(1)
    lines = [record.getMessage() for record in warnings._caplog.records]
    assert len(warnings.lines) == (0 if "may be" in what else 1)
    assert max(map(len, lines)) <= MAX_LOG_CHARS + 6 * MAX_FIELD_CHARS  # of which a field's letters may be escapes
    assert not any("c" * MAX_FIELD_CHARS in line for line in lines)


# --- what ends in a close -------------------------------------------------------------------------------------------


async def never_start(phone: Phone) -> None:
    await phone.socket.send(phone.messages.connected())


async def start_twice(phone: Phone) -> None:
    await phone.start()
    await phone.start()


async def send_too_much(phone: Phone) -> None:
    await phone.start()
    await phone.socket.send("x" * (64 * 1024 + 1))


async def send_too_much_in_fragments(phone: Phone) -> None:
    await phone.start()
    await phone.socket.send(["x" * 30_000, "x" * 30_000, "x" * 30_000])


async def send_what_is_not_utf8(phone: Phone) -> None:
    await phone.start()
    await phone.socket.send(b'{"event": "\xff"}', text=True)


CLOSED: dict[str, tuple[Callable[[Phone], Awaitable[None]], int, str]] = {
    "a stream that never starts": (never_start, 1008, "closing the socket: no start message within 0.3 s (code 1008)"),
    "two starts": (start_twice, 1008, "closing the socket: a second start message on one socket (code 1008)"),
    "a message of over 64 KiB": (send_too_much, 1009, "the socket was closed without a stop message, code 1009: "),
    "the same in fragments": (
        send_too_much_in_fragments,
        1009,
        "the socket was closed without a stop message, code 1009: ",
    ),
    "text that is not UTF-8": (
        send_what_is_not_utf8,
        1007,
        "closing the socket: a text message that is not UTF-8 (code 1007)",
    ),
}


@pytest.mark.parametrize("what", CLOSED)
async def test_what_cannot_go_on_is_closed_with_a_code_and_one_line(
    what: str, prompt_emulator: str, warnings: Warnings
) -> None:
    act, code, line = CLOSED[what]
    async with (
        serving(prompt_emulator, start_timeout_s=0.3) as served,
        beside_a_good_call(served),
        Phone(served.url, "bad") as phone,
    ):
        await act(phone)
        assert (await phone.closed())[0] == code
    (logged,) = warnings.lines
    assert logged.startswith(line)
    ended = served.transcripts.of(phone.call_sid, "call_ended", "session_closed")
    assert len(ended) == (0 if what == "a stream that never starts" else 2)


@pytest.mark.parametrize("letter", ["c", "ש", "通", "📞", "\x85"])
async def test_a_reason_that_is_too_long_for_its_frame_is_cut_at_a_character(
    letter: str, prompt_emulator: str, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comeback, "HOLD_S", 0.0)
    async with serving(prompt_emulator) as served, Phone(served.url, "long") as first:
        first.messages = CallerMessages(CallIds(letter * 120, "MZ1"))
        await first.start()
        await served.transcripts.wait_for(letter * 120, "session_started")
        await first.say(tones("[20]"))
        async with Phone(served.url, "long") as second:
            second.messages = CallerMessages(CallIds(letter * 120, "MZ2"))
            await second.start()
            code, reason = await second.closed()
        assert code == 1008
        assert reason is not None
        assert reason.startswith("this call already has a socket")
        assert 100 < len(reason.encode()) <= 123


async def start_of_no_format(phone: Phone, encoding: str) -> str:
    """A start that cannot be served, and how the reason begins: what it names is what was sent."""
    message = json.loads(phone.messages.start({}))
    message["start"]["mediaFormat"]["encoding"] = encoding
    await phone.socket.send(json.dumps(message))
    return f"'mediaFormat' is {encoding} at 8000 Hz, channels 1; supported are PCMU"


@pytest.mark.parametrize("letter", ["c", "ש", "通", "📞"])
async def test_a_start_that_is_refused_with_a_long_reason_is_closed_with_what_fits_of_it(
    letter: str, prompt_emulator: str
) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "refused") as phone:
        whole = (await start_of_no_format(phone, letter * 40)).encode()
        code, reason = await phone.closed()  # this side would close with 1007 what is no UTF-8
    assert code == 1008
    assert reason is not None
    assert 123 - len(letter.encode()) < len(reason.encode()) <= 123
    assert (reason.encode() + whole[len(reason.encode()) :]).startswith(whole)


async def test_a_connection_that_cannot_be_closed_is_cut_off(
    prompt_emulator: str, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastcall.server.websocket.fit_reason", lambda reason: reason)  # no frame holds so much
    async with serving(prompt_emulator) as served, beside_a_good_call(served), Phone(served.url, "stuck") as phone:
        await start_of_no_format(phone, "通" * 40)
        assert await phone.closed() == (1006, "")
    assert [line for line in warnings.lines if "aborting it" in line] == [
        "internal error while closing a connection; aborting it"
    ]


async def test_a_connection_that_says_nothing_at_all_is_closed(prompt_emulator: str, warnings: Warnings) -> None:
    async with serving(prompt_emulator, start_timeout_s=0.2) as served, raw_socket(served) as (reader, _):
        assert await closing_code(reader) == 1008
    assert len(warnings.lines) == 1


async def test_a_connection_that_breaks_ends_its_call_only(prompt_emulator: str, warnings: Warnings) -> None:
    async with serving(prompt_emulator) as served:
        async with beside_a_good_call(served), Phone(served.url, "broken") as phone:
            await phone.start()
            await phone.say(tones("[300] apple arrow [200]"))
            await served.transcripts.wait_for(phone.call_sid, "partial")
            phone.socket.transport.abort()
            await served.transcripts.wait_for(phone.call_sid, "call_ended")
        assert served.transcripts.utterances(phone.call_sid) == ["apple arrow"]
    (line,) = warnings.lines
    assert line.startswith("the socket was closed without a stop message, code 1006: the network between Twilio")


async def test_a_caller_that_stops_reading_is_closed_and_nobody_waits_for_it(
    prompt_emulator: str, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastcall.server.websocket.CLOSE_TIMEOUT_S", 0.2)
    monkeypatch.setattr("fastcall.server.websocket.MAX_OUTBOUND_BYTES", 256 * 1024)  # less than marks may wait
    async with (
        serving(prompt_emulator, handler="talkers:talk_without_end") as served,
        beside_a_good_call_that_listens(served),
        Phone(served.url, "deaf") as phone,
    ):
        phone.socket.transport.pause_reading()
        phone.socket.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await phone.start()
        await served.transcripts.wait_for(phone.call_sid, "call_ended")
        phone.socket.transport.resume_reading()
    closed = [line for line in warnings.lines if "the peer is not reading" in line]
    assert [phone.call_sid in line for line in closed] == [True]


@contextlib.asynccontextmanager
async def beside_a_good_call_that_listens(served: Served) -> AsyncIterator[None]:
    """As ``beside_a_good_call``, with the handler's audio being read."""
    async with Phone(served.url, "listener") as phone:
        listening = asyncio.create_task(_read_all(phone))
        await phone.start()
        await phone.speak(tones("[300] apple [700]"))
        yield
        await phone.speak(tones("arrow [700]"))
        await served.hang_up(phone)
        await phone.socket.close()
        await listening
    assert served.transcripts.utterances(phone.call_sid) == ["apple", "arrow"]


async def _read_all(phone: Phone) -> None:
    async for _ in phone.socket:
        pass


# --- the WebSocket itself ---------------------------------------------------------------------------------------------


async def test_messages_in_one_piece_with_the_upgrade_request_are_taken_in_order(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        phone = Phone(served.url, "eager")
        messages = [
            phone.messages.connected(),
            phone.messages.start({}),
            *phone.media(tones("[200] apple arrow [100]")),
        ]
        frames = b"".join(client_frame(TEXT, message.encode()) for message in messages)
        async with raw_socket(served, frames) as (_, writer):
            rest = [*phone.media(tones("autumn [100]")), phone.messages.stop()]
            writer.write(b"".join(client_frame(TEXT, message.encode()) for message in rest))
            await served.transcripts.wait_for(phone.call_sid, "call_ended")
    assert served.transcripts.utterances(phone.call_sid) == ["apple arrow autumn"]


async def test_a_flood_before_the_handshake_is_done_is_closed(prompt_emulator: str, warnings: Warnings) -> None:
    async with serving(prompt_emulator) as served:
        frames = client_frame(TEXT, b"{}") * 8000
        async with beside_a_good_call(served), raw_socket(served, frames) as (reader, _):
            assert await closing_code(reader) == 1008
    assert any("far more messages than a call sends" in line for line in warnings.lines)


@both_paths
async def test_fragmented_messages_are_put_together(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "pieces") as phone:
        await phone.start()
        for message in phone.media(tones("[200] apple arrow [300]")):
            await phone.socket.send([message[:100], message[100:101], "", message[101:]])
        assert await served.hang_up(phone) == ["apple arrow"]


@both_paths
async def test_a_ping_between_fragments_is_answered(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, raw_socket(served) as (reader, writer):
        phone = Phone(served.url, "ping")
        start = phone.messages.start({}).encode()
        writer.write(client_frame(TEXT, start[:50], fin=False))
        writer.write(client_frame(9, b"there?"))
        writer.write(client_frame(CONTINUATION, start[50:]))
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readexactly(8) == b"\x8a\x06there?"
        await served.transcripts.wait_for(phone.call_sid, "session_started")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(client_frame(CONTINUATION, b"x"), id="a continuation of nothing"),
        pytest.param(client_frame(3, b"x"), id="a reserved opcode"),
        pytest.param(client_frame(9, b"x" * 126), id="a ping of over 125 bytes"),
        pytest.param(bytes([0x81, 1]) + b"x", id="an unmasked frame"),
        pytest.param(bytes([0xC1, 0x80, 0, 0, 0, 0]), id="a reserved bit"),
    ],
)
async def test_what_is_not_websocket_is_closed_with_1002(
    frame: bytes, prompt_emulator: str, warnings: Warnings
) -> None:
    async with serving(prompt_emulator) as served, raw_socket(served) as (reader, writer):
        phone = Phone(served.url, "not websocket")
        writer.write(client_frame(TEXT, phone.messages.start({}).encode()))
        await served.transcripts.wait_for(phone.call_sid, "call_started")
        writer.write(frame)
        assert await closing_code(reader) == 1002
    (line,) = warnings.lines
    assert "code 1002: the peer does not speak the WebSocket protocol correctly" in line


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /healthz HTTP/1.1", 200),
        ("GET /media HTTP/1.1", 426),
        ("GET /elsewhere HTTP/1.1", 404),
        ("GET /elsewhere?a=b HTTP/1.1", 404),
    ],
)
async def test_plain_http_is_answered(request_line: str, status: int, prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"{request_line}\r\nHost: here\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.split(b" ", 2)[1] == str(status).encode()


async def test_bytes_that_are_no_http_get_no_traceback(prompt_emulator: str, warnings: Warnings) -> None:
    async with serving(prompt_emulator) as served, beside_a_good_call(served):
        for rubbish in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 9000):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(rubbish)
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(PATIENCE_S):
                    await reader.read()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    assert warnings.lines == []
