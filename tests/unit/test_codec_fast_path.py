"""The fast path by itself: which bytes it takes, which it hands over and when, and what it does to a call.

That a call does not notice is judged in ``server/test_websocket_fast_path.py``, against the way through websockets.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from detectors import LoudnessDetector
from fastcall._codec import AudioTrack, EndpointRule, InboundTimeline, MediaFastPath, VadFramer, WebSocketFastPath

SID = "MZ1"
CODES = bytes(range(96, 256))
LOUD, QUIET = b"\x10" * 160, b"\xff" * 160


class Call:
    """A call's end of the fast path, begun at 100 ms by one frame of the slow path."""

    def __init__(self, *, batch_samples: int = 10**6, limit_samples: int = 80_000, sid: str = SID) -> None:
        self.told: list[object] = []
        self.detector = LoudnessDetector()
        self.timeline, self.track, self.vad_framer = InboundTimeline(), AudioTrack(), VadFramer(self.detector)
        self.rule = EndpointRule(
            onset_frames=2,
            onset_window_frames=4,
            hangover_frames=5,
            hangover_voiced_frames=0,
            settle_samples=0,
            preroll_samples=0,
            max_samples=10**6,
        )
        self.media = MediaFastPath(
            sid,
            self.timeline,
            self.track,
            self.vad_framer,
            self.rule,
            limit_samples=limit_samples,
            batch_samples=batch_samples,
            on_batch=lambda: self.told.append("batch"),
            on_speech=self.told.append,
        )
        self.media.allow(10**6)
        self.timeline.place(80, 160)
        self.frames = WebSocketFastPath(lambda: 7.0, self._take_steps)
        self.frames.bind(self.media)
        self.handed: list[bytes] = []

    def heard(self) -> bytes:
        """What is in the track, as LINEAR16."""
        self.track.take()
        return self.track.read(0, self.track.end)

    def receive(self, data: bytes) -> None:
        self.frames.data_received(data)

    def _take_steps(self, step: int) -> None:
        while step:
            if step == 1:
                self.handed.append(self.frames.take_passthrough())
            elif step == 2:
                self.frames.dispatch()
            step = self.frames.next_turn() if step == 3 else self.frames.resume()


def frame(payload: bytes, first: int = 0x81, key: bytes | None = b"\x01\x80\xff\x3c") -> bytes:
    mask = 0x80 if key else 0
    size = len(payload)
    head = bytes([first, mask | size]) if size < 126 else bytes([first, mask | 126]) + size.to_bytes(2, "big")
    if key is None:
        return head + payload
    return head + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def media(timestamp_ms: int = 100, codes: bytes = CODES, sid: str = SID) -> bytes:
    payload = base64.b64encode(codes).decode()
    return (
        f'{{"event":"media","media":{{"track":"inbound","timestamp":"{timestamp_ms}","payload":"{payload}"}},'
        f'"streamSid":"{sid}"}}'
    ).encode()


def test_the_next_frame_goes_into_the_track_and_the_vad_framer_and_nothing_is_handed_over() -> None:
    call = Call()
    call.receive(frame(media()))
    assert (call.media.messages, call.handed, call.told) == (1, [], [])
    assert call.heard() == reference.mulaw_decode(CODES)
    assert call.timeline.frames == 2
    assert call.vad_framer.processed_samples == 160
    assert call.detector.heard == [reference.mulaw_decode(CODES)]
    assert call.rule.last_audio_s == 7.0


def test_what_a_message_asks_for_comes_before_the_next_message() -> None:
    call = Call(batch_samples=320)
    audio = [LOUD, LOUD, *[QUIET] * 6]
    call.receive(b"".join(frame(media(100 + 20 * n, codes)) for n, codes in enumerate(audio)))
    # Begins with the second voiced frame, ends with the fifth quiet one; nobody takes what waits.
    assert call.told == ["batch", 1, "batch", "batch", "batch", "batch", "batch", 2, "batch"]
    assert call.media.messages == len(audio)


