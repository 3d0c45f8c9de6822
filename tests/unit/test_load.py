"""_load: the messages are those of ``CallerMessages`` to the character, and the socket gets each byte once."""

from __future__ import annotations

import gc
import json
import math
import socket
import weakref
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall._codec import OutboundFrames
from fastcall._load import CallSender, PacedCall
from fastcall.simulator.impairments import STEADY
from fastcall.simulator.playback import Playback
from fastcall.simulator.twilio_client import CallerMessages, CallIds, PhoneAudio
from peers import server_frame

IDS = CallIds.derive("load", 0)
MASK = b"\x12\x34\x56\x78"
AUDIO = PhoneAudio(bytes(frame for frame in range(5) for _ in range(160)), tail_s=0.04)


def sender() -> tuple[CallSender, array[int]]:
    late = array("Q", bytes(8 * 10_001))
    return CallSender(late), late


def add(to: CallSender, fd: int, **other: Any) -> PacedCall:
    given = {
        "cycle_frames": STEADY.cycle_frames,
        "spoken": AUDIO.spoken,
        "total": AUDIO.frames,
        "first_at": 10.0,
        "first_timestamp_ms": 155,
        "sequence": 1,
        "mask": MASK,
    }
    return to.add(fd, IDS.stream_sid, AUDIO.joined, STEADY.packed(), **(given | other))


