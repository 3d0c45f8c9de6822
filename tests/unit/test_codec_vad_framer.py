"""A call's audio on its way to the voice detector, and the silence of its gaps, which costs little however long it is.

Judged against the plain way: each 20 ms decoded, asked about, and fed to the endpointing, one after the other.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import LoudnessDetector
from fastcall._codec import EndpointRule, VadFramer, mulaw_decode, mulaw_encode
from fastcall.audio.tones import synthesize
from fastcall.audio.vad import WebRtcVoiceDetector
from fastcall.turns.turn_policy import foreground_gate

FRAME = 160
SILENCE = b"\xff"
GAP = 5 * 8000
SPEECH = synthesize("[40] apple [140] arrow autumn [60] badge", encoding="mulaw")


def rule(hangover_frames: int = 5, max_samples: int = 10**6) -> EndpointRule:
    return EndpointRule(
        onset_frames=2,
        onset_window_frames=4,
        hangover_frames=hangover_frames,
        hangover_voiced_frames=hangover_frames // 10,
        settle_samples=800,
        preroll_samples=1600,
        max_samples=max_samples,
    )


def seen(endpoint: EndpointRule, change: int) -> tuple[int, ...]:
    return change, endpoint.start_sample, endpoint.voice_sample, endpoint.last_voiced_sample


def in_frames(
    parts: list[tuple[int, bytes]], is_speech: Callable[[bytes], bool], endpoint: EndpointRule
) -> tuple[list[tuple[int, ...]], bytes]:
    """The plain way: what changed, and what is left."""
    audio = b"".join(SILENCE * silence + codes for silence, codes in parts)
    changes = []
    for at in range(0, len(audio) - FRAME + 1, FRAME):
        change = endpoint.feed(is_speech(mulaw_decode(audio[at : at + FRAME])), at + FRAME, 7.0)
        if change:
            changes.append(seen(endpoint, change))
    return changes, audio[len(audio) - len(audio) % FRAME :]


def at_once(
    parts: list[tuple[int, bytes]], vad_framer: VadFramer, endpoint: EndpointRule
) -> tuple[list[tuple[int, ...]], bytes]:
    changes: list[tuple[int, ...]] = []
    for silence, codes in parts:
        vad_framer.process(endpoint, silence, codes, 7.0, lambda change: changes.append(seen(endpoint, change)))
    return changes, vad_framer.pending


spoken = st.builds(lambda at, size: SPEECH[at : at + size], st.integers(0, len(SPEECH) - 1), st.integers(0, 6000))
sound = st.one_of(spoken, st.binary(max_size=400), st.just(b"\x00" * 1000))
gaps = st.one_of(st.just(0), st.integers(0, 700), st.integers(0, GAP), st.just(GAP))
calls = st.lists(st.tuples(gaps, sound), min_size=1, max_size=6)


@settings(max_examples=60)
@given(calls, st.integers(0, 3), st.sampled_from([3, 40, 250]), st.sampled_from([8000, 10**6]), st.booleans())
def test_silence_at_once_is_silence_frame_by_frame(
    parts: list[tuple[int, bytes]], mode: int, hangover_frames: int, max_samples: int, is_native: bool
) -> None:
    detector = WebRtcVoiceDetector(mode)
    vad_framer = VadFramer(detector, detector.native if is_native else None)
    endpoint, twin = rule(hangover_frames, max_samples), rule(hangover_frames, max_samples)
    assert at_once(parts, vad_framer, endpoint) == in_frames(parts, WebRtcVoiceDetector(mode).is_speech, twin)
    audio = sum(silence + len(codes) for silence, codes in parts)
    assert vad_framer.processed_samples == audio - audio % FRAME
    assert endpoint.in_speech == twin.in_speech


@given(st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=500)), max_size=8))
def test_what_is_not_a_gap_is_all_asked_about(parts: list[tuple[int, bytes]]) -> None:
    detector, twin = LoudnessDetector(), LoudnessDetector()
    assert at_once(parts, VadFramer(detector), rule()) == in_frames(parts, twin.is_speech, rule())
    assert detector.heard == twin.heard


@pytest.mark.parametrize("silence", [GAP, 10 * GAP, 3600 * 8000])
def test_the_detector_is_asked_about_the_beginning_of_silence_only(silence: int) -> None:
    detector = LoudnessDetector()
    vad_framer, endpoint = VadFramer(detector), rule(hangover_frames=250)
    changes = at_once([(0, b"\x00" * 1920), (silence, b"\x00" * 320)], vad_framer, endpoint)[0]
    assert [change for change, *_ in changes] == [1, 2, 1]
    assert vad_framer.processed_samples == 1920 + silence + 320
    assert len(detector.heard) == 12 + 25 + 2


def test_what_failed_is_raised_where_it_happened() -> None:
    def fail(pcm: bytes) -> bool:
        raise ZeroDivisionError

    detector, changes = LoudnessDetector(), list[int]()
    vad_framer, endpoint = VadFramer(detector), rule()
    vad_framer.process(endpoint, 0, b"\x00" * 1200, 7.0, changes.append)
    detector.is_speech = fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        vad_framer.process(endpoint, GAP, b"", 7.0, changes.append)
    assert (changes, vad_framer.processed_samples) == ([1], 1280)


def test_what_the_callback_raises_is_raised() -> None:
    def refuse(change: int) -> None:
        raise LookupError(change)

    with pytest.raises(LookupError, match="1"):
        VadFramer(LoudnessDetector()).process(rule(), 0, b"\x00" * 3200, 7.0, refuse)


BEEP = mulaw_encode(array("h", [round(8000 * math.sin(2 * math.pi * n / 8)) for n in range(4000)]).tobytes())


def test_the_end_of_a_tone_is_a_change_after_that_of_its_frame() -> None:
    gate = foreground_gate()
    vad_framer, endpoint, changes = VadFramer(LoudnessDetector(), gate=gate), rule(), list[tuple[int, int]]()

    def note(change: int) -> None:
        changes.append((change, vad_framer.processed_samples - FRAME * gate.frames_since_tone))

    vad_framer.process(endpoint, 4000, BEEP + SILENCE * 1600 + BEEP, 7.0, note)
    assert [at for change, at in changes if change == 7] == [8000]
    vad_framer.process(endpoint, GAP, b"", 7.0, note)  # the gap is silence, most of it at once
    assert [at for change, at in changes if change == 7] == [8000, 13_600]
    assert gate.tone_frames == 25
    vad_framer.process(endpoint, GAP, SILENCE * 8000, 7.0, note)
    assert [change for change, _ in changes].count(7) == 2


def test_silence_is_not_negative() -> None:
    with pytest.raises(ValueError, match="silence_samples=-1"):
        VadFramer(LoudnessDetector()).process(rule(), -1, b"", 7.0, print)


@pytest.mark.parametrize("native", [(0, 1), (1, 0)])
def test_no_address_is_0(native: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="address"):
        VadFramer(LoudnessDetector(), native)