@pytest.mark.parametrize(
    "text",
    [
        media(sid="MZ2"),
        media(sid="MZ12"),
        media(151),
        media(5101),
        media(codes=b""),
        media(codes=CODES * 2),
        media() + b"x",
        media()[:-1],
        media().replace(b"inbound", b"outbound"),
        media().replace(b"MZ1", b"MZ\\u0031"),
        b"{}",
        b"",
    ],
)
def test_everything_else_is_handed_over_and_changes_nothing(text: bytes) -> None:
    call = Call()
    call.receive(frame(text))
    assert call.handed == [frame(text)]
    assert (call.media.messages, call.timeline.frames) == (0, 1)
    assert (call.track.pushed_samples, call.vad_framer.processed_samples) == (0, 0)
    call.receive(frame(media()))
    assert call.media.messages == 1


@pytest.mark.parametrize("has_two_tracks", [True, False])
def test_of_two_tracks_that_are_counted_together_the_fast_path_takes_the_caller_s(has_two_tracks: bool) -> None:
    call = Call()
    call.timeline.has_two_tracks = has_two_tracks
    for number in range(4):
        message = json.loads(media(100 + 20 * number))
        message["sequenceNumber"], message["media"]["chunk"] = str(2 * number + 2), str(2 * number + 1)
        call.receive(frame(json.dumps(message, separators=(",", ":")).encode()))
    assert call.media.messages == (4 if has_two_tracks else 1)


def test_a_frame_that_does_not_fit_the_track_is_handed_over() -> None:
    call = Call(limit_samples=319)
    call.receive(frame(media(100)) + frame(media(120)))
    assert (call.media.messages, call.handed) == (1, [frame(media(120))])
    assert call.track.dropped_samples == 0


def test_no_more_messages_are_taken_than_are_allowed() -> None:
    call = Call()
    call.media.allow(2)
    call.receive(b"".join(frame(media(100 + 20 * n)) for n in range(4)))
    assert (call.media.messages, b"".join(call.handed)) == (2, frame(media(140)) + frame(media(160)))
    call.media.allow(1)
    call.receive(frame(media(140)) + frame(media(160)))
    assert call.media.messages == 3
    call.media.allow(-1)
    call.receive(frame(media(160)))
    assert call.media.messages == 3


def test_it_says_when_the_newest_was_taken() -> None:
    call = Call()
    assert call.media.taken_s is None
    call.receive(frame(media(codes=CODES[:1])))
    assert call.media.taken_s == 7.0


def test_no_message_is_of_a_stream_whose_id_cannot_stand_in_one() -> None:
    for sid in ("", "MZé", "M" * 65, 'MZ"', "MZ\\"):
        call = Call(sid=sid)
        text = media(sid=sid)
        call.receive(frame(text))
        assert (call.media.messages, call.handed) == (0, [frame(text)])


@pytest.mark.parametrize("change", [lambda call: call.media.close(), lambda call: call.frames.bind(None)])
def test_a_fast_path_that_is_closed_takes_nothing(change: Callable[[Call], None]) -> None:
    call = Call()
    call.receive(frame(media(100)))
    change(call)
    call.receive(frame(media(120)) + frame(media(140)))
    assert b"".join(call.handed) == frame(media(120)) + frame(media(140))
    assert call.media.messages == 1


def test_what_is_handed_over_is_the_object_that_came() -> None:
    call, data = Call(), frame(b"{}")
    call.frames.bind(None)
    call.receive(data)
    assert call.handed[0] is data


def test_frames_are_handed_over_one_at_a_time() -> None:
    """Each may be the one for which the connection is closed: what follows it is not to be parsed."""
    call, frames = Call(), [frame(b"{}"), frame(b"", 0x89), frame(b"x" * 2000), frame(media(7))]
    call.frames.bind(None)
    call.receive(b"".join(frames))
    assert call.handed == frames