def read_frames(data: bytes) -> list[str]:
    """Masked text frames of a client (RFC 6455, 5.2)."""
    texts = []
    while data:
        assert data[0] == 0x81
        assert data[1] & 0x80
        size, head = data[1] & 0x7F, 2
        if size == 126:
            size, head = int.from_bytes(data[2:4], "big"), 4
            assert size >= 126
        mask, body, data = data[head : head + 4], data[head + 4 : head + 4 + size], data[head + 4 + size :]
        texts.append(bytes(byte ^ mask[at & 3] for at, byte in enumerate(body)).decode())
    return texts


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_messages_are_those_of_the_rules_to_the_character(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    to, late = sender()
    call = add(to, ours.fileno())
    assert to.send_due(9.99) == []
    assert to.send_due(10.0) == []
    assert to.send_due(10.05) == []
    assert to.send_due(11.0) == [call]
    messages = CallerMessages(IDS, 155)
    messages.start({})
    assert AUDIO.frames is not None
    wanted = [messages.media(frame, AUDIO.payload(frame)) for frame in range(AUDIO.frames)]
    assert read_frames(theirs.recv(1 << 16)) == wanted
    assert (call.over, call.broken, call.blocked) == (True, False, False)
    assert (call.sequence, call.sent, call.frame, call.discarded) == (8, 7, 6, 0)
    assert sum(late) == 7
    assert late[0] >= 1


def test_the_drift_of_timestamps_is_that_of_the_rules(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    to, _ = sender()
    add(to, ours.fileno(), spoken=-1, total=-1)
    messages = CallerMessages(IDS, 155)
    messages.start({})
    for frame in range(1100):
        to.send_due(10.0 + 0.02 * frame + 0.001)
        assert read_frames(theirs.recv(1 << 16)) == [messages.media(frame, AUDIO.payload(frame % 5))]


def test_a_sequence_number_is_shared_with_messages_of_other_kinds(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    to, _ = sender()
    call = add(to, ours.fileno())
    to.send_due(10.0)
    call.sequence = 7
    to.send_due(10.03)
    numbers = [text.split('"')[7] for text in read_frames(theirs.recv(1 << 16))]
    assert numbers == ["2", "8"]


def test_a_full_socket_gives_a_rest_and_blocks(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    to, _ = sender()
    call = add(to, ours.fileno(), spoken=-1, total=-1)
    now = 10.0
    while not to.send_due(now):
        now += 1.0
    assert call.blocked
    rest = call.take_unsent()
    assert rest
    assert call.take_unsent() == b""
    sent = call.sent
    assert to.send_due(now + 1) == []
    assert (call.sent, call.discarded) == (sent, 0)
    theirs.setblocking(False)
    data = b"".join(iter(lambda: _read(theirs), b""))
    assert len(read_frames(data + rest)) == sent
    to.send_due(now + 10)
    assert call.sent == sent
    assert call.discarded > 100
    call.unblock()
    to.send_due(now + 10.01)
    assert call.sent > sent


def _read(from_: socket.socket) -> bytes:
    try:
        return from_.recv(1 << 16)
    except BlockingIOError:
        return b""


def test_a_line_without_a_socket_gives_all_to_its_owner() -> None:
    to, _ = sender()
    call = add(to, -1)
    assert to.send_due(10.0) == [call]
    assert len(read_frames(call.take_unsent())) == 1
    assert call.blocked


def test_a_socket_that_is_gone_breaks_its_line_only(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    to, _ = sender()
    other, peer = socket.socketpair()
    with other, peer:
        broken, good = add(to, ours.fileno()), add(to, other.fileno())
        theirs.close()
        assert to.send_due(10.0) == [broken]
        assert broken.broken
        assert not good.broken
        to.remove(broken)
        to.remove(broken)
        to.send_due(11.0)
        assert len(read_frames(peer.recv(1 << 16))) == 7


# --- calls that play ------------------------------------------------------------------------------------------


def echoes_of(texts: list[str]) -> list[str]:
    return [json.loads(text)["mark"]["name"] for text in texts if json.loads(text)["event"] == "mark"]


Messages = list[tuple[str, int]]
"""``media`` with so many bytes, ``mark`` and ``clear``."""

MESSAGES = st.lists(
    st.sampled_from([("media", 0), ("media", 1), ("media", 2000), ("mark", 0), ("clear", 0)]), min_size=1, max_size=6
)


@given(st.lists(st.tuples(MESSAGES, st.integers(0, 60), st.sampled_from([0.0, 0.1, 1.0])), max_size=12))
def test_marks_come_back_when_the_rules_say_however_messages_are_cut(reads: list[tuple[Messages, int, float]]) -> None:
    """The first message of each read comes in two parts."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        to, _ = sender()
        call = add(to, ours.fileno(), spoken=-1, total=-1, plays=True)
        twin, frames, now = Playback(), OutboundFrames(IDS.stream_sid), 10.0
        echoed: list[str] = []
        for number, (messages, cut, pause_s) in enumerate(reads):
            sent = b"".join(
                frames.media(bytes(size))
                if kind == "media"
                else frames.mark(f"m{number}")
                if kind == "mark"
                else frames.clear()
                for kind, size in messages
            )
            for part in (sent[:cut], sent[cut:]):
                theirs.sendall(part)
                now += 0.03
                to.send_due(now)
            echoed += twin.take_due(now=now - 0.03)
            for kind, size in messages:
                if kind == "media":
                    twin.media(size, now=now)
                elif kind == "mark":
                    twin.mark(f"m{number}", now=now)
                else:
                    twin.clear(now=now)
            echoed += twin.take_due(now=now)
            now += pause_s
        texts = read_frames(b"".join(iter(lambda: _read(theirs), b"")))
        assert echoes_of(texts) == echoed
        every = [message for messages, _, _ in reads for message in messages]
        assert call.messages_received == len(every)
        assert call.audio_received_bytes == sum(size for _, size in every)
        assert (call.marks_received, call.clears_received) == (every.count(("mark", 0)), every.count(("clear", 0)))
        assert call.marks_echoed == len(echoed)
        assert call.take_passed() == call.take_partial() == b""
        assert not call.broken


def test_an_echo_is_numbered_among_the_frames_and_is_twilio_s(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    to, _ = sender()
    call = add(to, ours.fileno(), plays=True)
    theirs.sendall(OutboundFrames(IDS.stream_sid).mark("a" * 64))
    to.send_due(10.0)
    messages = CallerMessages(IDS, 155)
    messages.start({})
    assert read_frames(theirs.recv(1 << 16)) == [messages.mark("a" * 64), messages.media(0, AUDIO.payload(0))]
    assert call.sequence == 3


def test_other_frames_are_for_the_owner_and_so_is_the_rest(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    to, _ = sender()
    call = add(to, ours.fileno(), plays=True)
    ping, odd = b"\x89\x02hi", server_frame('{"event":"odd"}')
    long_mark = OutboundFrames(IDS.stream_sid).mark("a" * 65)
    theirs.sendall(ping + OutboundFrames(IDS.stream_sid).clear() + odd + long_mark + odd[:7])
    assert to.send_due(10.0) == [call]
    assert call.take_passed() == ping + odd + long_mark
    assert call.take_passed() == b""
    assert to.send_due(10.01) == []
    assert (call.messages_received, call.clears_received) == (1, 1)
    assert call.take_partial() == odd[:7]
    assert call.take_partial() == b""


@pytest.mark.parametrize("end", [b"", b"\x81\x7f" + bytes(8), b"\x81\x82" + bytes(6), b"\x81\x7e\x80\x00"])
def test_what_cannot_be_read_breaks_the_call(pair: tuple[socket.socket, socket.socket], end: bytes) -> None:
    """The end of the data, and frames that are too long or masked."""
    ours, theirs = pair
    to, _ = sender()
    call = add(to, ours.fileno(), plays=True)
    theirs.sendall(end)
    if not end:
        theirs.shutdown(socket.SHUT_WR)
    assert to.send_due(10.0) == [call]
    assert call.broken
    assert call.sent == 0


def test_a_call_plays_only_with_a_socket() -> None:
    with pytest.raises(ValueError, match="needs a socket"):
        add(sender()[0], -1, plays=True)
    idle = add(sender()[0], -1)
    assert (idle.messages_received, idle.audio_received_bytes, idle.marks_received) == (0, 0, 0)
    assert (idle.marks_echoed, idle.clears_received) == (0, 0)
    assert idle.take_passed() == idle.take_partial() == b""


def test_the_next_turn() -> None:
    to, _ = sender()
    assert to.arm(5.0) == math.inf
    call = add(to, -1)
    assert to.arm(5.0) == 10.0
    assert to.arm(20.0) == pytest.approx(20.0005)
    to.remove(call)
    assert to.arm(5.0) == math.inf


def test_many_lines_come_and_go() -> None:
    to, _ = sender()
    calls = [add(to, -1, first_at=10.0 + index) for index in range(100)]
    for call in calls[::2]:
        to.remove(call)
    assert {id(call) for call in to.send_due(200.0)} == {id(call) for call in calls[1::2]}


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"cycle_frames": 0}, "a cycle must have frames"),
        ({"mask": b"123"}, "mask has not 4 bytes"),
    ],
)
def test_what_does_not_fit(wrong: dict[str, Any], what: str) -> None:
    to, _ = sender()
    with pytest.raises(ValueError, match=what):
        add(to, -1, **wrong)
    with pytest.raises(ValueError, match="216 characters"):
        to.add(-1, "MZ", b"abc", STEADY.packed(), cycle_frames=1, spoken=1, total=1, first_at=0.0,
               first_timestamp_ms=0, sequence=0, mask=MASK)  # fmt: skip
    with pytest.raises(ValueError, match="10001 counters"):
        CallSender(bytearray(8))


def test_the_counters_are_held_as_long_as_they_are_written() -> None:
    class Counters(bytearray):
        pass

    counters = Counters(8 * 10_001)
    gone = weakref.ref(counters)
    to = CallSender(counters)
    del counters
    gc.collect()
    assert gone() is not None
    del to
    gc.collect()
    assert gone() is None
