"""The voice detector: speech-like tones are voice, silence is none, and each call learns for itself."""

from __future__ import annotations

import ctypes
import importlib.util
import types

import pytest

from fastcall._codec import EndpointRule, VadFramer, mulaw_encode
from fastcall.audio.tones import synthesize
from fastcall.audio.vad import WebRtcVoiceDetector


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


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_the_c_function_says_what_the_method_says(mode: int) -> None:
    pcm = synthesize("[300] apple arrow [40] autumn [100] badge [700] apple")
    codes = mulaw_encode(pcm)
    by_function = WebRtcVoiceDetector(mode)
    assert by_function.native is not None, "webrtcvad-wheels exports its function on the platforms that we test"
    rule = EndpointRule(
        onset_frames=2,
        onset_window_frames=2,
        hangover_frames=2,
        hangover_voiced_frames=0,
        settle_samples=0,
        preroll_samples=0,
        max_samples=10**6,
    )
    heard: list[list[tuple[int, int]]] = []
    for detector, native in ((by_function, by_function.native), (WebRtcVoiceDetector(mode), None)):
        changes, vad_framer = list[tuple[int, int]](), VadFramer(detector, native)
        vad_framer.process(
            rule, 0, codes, 0.0, lambda change, at=vad_framer, to=changes: to.append((change, at.processed_samples))
        )
        rule.end()
        heard.append(changes)
    assert heard[0] == heard[1]
    assert {change for change, _ in heard[0]} == {1, 2}


def test_a_function_that_answers_otherwise_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
    library = types.SimpleNamespace(WebRtcVad_Process=prototype(lambda state, rate, pcm, samples: 0))
    monkeypatch.setattr(ctypes, "CDLL", lambda path: library)
    # It is looked for once in a process: a module of its own looks again.
    spec = importlib.util.find_spec("fastcall.audio.vad")
    assert spec is not None
    assert spec.loader is not None
    vad = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vad)
    assert vad.WebRtcVoiceDetector().native is None