def test_a_beginning_that_may_be_media_is_held_back_and_no_other() -> None:
    for data, held in [
        (frame(media())[:1], 1),
        (frame(media())[:3], 3),
        (frame(media())[:-1], len(frame(media())) - 1),
        (frame(b"x" * 1023)[:-1], 1030),
        (frame(b"x" * 1024)[:4], 0),
        (frame(b"x" * 1024)[:3], 3),
        (bytes([0x81, 0xFE, 0, 125]), 0),
        (bytes([0x81, 0xFF]), 0),
        (bytes([0x81, 0x05]), 0),
        (bytes([0x01]), 0),
        (bytes([0x88]), 0),
    ]:
        call = Call()
        call.receive(data)
        assert b"".join(call.handed) == data[: len(data) - held]
        assert call.frames.take_partial() == data[len(data) - held :]
        assert call.frames.take_partial() == b""


OTHERS = [
    frame(b""),
    frame(b"{}"),
    frame(media(sid="MZ2")),
    frame(b"x" * 125, 0x89),
    frame(b"", 0x8A),
    frame(b"x" * 1023),
    frame(b"x" * 1024),
    frame(b"x" * 3000, 0x82),
    frame(b"{", 0x01) + frame(media(), 0x81) + frame(b"ping", 0x89) + frame(b"}", 0x80),
    frame(b"{", 0x01) + frame(b"ping", 0x89) + frame(media(), 0x81) + frame(b"}", 0x80),
    frame(b"a", 0x02) + frame(b"b", 0x00) + frame(media(), 0x81) + frame(b"", 0x80),
    frame(media(), key=None),
    frame(media(), 0xC1),
    frame(media(), 0x83),
    bytes([0x81, 0xFF]) + (3).to_bytes(8, "big") + frame(b"abc")[2:],
    bytes([0x81, 0xFE, 0, 3]) + frame(b"abc")[2:],
]


@given(st.lists(st.one_of(st.none(), st.sampled_from(OTHERS)), max_size=12), st.data())
def test_however_it_is_cut_media_is_taken_and_the_rest_handed_over_in_order(parts: list, data: st.DataObject) -> None:
    call, at_ms, whole, rest = Call(), 100, b"", b""
    for part in parts:
        if part is None:
            whole += frame(media(at_ms))
            at_ms += 20
        else:
            whole += part
            rest += part
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        call.receive(whole[start:stop])
    assert b"".join(call.handed) == rest
    assert call.frames.take_partial() == b""
    assert call.media.messages == parts.count(None)
    assert call.heard() == reference.mulaw_decode(CODES) * parts.count(None)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_are_handed_over_as_they_came(reads: list[bytes]) -> None:
    call = Call()
    for read in reads:
        call.receive(read)
    assert b"".join(call.handed) + call.frames.take_partial() == b"".join(reads)
    assert call.media.messages == 0


@pytest.mark.parametrize("sizes", [[160] * 4, [1] * 320, [80, 80, 80, 81, 318, 1], [159, 2, 159, 160]])
def test_frames_of_any_size_reach_the_detector_in_20_ms(sizes: list[int]) -> None:
    call, audio, position = Call(), CODES * 6, 0
    for size in sizes:
        call.receive(frame(media(100 + position // 8, audio[position : position + size])))
        position += size
    taken = 160 * (position // 160)
    assert call.media.messages == len(sizes)
    assert b"".join(call.detector.heard) == reference.mulaw_decode(audio[:taken])
    assert call.vad_framer.pending == audio[taken:position]


def test_a_detector_that_fails_says_so_from_the_fast_path() -> None:
    call = Call()
    call.detector.is_speech = lambda pcm: 1 / 0  # type: ignore[method-assign,return-value,assignment]
    with pytest.raises(ZeroDivisionError):
        call.receive(frame(media()))


@pytest.mark.parametrize(("sample_bytes", "limit", "wrong"), [(2, 8000, "mu-law"), (1, -1, "limit_samples=-1")])
def test_the_track_is_of_mulaw_and_its_limit_a_size(sample_bytes: int, limit: int, wrong: str) -> None:
    call = Call()
    with pytest.raises(ValueError, match=wrong):
        MediaFastPath(
            SID,
            call.timeline,
            AudioTrack(sample_bytes=sample_bytes),
            call.vad_framer,
            call.rule,
            limit_samples=limit,
            batch_samples=1,
            on_batch=lambda: None,
            on_speech=lambda change: None,
        )
