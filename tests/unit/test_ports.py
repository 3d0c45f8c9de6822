"""The ports: what fulfils them does, and their values cannot be changed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from fastcall import ports
from fastcall.audio.vad import WebRtcVoiceDetector
from fastcall.end_of_turn.model_process import ModelProcess
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.recognition.callable_fallback import CallableFallback
from fastcall.recognition.provider_stream import ProviderStream
from fastcall.server.websocket import MediaConnection
from fastcall.whisper.pool import WhisperFallback


@pytest.mark.parametrize(
    ("port", "adapter"),
    [
        (ports.Recognizer, GoogleRecognizer),
        (ports.CallSocket, MediaConnection),
        (ports.Fallback, CallableFallback),
        (ports.Fallback, WhisperFallback),
        (ports.EndOfTurnModel, ModelProcess),
        (ports.VoiceDetector, WebRtcVoiceDetector),
        (ports.StreamListener, ProviderStream),
    ],
)
def test_adapters_have_what_their_port_says(port: type, adapter: type) -> None:
    wanted = {name for name in vars(port) if not name.startswith("_")}
    assert wanted
    assert wanted <= set(dir(adapter))


def test_values_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ports.StreamEnd("OK").code = "x"  # type: ignore[misc]
