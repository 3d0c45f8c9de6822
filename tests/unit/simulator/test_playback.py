"""simulator/playback.py: as strict as Twilio with messages, and marks come back exactly once, in order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.simulator.playback import Clear, Mark, Media, Playback, Violation, read_message
from reference import clear_message, mark_message, media_message


def test_what_the_product_sends_is_valid() -> None:
    assert read_message(media_message("MZ1", b"\x01\x02"), "MZ1") == Media(b"\x01\x02")
    assert read_message(mark_message("MZ1", "a"), "MZ1") == Mark("a")
    assert read_message(clear_message("MZ1"), "MZ1") == Clear()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"event": "media", "media": {"payload": ""}}, "field 'streamSid' is missing"),
        ({"event": "media", "stream_sid": "MZ1", "media": {"payload": ""}}, "'streamSid' is missing"),
        ({"event": "media", "streamSid": "MZ1"}, "field 'media' is missing"),
        ({"event": "media", "streamSid": "MZ1", "media": {"payload": "", "track": "outbound"}}, "nothing else"),
        ({"event": "media", "streamSid": "MZ1", "media": {"payload": "a"}}, "not base64"),
        ({"event": "media", "streamSid": "MZ1", "media": {"payload": "ä"}}, "not base64"),
        ({"event": "media", "streamSid": "MZ1", "media": {"payload": 3}}, "the string 'payload'"),
        ({"event": "media", "streamSid": "MZ1", "media": ""}, "the string 'payload'"),
        ({"event": "media", "streamSid": "MZ1", "media": {"payload": ""}, "sequenceNumber": "1"}, "unexpected field"),
        ({"event": "media", "streamSid": "MZ2", "media": {"payload": ""}}, "is not this stream's"),
        ({"event": "mark", "streamSid": "MZ1", "mark": {}}, "the string 'name'"),
        ({"event": "mark", "streamSid": "MZ1", "mark": {"name": None}}, "the string 'name'"),
        ({"event": "clear"}, "'streamSid' is missing"),
        ({"event": "clear", "streamSid": "MZ1", "clear": {}}, "unexpected field 'clear'"),
        ({"event": "connected"}, "unknown event 'connected'"),
        ({"event": ["media"]}, "unknown event"),
        ({}, "unknown event"),
        ([], "a JSON list"),
    ],
)
def test_what_twilio_warns_of_as_31951(message: Any, said: str) -> None:
    answer = read_message(json.dumps(message), "MZ1")
    assert isinstance(answer, Violation)
    assert answer.code == 31951
    assert said in answer.detail


def test_text_that_is_not_json() -> None:
    assert read_message("hello", "MZ1") == Violation(31951, "not JSON: 'hello'")
    deep = read_message("[" * 100_000, "MZ1")
    assert isinstance(deep, Violation)


def test_binary_frames_are_31950() -> None:
    answer = read_message(clear_message("MZ1").encode(), "MZ1")
    assert isinstance(answer, Violation)
    assert answer.code == 31950


def test_a_mark_without_audio_before_it_is_due_at_once() -> None:
    playback = Playback()
    playback.mark("a", now=5.0)
    assert playback.next_deadline() == 5.0
    assert playback.take_due(now=5.0) == ["a"]
    assert playback.next_deadline() is None


def test_a_mark_is_due_when_the_audio_before_it_was_played() -> None:
    playback = Playback()
    playback.media(8000, now=10.0)
    playback.mark("first", now=10.0)
    playback.media(4000, now=10.2)
    playback.mark("second", now=10.2)
    assert playback.waiting_s(now=10.5) == 1.0
    assert playback.take_due(now=10.99) == []
    assert playback.next_deadline() == 11.0
    assert playback.take_due(now=11.0) == ["first"]
    assert playback.take_due(now=11.5) == ["second"]
    # What was played is over: the next audio begins when it comes.
    playback.media(800, now=20.0)
    playback.mark("third", now=20.0)
    assert playback.next_deadline() == 20.1


def test_clear_drops_the_audio_and_returns_all_marks_in_order() -> None:
    playback = Playback()
    for name in ("a", "b"):
        playback.media(8000, now=0.0)
        playback.mark(name, now=0.0)
    playback.clear(now=0.5)
    assert playback.waiting_s(now=0.5) == 0.0
    assert playback.take_due(now=0.5) == ["a", "b"]
    playback.mark("c", now=0.6)
    assert playback.take_due(now=0.6) == ["c"]


@given(st.lists(st.tuples(st.sampled_from(["media", "mark", "clear", "take"]), st.floats(0, 2)), max_size=40))
def test_marks_come_back_once_in_order_and_never_early(steps: list[tuple[str, float]]) -> None:
    playback, now = Playback(), 0.0
    sent: list[str] = []
    taken: list[str] = []
    played_at = 0.0  # what a reference player, told the same, says of the end of its buffer
    due: dict[str, float] = {}
    for kind, amount in steps:
        now += amount
        if kind == "media":
            playback.media(int(8000 * amount), now=now)
            played_at = max(played_at, now) + int(8000 * amount) / 8000
        elif kind == "mark":
            sent.append(str(len(sent)))
            due[sent[-1]] = max(played_at, now)
            playback.mark(sent[-1], now=now)
        elif kind == "clear":
            playback.clear(now=now)
            played_at = now
            due = {name: min(at, now) for name, at in due.items()}
        else:
            names = playback.take_due(now=now)
            assert all(due[name] <= now for name in names)
            taken += names
            assert all(due[name] > now for name in sent if name not in taken)
    assert taken + playback.take_due(now=1e9) == sent
