"""What is sent to Twilio: frames and messages are those of websockets, ``json`` and ``base64``, to the byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall._codec import OutboundFrames, scan_mark
from fastcall.events import MarkPlayed
from fastcall.twilio.messages import parse_message
from peers import messages_of, server_frame
from reference import clear_message, mark_message, media_message

SID = "MZ0123456789abcdef0123456789abcdef"
TEXTS = st.text(st.characters(), max_size=60) | st.just(SID)
"""Any: with quotes, control characters, lone surrogates."""

MESSAGE_BYTES_WITHOUT_AUDIO = len(media_message("", b""))


@given(TEXTS, st.binary(max_size=2000))
def test_media_of_any_stream_with_any_audio(stream_sid: str, audio: bytes) -> None:
    assert OutboundFrames(stream_sid).media(audio) == server_frame(media_message(stream_sid, audio))


@pytest.mark.parametrize("payload_bytes", [125, 126, 127, 128, 65_534, 65_535, 65_536, 65_540])
def test_media_at_the_limits_of_a_frame_s_length(payload_bytes: int) -> None:
    """The length has 7 bits up to 125 bytes, 16 up to 65,535, then 64."""
    for sid_chars in range(4):
        for audio_bytes in range((payload_bytes - MESSAGE_BYTES_WITHOUT_AUDIO - sid_chars) // 4 * 3 - 4, payload_bytes):
            message = media_message("M" * sid_chars, bytes(audio_bytes))
            if len(message) > payload_bytes + 4:
                break
            frame = OutboundFrames("M" * sid_chars).media(bytes(audio_bytes))
            assert frame == server_frame(message)
            assert messages_of(frame) == [message]


def test_each_limit_of_a_frame_s_length_is_met_exactly() -> None:
    sizes = {len(media_message("M" * chars, bytes(3 * groups))) for chars in range(4) for groups in range(20)}
    assert {125, 126} <= sizes
    lengths = [
        len(OutboundFrames("").mark("x" * (size - len(mark_message("", ""))))) for size in (125, 126, 65_535, 65_536)
    ]
    assert lengths == [127, 130, 65_539, 65_546]


@given(TEXTS, st.text(max_size=60))
def test_marks_and_clears(stream_sid: str, name: str) -> None:
    frames = OutboundFrames(stream_sid)
    assert frames.mark(name) == server_frame(mark_message(stream_sid, name))
    assert frames.clear() == server_frame(clear_message(stream_sid))


@pytest.mark.parametrize(
    "name_chars", [0, 1, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 65_480, *range(65_485, 65_500), 70_000]
)
def test_marks_of_all_sizes(name_chars: int) -> None:
    frames = OutboundFrames(SID)
    assert frames.mark("n" * name_chars) == server_frame(mark_message(SID, "n" * name_chars))


def test_what_is_sent_has_twilio_s_fields_and_no_others() -> None:
    frames = OutboundFrames("MZ1")
    sent = [json.loads(text) for text in messages_of(frames.media(b"\xff\x00") + frames.mark("a") + frames.clear())]
    assert sent == [
        {"event": "media", "streamSid": "MZ1", "media": {"payload": "/wA="}},
        {"event": "mark", "streamSid": "MZ1", "mark": {"name": "a"}},
        {"event": "clear", "streamSid": "MZ1"},
    ]


def test_any_buffer_of_bytes_is_audio_and_nothing_else() -> None:
    frames = OutboundFrames(SID)
    audio = bytes(range(256))
    for same in (audio, bytearray(audio), memoryview(audio)):
        assert frames.media(same) == frames.media(audio)
    with pytest.raises(BufferError):
        frames.media(memoryview(audio)[::2])
    with pytest.raises(TypeError):
        frames.media("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        frames.mark(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        OutboundFrames(None)  # type: ignore[arg-type]


# --- marks that come back ---------------------------------------------------------------------------------------

ECHO = {"event": "mark", "sequenceNumber": "4", "streamSid": SID, "mark": {"name": "fastcall:12"}}


def test_a_mark_as_twilio_sends_it() -> None:
    assert scan_mark(json.dumps(ECHO).encode()) == "fastcall:12"
    assert scan_mark(json.dumps(ECHO, separators=(",", ":")).encode()) == "fastcall:12"
    assert scan_mark(json.dumps(dict(reversed(ECHO.items())), indent=2).encode()) == "fastcall:12"
    assert scan_mark(b'{"event":"mark","mark":{"name":"a"}}') == "a"


@pytest.mark.parametrize(
    "change",
    [
        {"event": "media"},
        {"mark": {}},
        {"mark": {"name": ""}},
        {"mark": {"name": "n" * 1025}},
        {"mark": {"name": 'a"b'}},
        {"mark": {"name": "\u00e9"}},
        {"mark": {"name": "a", "more": "b"}},
        {"mark": "a"},
        {"sequenceNumber": 4},
        {"more": "b"},
        {"media": {"track": "inbound"}},
    ],
)
def test_what_is_left_to_json(change: dict[str, object]) -> None:
    assert scan_mark(json.dumps(ECHO | change).encode()) is None


def test_a_message_that_is_not_json_is_no_mark() -> None:
    echo = json.dumps(ECHO).encode()
    for end in range(len(echo)):
        assert scan_mark(echo[:end]) is None
    assert scan_mark(echo + b"}") is None
    assert scan_mark(echo.replace(b"MZ0", b"MZ\xff")) is None
    assert scan_mark(echo.replace(b'"4"', b'"\x01"')) is None


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_changed_byte_is_read_as_json_reads_it(position: int, value: int) -> None:
    data = bytearray(json.dumps(ECHO).encode())
    data[position % len(data)] = value
    name = scan_mark(data)
    if name is not None:
        assert json.loads(bytes(data).decode())["mark"] == {"name": name}
        assert parse_message(bytes(data)) == MarkPlayed(name)
