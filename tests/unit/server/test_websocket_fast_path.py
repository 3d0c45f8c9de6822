"""With the fast path and without: the same events, bytes, counters, warnings and closes, whatever comes and however
cut.

``FASTCALL_FUZZ_FRAMES`` says how many mutated frames are tried; with more than a few thousand, every cut of everything
is tried as well.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from both_paths import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    SID,
    TEXT,
    Pair,
    Side,
    frame,
    media,
    prelude,
    speech,
    splits,
    start_text,
    stop_text,
)
from fastcall.recognition.session import RecognitionSession
from fastcall.server.websocket import MediaConnection, PlainMediaConnection
from peers import ParsedFrames, server_frame, turns, upgrade_request
from sim.clock import elapse, in_virtual_time
from thoroughness import THOROUGH, amount

FUZZ_FRAMES = int(os.environ.get("FASTCALL_FUZZ_FRAMES") or amount(1500, thorough=4000))
EVERYTHING = FUZZ_FRAMES > 4000

# --- the corpus: messages at the place of the frame at 140 ms of a live call ----------------------------------------

AT_MS = 140
CODES = speech(2)
PAYLOAD = base64.b64encode(CODES).decode()


def message(inner: dict[str, Any] | None = None, /, **outer: Any) -> dict[str, Any]:
    fields = {"track": "inbound", "chunk": str(AT_MS // 20 - 1), "timestamp": str(AT_MS), "payload": PAYLOAD} | (
        inner or {}
    )
    return {"event": "media", "sequenceNumber": str(AT_MS // 20), "media": fields, "streamSid": SID} | outer


def compact(fields: Any, **options: Any) -> bytes:
    return json.dumps(fields, **({"separators": (",", ":")} | options)).encode()


def orders() -> Iterator[bytes]:
    whole = message()
    for outer in itertools.islice(itertools.permutations(whole), 0, None, 5):
        for inner in itertools.islice(itertools.permutations(whole["media"]), 0, None, 7):
            turned: dict[str, Any] = {key: whole[key] for key in outer}
            turned["media"] = {key: whole["media"][key] for key in inner}
            yield compact(turned)


ORDINARY = media(AT_MS, CODES)
BARE = {"timestamp": str(AT_MS), "payload": PAYLOAD}
CORPUS: dict[str, bytes] = {
    "ordinary": ORDINARY,
    "spaces": compact(message(), separators=(" , ", " : ")),
    "indented": compact(message(), indent=1),
    "space around": b" \r\n\t" + ORDINARY + b" \n",
    "no counters": compact({"event": "media", "streamSid": SID, "media": BARE | {"track": "inbound"}}),
    "no track": compact({"event": "media", "streamSid": SID, "media": BARE}),
    "numbers as numbers": compact(message({"chunk": AT_MS // 20 - 1, "timestamp": AT_MS}, sequenceNumber=3)),
    "an unknown key": compact(message(extra="1")),
    "an unknown key in media": compact(message({"extra": {"a": [1]}})),
    "a key twice": ORDINARY.replace(b'"event":"media"', b'"event":"media","event":"media"'),
    "a payload twice": ORDINARY.replace(b'"payload":', b'"payload":"AAAA","payload":'),
    "a stream twice": ORDINARY.replace(b'"streamSid":', b'"streamSid":"MZother","streamSid":'),
    "an escaped key": ORDINARY.replace(b'"event"', b'"\\u0065vent"'),
    "an escaped value": ORDINARY.replace(b'"inbound"', b'"\\u0069nbound"'),
    "an escaped payload": compact(message()).replace(b"/", b"\\/"),
    "unicode in a counter": compact(message({"chunk": "zwei — 2"}), ensure_ascii=False),
    "another stream": media(AT_MS, CODES, sid="MZ" + "f" * 32),
    "a stream that is not named": ORDINARY.replace(b',"streamSid":"' + SID.encode() + b'"', b""),
    "no stream": compact(message(streamSid="")),
    "the outbound track": compact(message({"track": "outbound"})),
    "no payload": compact(message({"payload": ""})),
    "base64 cut short": compact(message({"payload": PAYLOAD[:-1]})),
    "base64 with bits left over": compact(message({"payload": "AB=="})),
    "base64 that is none": compact(message({"payload": "%" * 8})),
    "base64 of another alphabet": compact(message({"payload": "-_-_"})),
    "one sample": media(AT_MS, CODES[:1]),
    "half a frame": media(AT_MS, CODES[:80]),
    "a sample more": media(AT_MS, CODES + b"\x00"),
    "40 ms": media(AT_MS, CODES * 2),
    "one short of two frames": media(AT_MS, (CODES * 2)[:-1]),
    "1 s": media(AT_MS, CODES * 50),
    "2 s": media(AT_MS, (CODES * 103)[:16_384]),
    "more than the scan takes": media(AT_MS, (CODES * 103)[:16_385]),
    "a repeat": media(AT_MS - 20, CODES),
    "an overlap": media(AT_MS - 15, CODES),
    "10 ms late": media(AT_MS + 10, CODES),
    "40 ms late": media(AT_MS + 40, CODES, number=AT_MS // 20),
    "a frame lost": media(AT_MS + 20, CODES),
    "a gap": media(AT_MS + 51, CODES, number=AT_MS // 20),
    "a gap of 5 s": media(AT_MS + 5000, CODES),
    "a new clock": media(AT_MS + 5001, CODES),
    "a clock set back": media(0, CODES),
    "ten digits": media(9_999_999_999, CODES),
    "eleven digits": media(99_999_999_999, CODES),
    "a negative timestamp": media(-1, CODES),
    "malformed": ORDINARY[:-1],
    "two in one": ORDINARY + ORDINARY,
    "a byte order mark": b"\xef\xbb\xbf" + ORDINARY,
    "utf-16": ORDINARY.decode().encode("utf-16"),
    "a zero byte": ORDINARY + b"\x00",
    "empty": b"",
    "no object": b"[1]",
    "nested": b"[" * 20_000,
    "an unknown event": compact({"event": "video"}),
    "connected again": compact({"event": "connected", "protocol": "Call", "version": "1.0.0"}),
    "dtmf": compact({"event": "dtmf", "streamSid": SID, "dtmf": {"track": "inbound_track", "digit": "1"}}),
    "mark": compact({"event": "mark", "streamSid": SID, "mark": {"name": "m"}}),
    "not UTF-8": ORDINARY.replace(b'"inbound"', b'"inb\xffund"'),
    "a second start": start_text(),
    "a start of another stream": start_text("MZother"),
    "stop": stop_text(),
    "64 KiB": b" " * (65_536 - len(ORDINARY)) + ORDINARY,
    "over 64 KiB": b" " * (65_537 - len(ORDINARY)) + ORDINARY,
    "1023 bytes": b" " * (1023 - len(ORDINARY)) + ORDINARY,
    "1024 bytes": b" " * (1024 - len(ORDINARY)) + ORDINARY,
}  # fmt: skip
# What the fast path is there for, or may as well take.
BY_FAST_PATH = {
    "ordinary", "spaces", "indented", "space around", "a stream that is not named", "one sample", "half a frame",
    "a sample more", "10 ms late", "40 ms late", "one short of two frames", "1023 bytes",
}  # fmt: skip

# --- frames: what comes in the place of a message, as bytes ---------------------------------------------------------

PLAIN_LENGTH = frame(ORDINARY)
HEADS: dict[str, bytes] = {
    "in three fragments": frame(ORDINARY[:100], fin=False)
    + frame(ORDINARY[100:200], CONTINUATION, fin=False)
    + frame(ORDINARY[200:], CONTINUATION),
    "a ping between two fragments": frame(ORDINARY[:100], fin=False)
    + frame(b"there?", PING)
    + frame(ORDINARY[100:], CONTINUATION),
    "a whole text between two fragments": frame(ORDINARY[:100], fin=False) + PLAIN_LENGTH,
    "a whole text after a ping between two fragments": frame(ORDINARY[:100], fin=False)
    + frame(b"there?", PING)
    + PLAIN_LENGTH,
    "fragments that become too large": frame(b" " * 40_000, fin=False) + frame(b" " * 40_000, CONTINUATION),
    "an empty first fragment": frame(b"", fin=False) + frame(ORDINARY, CONTINUATION),
    "a fragment that never ends": frame(ORDINARY, fin=False),
    "binary in fragments": frame(ORDINARY, BINARY, fin=False) + frame(b"", CONTINUATION),
    "binary": frame(ORDINARY, BINARY),
    "a continuation of nothing": frame(ORDINARY, CONTINUATION),
    "a ping": frame(b"", PING),
    "a ping of 125 bytes": frame(b"x" * 125, PING),
    "a ping of 126 bytes": frame(b"x" * 126, PING),
    "a ping in fragments": frame(b"x", PING, fin=False),
    "a pong": frame(b"x", PONG),
    "a close": frame(b"\x03\xe8", CLOSE),
    "a close without a code": frame(b"", CLOSE),
    "a close of one byte": frame(b"\x03", CLOSE),
    "a close with a reason": frame(b"\x03\xe9going", CLOSE),
    "a close of a code that is none": frame(b"\x03\xed", CLOSE),
    "a close whose reason is not UTF-8": frame(b"\x03\xe8\xff", CLOSE),
    "a close in fragments": frame(ORDINARY, fin=False) + frame(b"\x03\xe8", CLOSE),
    "two closes": frame(b"\x03\xe8", CLOSE) + frame(b"\x03\xe9", CLOSE),
    "frames after a close": frame(b"\x03\xe8", CLOSE) + PLAIN_LENGTH + frame(b"x", PING),
    "not masked": frame(ORDINARY, key=None),
    "masked with zeros": frame(ORDINARY, key=bytes(4)),
    "RSV1": frame(ORDINARY, rsv=4),
    "RSV2": frame(ORDINARY, rsv=2),
    "RSV3": frame(ORDINARY, rsv=1),
    **{f"opcode {opcode}": frame(ORDINARY, opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "16 bits for a short length": bytes([0x81, 0xFE, 0, 125]) + KEY + frame(ORDINARY[:125])[6:],
    "64 bits for a middle length": bytes([0x81, 0xFF]) + len(ORDINARY).to_bytes(8, "big") + PLAIN_LENGTH[4:],
    "64 bits for a short length": bytes([0x81, 0xFF]) + (2).to_bytes(8, "big") + frame(b"{}")[2:],
    "the highest bit of 64": bytes([0x81, 0xFF, 0x80]) + bytes(7) + KEY,
    "4 GiB": bytes([0x81, 0xFF]) + (1 << 32).to_bytes(8, "big") + KEY,
    "no length at all": bytes([0x81, 0x80]) + KEY,
    "HTTP": b"GET /media HTTP/1.1\r\nHost: here\r\n\r\n",
    "noise": bytes(Random(5).randbytes(300)),
}
PLACES = {**{name: frame(text) for name, text in CORPUS.items()}, **HEADS}
AFTER = b"".join(frame(media(AT_MS + 20 * index, speech(2 + index))) for index in range(1, 4))


async def play(pair: Pair, *reads: bytes) -> None:
    """The reads in a live call, then frames as they would come, then the end."""
    pair.receive(prelude(1), frame(media(AT_MS - 20, speech(1))))
    pair.receive(*reads)
    pair.check()
    await pair.settle()
    pair.receive(AFTER)
    pair.check()
    await pair.settle()
    pair.check()
    await pair.end()
    pair.check()
    pair.ended()
    await pair.drop()


@pytest.mark.parametrize("name", PLACES)
@in_virtual_time
async def test_whole(name: str) -> None:
    pair = Pair()
    await play(pair, PLACES[name])
    if name in CORPUS:
        # The prelude is the slow path's, which opens the fast path; the frame before, and those after, unless it
        # closes.
        alone = Pair()
        alone.receive(prelude(1), frame(media(AT_MS - 20, speech(1))), PLACES[name])
        assert alone.hot.by_fast_path == (2 if name in BY_FAST_PATH else 1)
        await alone.drop()


def head_bytes(data: bytes) -> int:
    """How long the head of a frame is, with its key."""
    return {126: 8, 127: 14}.get(data[1] & 127, 6) if data[1] & 128 else 14


def cuts_of(name: str) -> list[list[int]]:
    """Where a place is cut: in two at every byte of its head, behind it, and at some of the rest, and at every byte at
    once.

    The heads of a text are those of the ordinary one: each of the others is cut at every third byte of its head.
    """
    data = PLACES[name]
    first, step = (
        (0, 1) if THOROUGH or EVERYTHING or name in HEADS or name == "ordinary" else (list(PLACES).index(name) % 3, 3)
    )
    if len(data) > 2000:
        cuts = [[at] for at in (1, 2, 3, 4, 7, 8, 9, 10, 14, 500, 1030, 1040, len(data) - 1)]
        return cuts[first::step]
    apart = 1 if EVERYTHING else 1 + len(data) // amount(3, thorough=24)
    head = range(1, min(15 if THOROUGH or EVERYTHING else head_bytes(data) + 2, len(data)))[first::step]
    return [*([at] for at in (*head, *range(15 + first, len(data), apart), len(data) - 1)), list(range(1, len(data)))]


@pytest.mark.parametrize("name", PLACES)
@in_virtual_time
async def test_cut(name: str) -> None:
    """In two reads, and byte by byte; with its neighbours in the same read."""
    data = PLACES[name]
    for cut in cuts_of(name):
        await play(Pair(), *splits(data, cut))
    before, after = frame(media(AT_MS - 20, speech(1))), frame(media(AT_MS + 20, speech(3)))
    together = before + data + after
    pieces = amount(3, thorough=8)
    for at in range(1, len(together), 1 if EVERYTHING and len(data) < 2000 else 1 + len(together) // pieces):
        pair = Pair()
        pair.receive(prelude(1), *splits(together, [at]))
        pair.check()
        await pair.settle()
        await pair.end()
        pair.check()
        await pair.drop()


@in_virtual_time
async def test_every_order_of_keys() -> None:
    pair, texts = Pair(), list(orders())
    pair.receive(prelude(2))
    for index, text in enumerate(texts):
        at_ms, number = AT_MS + 20 * index, AT_MS // 20 - 1 + index
        moved = text.replace(b'"140"', f'"{at_ms}"'.encode())
        pair.receive(frame(moved.replace(b'"chunk":"6"', f'"chunk":"{number}"'.encode())))
    pair.check()
    assert pair.hot.by_fast_path == len(texts)
    await pair.drop()


@pytest.mark.parametrize("held", [1, 2, 5, 7, 8, 100, len(PLAIN_LENGTH) - 1])
@in_virtual_time
async def test_a_peer_that_goes_in_the_middle_of_a_frame(held: int) -> None:
    pair = Pair()
    pair.receive(prelude(3), PLAIN_LENGTH[:held])
    await pair.end()
    pair.check()
    assert pair.ended()[0] == 1006
    hot, plain = (side.connection.protocol.parser_exc for side in (pair.hot, pair.plain))
    assert str(hot) == str(plain)
    await pair.drop()


@in_virtual_time
async def test_media_before_start_and_after_stop() -> None:
    pair = Pair()
    pair.receive(PLAIN_LENGTH, PLAIN_LENGTH, prelude(3), frame(stop_text()), PLAIN_LENGTH)
    pair.check()
    assert pair.hot.seen()["rejected"] == {"before_start": 3}
    await pair.end()
    pair.check()
    await pair.drop()


@in_virtual_time
async def test_an_hour_of_a_call_in_a_minute() -> None:
    """Utterances begin and end, batches go out, and the recognizer that takes nothing lets the track run over."""
    pair, random = Pair(), Random(11)
    pair.receive(prelude(2))
    at_ms = AT_MS
    for index in range(6000 if EVERYTHING else 1200):
        if index % 300 == 150:
            for side in (pair.hot, pair.plain):
                side.recognizer.streams[0].writable = index % 600 == 150
                side.recognizer.streams[0].listener.stream_writable()
        at_ms += random.choice((0, 0, 0, -1, 1, 40, -20)) if random.random() < 0.1 else 0
        pair.receive(frame(media(at_ms, speech(index))))
        at_ms += 20
        if index % 50 == 0:
            pair.check()
            await pair.settle()
    pair.check()
    kinds = [event[0].event for event in pair.hot.events]
    assert kinds.count("utterance_begin") > 5
    assert pair.hot.by_fast_path > 900
    await pair.end()
    pair.check()
    await pair.drop()


@in_virtual_time
async def test_a_track_that_is_full_is_the_slow_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecognitionSession, "pump", lambda session: None)
    pair = Pair()
    pair.receive(prelude(2))
    for side in (pair.hot, pair.plain):
        audio_input = side.runner.session.audio_input
        audio_input.feed_silence(audio_input.limit_samples - audio_input.waiting_samples - 250)
    pair.receive(frame(b"{}"))
    pair.receive(*(frame(media(AT_MS + 20 * index, speech(index))) for index in range(3)))
    assert pair.hot.by_fast_path == 1
    pair.check()
    assert pair.hot.runner.session.dropped_samples == 230
    await pair.drop()


@pytest.mark.parametrize("codes", [CODES, CODES[:1]], ids=["a frame", "a sample"])
@in_virtual_time
async def test_both_ways_know_since_when_there_is_no_audio(codes: bytes) -> None:
    pair = Pair()
    pair.receive(prelude(2))
    await elapse(3.0)
    pair.receive(frame(media(AT_MS, codes)))
    assert pair.hot.by_fast_path == 1
    await elapse(2.0)
    pair.check()
    assert pair.hot.runner.silent_s() == 2.0
    pair.receive(frame(stop_text()))
    await elapse(1.0)
    pair.check()
    assert pair.hot.runner.silent_s() == 3.0
    await pair.end()
    await pair.drop()


@pytest.mark.parametrize("others", [0.0, 0.01, 0.5])
@in_virtual_time
async def test_a_flood_is_refused_at_the_same_message(others: float) -> None:
    """Messages of every kind count, those of the fast path too, and time counts: a pause allows more."""
    pair, random, at_ms, sent = Pair(), Random(3), AT_MS, 0
    pair.receive(prelude(2))
    while not pair.plain.connection.is_closing:
        data = []
        for _ in range(random.randint(1, 150)):
            sent += 1
            if random.random() < others:
                data.append(frame(b"x" * random.choice((2, 1023, 1024, 1025, 5000))))
            else:
                data.append(frame(media(at_ms, speech(sent)).ljust(random.choice((0, 1023)))))
                at_ms += 20
        pair.receive(b"".join(data))
        pair.check()
        await elapse(random.choice((0.0, 0.1)))
    assert sent > 4000
    assert pair.hot.by_fast_path > 0.4 * sent * (1 - others)
    assert pair.hot.seen()["rejected"]["flood"] == 1
    await pair.end()
    pair.check()
    await pair.drop()


@in_virtual_time
async def test_an_error_of_ours_in_the_fast_path_ends_this_call_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(session: RecognitionSession) -> None:
        raise RuntimeError("no batch today")

    monkeypatch.setattr(RecognitionSession, "pump", fail)
    pair = Pair()
    pair.receive(prelude(2))
    pair.receive(frame(b"{}"))
    pair.receive(b"".join(frame(media(AT_MS + 20 * index, speech(index))) for index in range(6)))
    assert pair.hot.by_fast_path > 0
    await pair.settle()
    for side in (pair.hot, pair.plain):
        assert side.transport.did[-1] == b"\x88\x10\x03\xf3internal error"  # 1011
    await pair.drop()


@in_virtual_time
async def test_what_a_transport_still_has_for_a_connection_that_was_let_go_is_ignored() -> None:
    pair = Pair()
    pair.receive(prelude(2))
    late = pair.hot.connection.data_received  # transports remember it
    await pair.drop()
    pair.hot.connection.detach()
    did = list(pair.hot.transport.did)
    late(frame(media(AT_MS, speech(0))))
    assert pair.hot.transport.did == did


REQUEST = upgrade_request(8080)
# A binary frame in which there lies what would be frames of the call, if its head were not seen.
TRAP = frame(PLAIN_LENGTH + frame(media(AT_MS + 20, CODES)), BINARY, key=bytes(4))
HEAD = len(TRAP) - 2 * len(PLAIN_LENGTH)


@pytest.mark.parametrize(
    ("reads", "is_early"),
    [
        ([REQUEST], False),
        ([REQUEST[:-1], REQUEST[-1:]], False),
        ([REQUEST[:-2], REQUEST[-2:]], False),
        ([REQUEST[:30], REQUEST[30:]], False),
        ([REQUEST + prelude(2) + TRAP[:HEAD]], True),
        ([REQUEST, prelude(2) + TRAP[:HEAD]], True),
        ([REQUEST[:-3], REQUEST[-3:] + prelude(2) + TRAP[:HEAD]], True),
        ([REQUEST[:-1], REQUEST[-1:] + prelude(2) + TRAP[:1], TRAP[1:HEAD]], True),
    ],
)
@in_virtual_time
async def test_what_is_sent_before_the_handshake_is_done_waits_for_it(reads: list[bytes], is_early: bool) -> None:
    """Frames that come behind the request begin where it ends, for the fast path too."""
    pair = await Pair.opened(*reads)
    if not is_early:
        pair.receive(prelude(2), TRAP[:HEAD])
    inside, outside = len(PLAIN_LENGTH), frame(media(AT_MS, CODES))
    pair.receive(TRAP[HEAD : HEAD + inside], TRAP[HEAD + inside :], outside, frame(b"{}"), frame(stop_text()))
    pair.check()
    assert pair.hot.by_fast_path > 0
    await pair.settle()
    await pair.end()
    pair.check()
    await pair.drop()


# --- mutations ------------------------------------------------------------------------------------------------------


def mutate_text(random: Random, text: bytes) -> bytes:
    """A few errors in what the frame carries; the frame itself stays right."""
    data = bytearray(text)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data) + 1)
        match random.randrange(5):
            case 0:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del data[at : at + random.randint(1, 12)]
            case 2:
                data[at:at] = random.choice(TOKENS)
            case 3:
                data[at : at + random.randint(0, 12)] = random.choice(TOKENS)
            case _:
                piece = data[at : at + random.randint(1, 40)]
                data[random.randrange(len(data) + 1) :][:0] = piece
                data += piece if random.random() < 0.1 else b""
    return bytes(data)


TOKENS = [
    b'"', b"\\", b"{", b"}", b",", b":", b"=", b" ", b"\n", b"\xff", b"\x00", b"1", b"\\u0041",
    b'"event":"media"', b'"payload":"AAAA"',
    b'"track":"inbound",', b'"timestamp":"140",', SID.encode(), b"null", b"[1]", b'"chunk":"1",', "é".encode(),
]  # fmt: skip


def mutate_frame(random: Random, data: bytes) -> bytes:
    """An error in the frame: its head, its length, or bytes too few or too many."""
    broken = bytearray(data)
    match random.randrange(6):
        case 0:
            broken[random.randrange(min(8, len(broken)))] ^= 1 << random.randrange(8)
        case 1:
            broken[0] = random.choice((0x01, 0x80, 0x82, 0x88, 0x89, 0x8A, 0xC1, 0x83, 0x00, 0x02, 0x08))
        case 2:
            del broken[random.randrange(len(broken)) :]
        case 3:
            at = random.randrange(len(broken))
            broken[at:at] = random.randbytes(random.randint(1, 9))
        case 4:
            at = random.randrange(len(broken))
            del broken[at : at + random.randint(1, 9)]
        case _:
            broken[1:4] = random.randbytes(3)
    return bytes(broken)


def mutate_place(random: Random, text: bytes) -> bytes:
    """A place of the corpus in the stead of the message: fragments, control frames, closes."""
    return random.choice([*HEADS.values(), frame(text)])


async def fuzz(seed: int, frames: int, breaking: Callable[[Random, bytes], bytes] | None) -> int:
    """One call in which ``frames`` frames are wrong in what they carry, and then one by ``breaking``, with right ones
    between them, cut anywhere. Returns how many frames were mutated."""
    random = Random(seed)
    data, at_ms = [], AT_MS
    for index in range(frames):
        for number in range(random.randint(0, 2)):
            data.append(frame(media(at_ms, speech(index + number))))
            at_ms += 20
        text = media(at_ms, speech(index))
        wrong = mutate_text(random, text)
        # What is not UTF-8 closes; in most calls the next errors should be met too.
        if random.random() < 0.9:
            wrong = wrong.decode(errors="replace").encode()
        data.append(frame(wrong, key=random.randbytes(4)))
        at_ms += random.choice((0, 20))
    if breaking is not None:
        data.append(breaking(random, frame(media(at_ms, speech(1)))))
    data += [frame(media(at_ms + 20 * index, speech(index))) for index in range(1, 4)]
    whole = b"".join(data)
    cuts = sorted(random.sample(range(1, len(whole)), min(len(whole) - 1, random.randint(0, 12))))
    pair = Pair()
    pair.receive(prelude(2))
    for read in splits(whole, cuts) if random.random() < 0.5 else data:
        pair.receive(read)
        if random.random() < 0.2:
            pair.check()
            await pair.settle()
    pair.check()
    await pair.settle()
    pair.check()
    await pair.end()
    pair.check()
    await pair.drop()
    return frames + (breaking is not None)


@pytest.mark.parametrize("breaking", [None, mutate_frame, mutate_place], ids=["texts", "frames", "places"])
@in_virtual_time
async def test_mutated(breaking: Callable[[Random, bytes], bytes] | None) -> None:
    done, seed = 0, 0
    while done < FUZZ_FRAMES // 3 + 1:
        try:
            done += await fuzz(seed, 20 if breaking is None else 2, breaking)
        except BaseException as error:
            error.add_note(f"seed {seed} of {breaking}")
            raise
        seed += 1


# --- what a stranger can cost ---------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("kind", [MediaConnection, PlainMediaConnection])


@BOTH
@pytest.mark.parametrize("opcode", [PING, PONG, TEXT])
@in_virtual_time
async def test_one_connection_does_a_share_in_a_turn_of_the_loop(
    kind: type[MediaConnection], opcode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read of many frames is worked off 16 a turn, nothing is read meanwhile, and others have their turns."""
    frames, side, other = ParsedFrames(monkeypatch), Side(kind), Side(kind)
    side.connection.data_received(frame(b"", opcode) * 50)
    assert (frames.count, side.transport.is_paused) == (16, True)
    other.connection.data_received(frame(b"{}"))
    assert (frames.count, other.transport.is_paused) == (17, False)
    for so_far in (33, 49):
        await turns(1)
        assert (frames.count, side.transport.is_paused) == (so_far, True)
    await turns(1)
    assert (frames.count, side.transport.is_paused) == (51, False)


