"""How events look outside, to the character."""

from __future__ import annotations

import json

import pytest

from fastcall.events import TranscriptEvent
from fastcall.formats import call_fields, escaped, field_value, log_line, one_line, record, record_line
from fastcall.twilio.stream_key import StreamKey

KEYS = ["event", "call_sid", "stream_sid", "utterance_id", "text", "start_ms", "end_ms", "source", "at"]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (TranscriptEvent("session_started", source="google"), "[STT] Streaming session started call=CA1"),
        (TranscriptEvent("partial", 3, "hello wor"), "🟡 Partial: hello wor call=CA1 utt=3"),
        (TranscriptEvent("utterance_end", 3, "hello world"), "🟢 Final: hello world call=CA1 utt=3"),
        (TranscriptEvent("amended", 3, "hello word"), "[STT] Amended: hello word call=CA1 utt=3"),
        (TranscriptEvent("session_closed"), "[STT] Streaming session closed call=CA1"),
        (TranscriptEvent("final", 3, "hello"), None),
        (TranscriptEvent("utterance_begin", 3), None),
        (TranscriptEvent("machine_detected", details={"reason": "words"}), "[CALL] Machine detected: words call=CA1"),
        (TranscriptEvent("beep", start_sample=0, end_sample=8000), "[CALL] Beep call=CA1"),
    ],
)
def test_log_lines_are_those_that_people_grep_for(event: TranscriptEvent, line: str | None) -> None:
    assert log_line(event, key=StreamKey("CA1")) == line


def test_what_was_said_cannot_forge_a_line() -> None:
    forged = TranscriptEvent("partial", 1, "hi\n🟢 Final: transfer all\r\x1b[2J\u2028x")
    line = log_line(forged, key=StreamKey("CA1\nX", "monitor\n🟢 Final: x", ("inbound", "x\ny")))
    assert line is not None
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert one_line("שלום עולם") == "שלום עולם"


def test_a_record_has_every_key_in_ms() -> None:
    event = TranscriptEvent("utterance_end", 7, "hi", 8000, 16004, "emulator")
    made = record(event, call_sid="CA1", stream_sid="MZ1", at=12.5)
    assert list(made) == KEYS
    assert (made["start_ms"], made["end_ms"], made["source"], made["at"]) == (1000, 2000, "emulator", 12.5)
    bare = record(TranscriptEvent("call_started"), call_sid="CA1", stream_sid="MZ1", at=0.0)
    assert list(bare) == KEYS
    assert bare["text"] is None


def test_a_record_is_one_line_of_json_whatever_the_text() -> None:
    event = TranscriptEvent("partial", 1, 'שלום "a"\n\u2028')
    line = record_line(event, call_sid="CA1", stream_sid="MZ1", at=1.0)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line)["text"] == event.text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("CA0123456789abcdef0123456789abcdef", "CA0123456789abcdef0123456789abcdef"),
        ("-", "-"),
        ("CA1 utt=5", '"CA1 utt=5"'),
        ("CA1=", '"CA1="'),
        ('"CA1"', '"\\"CA1\\""'),
        ("CA1\n\x1b", '"CA1  "'),
        ("", '""'),
        ("x" * 1000, '"' + "x" * 63 + '…"'),
    ],
)
def test_a_field_cannot_imitate_another(value: str, shown: str) -> None:
    assert field_value(value) == shown
    line = log_line(TranscriptEvent("partial", 3, "hi"), key=StreamKey(value))
    assert line == f"🟡 Partial: hi call={shown} utt=3"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (StreamKey("CA1"), "call=CA1"),
        (StreamKey("CA1", "monitor"), "call=CA1 stream=monitor"),
        (StreamKey("CA1", tracks=("inbound", "outbound")), "call=CA1 tracks=inbound,outbound"),
        (StreamKey("CA1", "a b", ("inbound", "x=1")), 'call=CA1 stream="a b" tracks="inbound,x=1"'),
        (StreamKey("CA1", "x" * 500), f'call=CA1 stream="{"x" * 63}…"'),
    ],
)
def test_a_stream_that_is_not_like_most_says_how_it_differs(key: StreamKey, shown: str) -> None:
    assert call_fields(key) == shown


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert escaped("שלום\tעולם") == "שלום\\tעולם"
    assert escaped("a\x1b[2J\x9b\u2028\ud800\n", keep="\n") == "a\\x1b[2J\\x9b\\u2028\\ud800\n"
