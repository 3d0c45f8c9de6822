"""The voice detector: speech-like tones are voice, silence is none, and each call learns for itself."""

from __future__ import annotations

import pytest

from fastcall.adapters.vad import WebRtcVoiceDetector
from fastcall.rules.tones import synthesize


def voiced(pcm: bytes, mode: int = 2) -> list[bool]:
    detector = WebRtcVoiceDetector(mode)
    return [detector.is_speech(pcm[i : i + 320]) for i in range(0, len(pcm) - 319, 320)]


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_silence_is_no_voice(mode: int) -> None:
    assert not any(voiced(bytes(32000), mode))


def test_tones_are_voice() -> None:
    frames = voiced(synthesize("apple arrow autumn badge"))
    assert sum(frames) >= 0.9 * len(frames)


def test_a_frame_of_another_length_is_an_error() -> None:
    with pytest.raises(Exception, match="processing frame"):
        WebRtcVoiceDetector().is_speech(bytes(100))