@BOTH
@in_virtual_time
async def test_many_connections_do_one_share_in_a_turn_together(
    kind: type[MediaConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many send too much, the turn of the others is as long as with one."""
    frames, sides = ParsedFrames(monkeypatch), [Side(kind) for _ in range(20)]
    for side in sides:
        side.connection.data_received(frame(b"", PING) * 48)
    for turn in range(41):
        assert frames.count == 16 * (20 + turn - 1) + 16
        await turns(1)
    assert (frames.count, {side.transport.is_paused for side in sides}) == (20 * 48, {False})


@BOTH
@in_virtual_time
async def test_what_was_read_of_a_connection_that_is_gone_is_bounded(
    kind: type[MediaConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it is done at once, so it is no more than a call's messages can be."""
    frames, side = ParsedFrames(monkeypatch), Side(kind)
    side.connection.data_received(prelude(2))
    before = frames.count
    side.connection.data_received(frame(b"", PING) * 5000)
    side.connection.connection_lost(ConnectionResetError())
    await turns(4)
    assert frames.count - before == 65 * 16
    await side.drop()


@BOTH
@in_virtual_time
async def test_a_share_is_16_kb_or_16_messages_that_python_takes(kind: type[MediaConnection]) -> None:
    side = Side(kind)
    side.connection.data_received(prelude(2))
    await turns(2)
    before = side.runner.machine.timeline.frames
    backlog = [frame(media(AT_MS + 20 * index, speech(index))) for index in range(200)]
    side.connection.data_received(b"".join(backlog))
    share = 16 if kind is PlainMediaConnection else 16 * 1024 // len(backlog[0])
    assert share <= side.runner.machine.timeline.frames - before <= share + 1
    assert side.transport.is_paused
    await turns(200 // share + 1)
    assert side.runner.machine.timeline.frames - before == 200
    assert not side.transport.is_paused


@BOTH
@pytest.mark.parametrize(
    "flood",
    [
        frame(b"", PING),
        frame(b"x" * 125, PING),
        frame(b"", PONG),
        frame(b"", fin=False) + frame(b"", CONTINUATION, fin=False) * 1998 + frame(b"", CONTINUATION),
        frame(b"", BINARY),
    ],
    ids=["empty pings", "pings", "pongs", "fragments", "binary"],
)
@pytest.mark.parametrize("first", [b"", prelude(2), prelude(2) + frame(stop_text())], ids=["waiting", "live", "ending"])
@in_virtual_time
async def test_every_frame_is_charged(
    kind: type[MediaConnection], flood: bytes, first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when too many came, what is left of the flood is not parsed."""
    frames, side = ParsedFrames(monkeypatch), Side(kind)
    side.connection.data_received(first)
    sent = 0
    while not side.connection.is_closing:
        assert sent < 1_000_000
        side.receive(flood * (1 + 20_000 // len(flood)))
        sent += 20_000
    side.receive(flood * (1 + 300_000 // len(flood)))
    await turns(4)
    assert b"\x88" in {sent[:1] for sent in side.transport.did}
    assert side.connection.how_it_ended() == (1008, "far more messages than a call sends")
    assert frames.count <= (6000 if first else 200) + 16
    assert side.transport.is_paused
    await side.drop()


@BOTH
@in_virtual_time
async def test_pongs_that_the_peer_does_not_read_are_bounded(kind: type[MediaConnection]) -> None:
    side = Side(kind)
    side.transport.unread_bytes = 2 * 1024 * 1024
    side.connection.data_received(frame(b"x" * 125, PING))
    assert not side.connection.is_closing
    side.transport.unread_bytes += 1
    side.connection.data_received(frame(b"x" * 125, PING))
    await turns(4)
    assert side.connection.how_it_ended() == (1008, "the peer is not reading")


@BOTH
@in_virtual_time
async def test_frames_are_written_as_they_are_in_order_with_pongs_and_none_after_the_close(
    kind: type[MediaConnection],
) -> None:
    side = Side(kind)
    side.connection.send_soon(server_frame("one"))
    side.connection.data_received(frame(b"?", PING))
    side.connection.send_soon(server_frame("two"))
    side.connection.close_soon(1000, "bye")
    side.connection.send_soon(server_frame("three"))
    await turns(4)
    side.connection.send_soon(server_frame("four"))
    written = b"".join(data for data in side.transport.did if isinstance(data, bytes))
    assert written == server_frame("one") + b"\x8a\x01?" + server_frame("two") + b"\x88\x05\x03\xe8bye"
    await side.drop()


@BOTH
@in_virtual_time
async def test_nothing_is_sent_to_a_peer_that_has_closed(kind: type[MediaConnection]) -> None:
    side = Side(kind)
    side.connection.data_received(frame(b"\x03\xe8", CLOSE))
    before = list(side.transport.did)
    side.connection.send_soon(server_frame("late"))
    assert side.transport.did == before
    await side.drop()


@BOTH
@in_virtual_time
async def test_messages_that_the_peer_does_not_read_are_bounded(kind: type[MediaConnection]) -> None:
    side = Side(kind)
    side.transport.unread_bytes = 2 * 1024 * 1024
    side.connection.send_soon(server_frame("more"))
    assert not side.connection.is_closing
    side.transport.unread_bytes += 1
    side.connection.send_soon(server_frame("more"))
    await turns(4)
    assert side.connection.how_it_ended() == (1008, "the peer is not reading")


@BOTH
@in_virtual_time
async def test_what_a_closed_peer_still_sends_is_dropped_and_soon_not_taken(
    kind: type[MediaConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, side = ParsedFrames(monkeypatch), Side(kind)
    side.connection.close_soon(1008, "enough")
    side.connection.data_received(frame(b"", PING) * 1000)
    await turns(20)
    assert (frames.count, side.transport.is_paused, side.transport.did[1:]) == (0, False, [])
    side.connection.data_received(bytes(256 * 1024))
    await turns(4)
    assert (frames.count, side.transport.is_paused, side.transport.did[1:]) == (0, True, ["eof"])
    await elapse(6.0)
    assert "abort" in side.transport.did


@BOTH
@pytest.mark.parametrize("begun", [0, 1, 3, 5, 7, 100, 2000], ids=lambda begun: f"{begun} bytes of a frame")
@in_virtual_time
async def test_a_peer_that_is_closed_may_answer_before_the_socket_is_closed(
    kind: type[MediaConnection], begun: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much it still sends before, and however that is cut: its close frame is the one that is parsed."""
    late = [frame(b"x" * 2000, BINARY), frame(media(AT_MS, CODES)), frame(b"", PING), frame(b"y" * 70, fin=False)]
    answer = frame((1000).to_bytes(2) + b"bye", CLOSE)
    for cut in range(1, len(answer)):
        frames, side = ParsedFrames(monkeypatch), Side(kind)
        side.connection.data_received(late[0][:begun])
        side.connection.close_soon(1008, "enough")
        await turns(2)
        assert side.transport.did == [b"\x88\x08\x03\xf0enough"]
        rest = (late[0][begun:] if begun else b"") + b"".join(late) + answer
        for piece in (rest[:1], rest[1 : -len(answer) + cut], rest[-len(answer) + cut :]):
            assert "eof" not in side.transport.did
            side.connection.data_received(piece)
            await turns(1)
        assert side.transport.did[1:] == ["eof"]
        assert frames.count == (2 if begun else 1)
        assert side.connection.how_it_ended() == (1008, "enough")
        await side.drop()
