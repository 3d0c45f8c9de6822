"""simulator/twilio_client.py: the messages are Twilio's, to the character; the audio arrives as it is."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.events import CallStarted, CallStopped, Connected, DtmfPressed, MarkPlayed, MediaFrame
from fastcall.simulator.twilio_client import (
    CallerMessages,
    CallIds,
    Lateness,
    PhoneAudio,
    check_key,
    sign_url,
    timestamp_ms,
)
from fastcall.twilio.messages import parse_message

IDS = CallIds("CA1", "MZ1", "AC1")


def test_messages_are_those_of_twilio_to_the_character() -> None:
    messages = CallerMessages(IDS, first_timestamp_ms=155)
    assert messages.connected() == '{"event":"connected","protocol":"Call","version":"1.0.0"}'
    assert messages.start({"FirstName": "Jane"}) == (
        '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","streamSid":"MZ1","callSid":"CA1",'
        '"tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},'
        '"customParameters":{"FirstName":"Jane"}},"streamSid":"MZ1"}'
    )
    assert messages.media(0, "//8=") == (
        '{"event":"media","sequenceNumber":"2","media":{"track":"inbound","chunk":"1","timestamp":"155",'
        '"payload":"//8="},"streamSid":"MZ1"}'
    )
    assert messages.dtmf("1") == (
        '{"event":"dtmf","streamSid":"MZ1","sequenceNumber":"3","dtmf":{"track":"inbound_track","digit":"1"}}'
    )
    assert messages.mark("my label") == (
        '{"event":"mark","sequenceNumber":"4","streamSid":"MZ1","mark":{"name":"my label"}}'
    )
    assert messages.media(2, "//8=") == (
        '{"event":"media","sequenceNumber":"5","media":{"track":"inbound","chunk":"2","timestamp":"195",'
        '"payload":"//8="},"streamSid":"MZ1"}'
    )
    assert messages.stop() == (
        '{"event":"stop","sequenceNumber":"6","stop":{"accountSid":"AC1","callSid":"CA1"},"streamSid":"MZ1"}'
    )
    assert messages.count == 6


def test_the_server_understands_each_message() -> None:
    messages = CallerMessages(IDS)
    sent = [
        messages.connected(),
        messages.start({"a": "ä"}),
        messages.media(0, base64.b64encode(b"\x01" * 160).decode()),
        messages.dtmf("#"),
        messages.mark('say "hi"\n'),
        messages.stop(),
    ]
    assert [parse_message(message.encode()) for message in sent] == [
        Connected("Call", "1.0.0"),
        CallStarted("MZ1", "CA1", "AC1", ("inbound",), {"a": "ä"}),
        MediaFrame("MZ1", 155, b"\x01" * 160, 1, 2),
        DtmfPressed("#"),
        MarkPlayed('say "hi"\n'),
        CallStopped(),
    ]


@given(st.binary(max_size=1000), st.integers(0, 3), st.integers(0, 5))
def test_the_frames_are_the_audio_then_silence(mulaw: bytes, passes: int, tail_frames: int) -> None:
    audio = PhoneAudio(mulaw, passes=passes, tail_s=tail_frames * 0.02)
    spoken = -(-len(mulaw) // 160)
    assert audio.frames == spoken * passes + tail_frames
    frames = [base64.b64decode(audio.payload(frame)) for frame in range(audio.frames)]
    assert {len(frame) for frame in frames} <= {160}
    filled = mulaw + b"\xff" * (spoken * 160 - len(mulaw))
    assert b"".join(frames) == filled * passes + b"\xff" * (160 * tail_frames)


def test_audio_without_end() -> None:
    audio = PhoneAudio(b"\x01" * 160 + b"\x02" * 160, passes=None)
    assert audio.frames is None
    assert audio.payload(10**9) == audio.payload(0) != audio.payload(1) == audio.payload(10**9 + 1)
    with pytest.raises(ValueError, match="no audio to repeat"):
        PhoneAudio(b"", passes=None)
    with pytest.raises(ValueError, match="must not be negative"):
        PhoneAudio(b"", tail_s=-1)


def test_timestamps_drift_by_two_milliseconds_at_most_and_never_stand_still() -> None:
    times = [timestamp_ms(frame, 155) for frame in range(5000)]
    assert times[0] == 155
    strays = [time - 155 - 20 * frame for frame, time in enumerate(times)]
    assert (min(strays), max(strays)) == (-2, 2)
    assert {later - earlier for earlier, later in pairwise(times)} == {19, 20, 21}


def test_ids_look_like_twilios_and_differ() -> None:
    ids = [CallIds.derive(seed, index) for seed in ("a", "b") for index in range(50)]
    assert len({one.call_sid for one in ids} | {one.stream_sid for one in ids}) == 200
    assert all(len(one.call_sid) == len(one.stream_sid) == len(one.account_sid) == 34 for one in ids)
    assert all((one.call_sid[:2], one.stream_sid[:2]) == ("CA", "MZ") for one in ids)
    assert CallIds.derive("a", 7) == CallIds.derive("a", 7)


@pytest.mark.parametrize("digit", ["", "12", "x", "٣"])
def test_what_is_not_a_key(digit: str) -> None:
    with pytest.raises(ValueError, match="is not a telephone key"):
        check_key(digit)


def test_keys() -> None:
    assert [check_key(digit) for digit in "09*#D"] == list("09*#D")


def test_lateness() -> None:
    late = Lateness()
    assert late.percentile_s(50) is None
    for value in (-0.1, 0.0, 0.00125, 0.00125, 7.0):
        late.add(value)
    assert late.total == 5
    assert late.percentile_s(40) == 0.0001
    assert late.percentile_s(50) == late.percentile_s(80) == 0.0013
    assert late.percentile_s(99) == 1.0001  # the step of "1 s and more"


def test_signature_is_that_of_twilios_own_library() -> None:
    # Computed by twilio.request_validator.RequestValidator("12345").compute_signature(url, {}).
    assert sign_url("12345", "wss://example.com/twilio/media") == "Ko8aymfVk0cCegaxVKH0ZCvSyf4="
    assert sign_url("12345", "wss://example.com/twilio/media/") == "2FSgdRajF1AcedC3OxeCdxXJk50="


def test_a_media_message_has_the_size_of_a_real_one() -> None:
    messages = CallerMessages(CallIds.derive("a", 0))
    message = messages.media(0, PhoneAudio(b"\x00" * 160).payload(0))
    assert 340 <= len(message) <= 400
    assert len(json.loads(message)["media"]["payload"]) == 216
