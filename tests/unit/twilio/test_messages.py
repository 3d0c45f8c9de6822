"""The wire grammar: every message whole, cut anywhere, with more behind it; the fast path against the slow."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall import _codec
from fastcall.events import (
    AudioFormat,
    CallStarted,
    CallStopped,
    Connected,
    DtmfPressed,
    MarkPlayed,
    MediaFrame,
    Rejected,
)
from fastcall.twilio import messages as twilio
from fastcall.twilio.messages import parse_message

MEDIA_FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
START: dict[str, Any] = {
    "event": "start",
    "sequenceNumber": "1",
    "start": {
        "accountSid": "AC1",
        "streamSid": "MZ1",
        "callSid": "CA1",
        "tracks": ["inbound"],
        "mediaFormat": MEDIA_FORMAT,
        "customParameters": {"name": "Jane"},
    },
    "streamSid": "MZ1",
}
PAYLOAD = bytes(range(160))


def media(**changes: Any) -> dict[str, Any]:
    inner = {"track": "inbound", "chunk": "1", "timestamp": "155", "payload": base64.b64encode(PAYLOAD).decode()}
    return {"event": "media", "sequenceNumber": "2", "media": inner | changes, "streamSid": "MZ1"}


MESSAGES: list[tuple[dict[str, Any], object]] = [
    ({"event": "connected", "protocol": "Call", "version": "1.0.0"}, Connected("Call", "1.0.0")),
    (START, CallStarted("MZ1", "CA1", "AC1", ("inbound",), {"name": "Jane"})),
    (media(), MediaFrame("MZ1", 155, PAYLOAD, 1, 2)),
    ({"event": "dtmf", "streamSid": "MZ1", "dtmf": {"track": "inbound_track", "digit": "1"}}, DtmfPressed("1")),
    ({"event": "mark", "streamSid": "MZ1", "mark": {"name": "my label"}}, MarkPlayed("my label")),
    ({"event": "stop", "stop": {"accountSid": "AC1", "callSid": "CA1"}, "streamSid": "MZ1"}, CallStopped()),
]


def dumps(message: Any) -> bytes:
    return json.dumps(message).encode()


@pytest.mark.parametrize(("message", "event"), MESSAGES, ids=lambda value: str(value)[:24])
def test_each_message_whole_cut_and_with_more_behind_it(message: dict[str, Any], event: object) -> None:
    data = dumps(message)
    assert parse_message(data) == event
    assert parse_message(b" " + data + b"\r\n") == event
    for length in range(len(data)):
        assert parse_message(data[:length]) == Rejected("not_json", parse_message(data[:length]).detail)  # type: ignore[union-attr]
    for trailing in (b"x", b"{}", data):
        assert isinstance(parse_message(data + trailing), Rejected)


def change(path: str, value: Any) -> dict[str, Any]:
    copy = json.loads(dumps(START))
    inner = copy
    *way, last = path.split(".")
    for step in way:
        inner = inner[step]
    inner[last] = value
    return copy


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\xff\xfe", "not_utf8"),
        (b"{", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"[1]", "not_an_object"),
        (b'"media"', "not_an_object"),
        (dumps({"event": "hello"}), "unknown_event"),
        (dumps({"event": 7}), "unknown_event"),
        (dumps({}), "unknown_event"),
        (dumps(media(payload="????")), "bad_payload"),
        (dumps(media(payload="AAA")), "bad_payload"),
        (dumps(media(payload="")), "bad_payload"),
        (dumps(media(payload=7)), "bad_field"),
        (dumps(media(track="outbound")), "other_track"),
        (dumps({"event": "media", "streamSid": "MZ1"}), "bad_field"),
        (dumps(change("start", None)), "bad_start"),
        (dumps(change("start.callSid", 7)), "bad_start"),
        (dumps(change("start.callSid", None)), "bad_start"),
        (dumps(change("start.callSid", "C" * 129)), "bad_start"),
        (dumps(change("start.streamSid", "")), "bad_start"),
        (dumps(change("start.tracks", ["outbound"])), "bad_start"),
        (dumps(change("start.mediaFormat.sampleRate", 16000)), "bad_start"),
        (dumps(change("start.mediaFormat.encoding", "OPUS")), "bad_start"),
        (dumps(change("start.mediaFormat.channels", 2)), "bad_start"),
        (dumps(change("start.mediaFormat", "mulaw")), "bad_start"),
        (dumps({"event": "dtmf", "dtmf": {}}), "bad_field"),
    ],
)
def test_what_is_not_taken_is_rejected_with_its_reason(message: bytes, reason: str) -> None:
    event = parse_message(message)
    assert isinstance(event, Rejected)
    assert event.reason == reason
    assert reason in twilio.REASONS


@pytest.mark.parametrize("odd", [None, 7, True, [1], {"a": "b"}, "x" * 600, "é" * 501, ""])
@pytest.mark.parametrize(
    "path", ["start.accountSid", "start.tracks", "start.customParameters", "start.customParameters.name"]
)
def test_an_optional_field_of_a_start_that_is_odd_is_left_out_and_named(path: str, odd: Any) -> None:
    event = parse_message(dumps(change(path, odd)))
    assert isinstance(event, CallStarted)
    assert (event.stream_sid, event.call_sid, event.tracks) == ("MZ1", "CA1", ("inbound",))
    last = path.rpartition(".")[2]
    is_taken = (
        (odd is None and last != "name")
        or (odd == "" and last in ("accountSid", "name"))
        or (isinstance(odd, dict) and last == "customParameters")
    )
    assert len(event.dropped_fields) == (not is_taken)
    assert is_taken or last in event.dropped_fields[0]


@pytest.mark.parametrize(
    ("tracks", "taken"),
    [
        (["inbound", "outbound"], ("inbound", "outbound")),
        (["both_tracks"], ("both",)),
        (["inbound", "t" * 32], ("inbound", "t" * 32)),
        (["inbound", "t" * 33], ("inbound",)),
        (["inbound"] * 5, ("inbound",)),
    ],
)
def test_tracks_are_few_and_short(tracks: list[str], taken: tuple[str, ...]) -> None:
    event = parse_message(dumps(change("start.tracks", tracks)))
    assert isinstance(event, CallStarted)
    assert event.tracks == taken


def test_of_parameters_without_number_the_first_hundred_are_kept() -> None:
    event = parse_message(dumps(change("start.customParameters", {str(i): "" for i in range(180)})))
    assert isinstance(event, CallStarted)
    assert list(event.custom_parameters) == [str(i) for i in range(100)]
    assert len(event.dropped_fields) == 9
    assert event.dropped_fields[-1] == "72 more"


@pytest.mark.parametrize(
    ("media_format", "audio"),
    [
        (None, AudioFormat()),
        ({}, AudioFormat()),
        ({"encoding": "audio/x-mulaw", "sampleRate": "8000", "channels": "1"}, AudioFormat()),
        ({"encoding": "PCMU", "sample_rate": 8000}, AudioFormat()),
        ({"encoding": "PCMA", "sampleRate": 8000, "channels": 1}, AudioFormat("alaw")),
        ({"encoding": "audio/x-alaw", "sampleRate": None}, AudioFormat("alaw")),
        ({"encoding": "L16", "sampleRate": 8000}, AudioFormat("l16")),
        ({"encoding": "audio/l16", "sample_rate": "16000"}, AudioFormat("l16", 16_000)),
    ],
)
def test_the_formats_that_are_served(media_format: Any, audio: AudioFormat) -> None:
    event = parse_message(dumps(change("start.mediaFormat", media_format)))
    assert isinstance(event, CallStarted)
    assert event.audio_format == audio


@pytest.mark.parametrize("timestamp", [None, "", "soon", -1, "²", 1.5, [], "1" * 16])
def test_audio_without_a_timestamp_or_a_count_is_audio(timestamp: Any) -> None:
    message = media(timestamp=timestamp, chunk=timestamp) | {"sequenceNumber": timestamp}
    assert parse_message(dumps(message)) == MediaFrame("MZ1", -1, PAYLOAD)
    del message["media"]["timestamp"], message["media"]["chunk"], message["sequenceNumber"]
    assert parse_message(dumps(message)) == MediaFrame("MZ1", -1, PAYLOAD)


def test_a_media_message_need_not_name_its_stream() -> None:
    message = media()
    del message["streamSid"]
    assert parse_message(dumps(message)) == MediaFrame("", 155, PAYLOAD, 1, 2)
    assert _codec.scan_media(dumps(message)) == ("", 155, PAYLOAD, 1, 2)


def test_providers_that_send_numbers_are_served() -> None:
    assert parse_message(dumps(media(timestamp=155, chunk=1))) == MediaFrame("MZ1", 155, PAYLOAD, 1, 2)


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert isinstance(parse_message(data), Rejected)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_never_makes_the_fast_way_lie(position: int, value: int) -> None:
    data = bytearray(dumps(media()))
    data[position % len(data)] = value
    fast = _codec.scan_media(bytes(data))
    if fast is not None:
        slow = json.loads(bytes(data))
        assert fast[0] == slow["streamSid"]
        assert fast[1] == int(slow["media"]["timestamp"])
        assert fast[2] == base64.b64decode(slow["media"]["payload"], validate=True)
