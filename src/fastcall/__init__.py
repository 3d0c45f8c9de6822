"""fastcall answers phone calls: live audio in, one streaming speech-to-text session per call, utterances out.

Names are imported on first use, so that ``import fastcall.g711`` imports only the codec.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fastcall._version import __version__

if TYPE_CHECKING:
    from fastcall._codec import AudioRing, Debouncer
    from fastcall._codec import mulaw_decode as mulaw_decode_fast
    from fastcall.agent.blocking import BlockingCall
    from fastcall.agent.call import Call
    from fastcall.agent.heard_text import Heard
    from fastcall.agent.outbound import to_mulaw
    from fastcall.agent.player import Speech
    from fastcall.agent.replies import Turn
    from fastcall.errors import BacklogError, ClosedError, FastcallError, RecognizerError, UsageError
    from fastcall.events import (
        Amendment,
        BargeIn,
        BeepHeard,
        DtmfPressed,
        FallbackAsked,
        FallbackSilent,
        MachineDetected,
        MarkPlayed,
        Partial,
        RecognitionEvent,
        SessionClosed,
        SessionFailed,
        SessionRotated,
        SessionStarted,
        Utterance,
        Word,
    )
    from fastcall.google.recognizer import GoogleRecognizer
    from fastcall.ports import StreamConfig
    from fastcall.recognition.dispatcher import PendingText, UtteranceDispatcher
    from fastcall.recognition.session import RecognitionSession
    from fastcall.settings import Settings
    from fastcall.threaded import StreamingSTTSession
    from fastcall.tokens import make_stream_token

__all__ = [
    "Amendment",
    "AudioRing",
    "BacklogError",
    "BargeIn",
    "BeepHeard",
    "BlockingCall",
    "Call",
    "ClosedError",
    "Debouncer",
    "DtmfPressed",
    "FallbackAsked",
    "FallbackSilent",
    "FastcallError",
    "GoogleRecognizer",
    "Heard",
    "MachineDetected",
    "MarkPlayed",
    "Partial",
    "PendingText",
    "RecognitionEvent",
    "RecognitionSession",
    "RecognizerError",
    "SessionClosed",
    "SessionFailed",
    "SessionRotated",
    "SessionStarted",
    "Settings",
    "Speech",
    "StreamConfig",
    "StreamingSTTSession",
    "Turn",
    "UsageError",
    "Utterance",
    "UtteranceDispatcher",
    "Word",
    "__version__",
    "make_stream_token",
    "mulaw_decode_fast",
    "to_mulaw",
]

_HOMES = {
    "_codec": ("AudioRing", "Debouncer", "mulaw_decode_fast"),
    "google.recognizer": ("GoogleRecognizer",),
    "agent.replies": ("Turn",),
    "agent.blocking": ("BlockingCall",),
    "agent.call": ("Call",),
    "recognition.dispatcher": ("PendingText", "UtteranceDispatcher"),
    "recognition.session": ("RecognitionSession",),
    "agent.outbound": ("to_mulaw",),
    "agent.player": ("Speech",),
    "errors": ("BacklogError", "ClosedError", "FastcallError", "RecognizerError", "UsageError"),
    "events": (
        "Amendment",
        "BargeIn",
        "BeepHeard",
        "DtmfPressed",
        "FallbackAsked",
        "FallbackSilent",
        "MachineDetected",
        "MarkPlayed",
        "Partial",
        "RecognitionEvent",
        "SessionClosed",
        "SessionFailed",
        "SessionRotated",
        "SessionStarted",
        "Utterance",
        "Word",
    ),
    "ports": ("StreamConfig",),
    "agent.heard_text": ("Heard",),
    "settings": ("Settings",),
    "threaded": ("StreamingSTTSession",),
    "tokens": ("make_stream_token",),
}

# Names that differ in their modules.
_THERE = {"mulaw_decode_fast": "mulaw_decode"}

if not TYPE_CHECKING:  # type checkers would accept every misspelt name as Any

    def __getattr__(name: str) -> object:
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'fastcall' has no attribute {name!r}")
        try:
            module = importlib.import_module(f"fastcall.{home}")
        except ModuleNotFoundError as error:
            from fastcall.errors import missing_extra

            advice = missing_extra(error)
            if advice is None:
                raise
            raise ModuleNotFoundError(f"fastcall.{name}: {advice}", name=error.name) from error
        value = globals()[name] = getattr(module, _THERE.get(name, name))
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
