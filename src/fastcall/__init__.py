"""fastcall answers phone calls: live audio in, one streaming speech-to-text session a call, utterances out.

The names load when they are first used, so that ``import fastcall.g711`` loads the codec and nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastcall._version import __version__

if TYPE_CHECKING:
    from fastcall._codec import AudioRing, Debouncer
    from fastcall._codec import mulaw_decode as mulaw_decode_fast
    from fastcall.drivers.answers import Turn
    from fastcall.drivers.blocking import BlockingCall
    from fastcall.drivers.call import Call
    from fastcall.drivers.dispatcher import UtteranceDispatcher
    from fastcall.drivers.session import RecognitionSession
    from fastcall.errors import BacklogError, FastcallError, UsageError
    from fastcall.events import Amendment, BargeIn, DtmfPressed, MarkPlayed, Partial, Utterance
    from fastcall.rules.spoken import Heard
    from fastcall.settings import Settings
    from fastcall.threaded import StreamingSTTSession
    from fastcall.tokens import make_stream_token

__all__ = [
    "Amendment",
    "AudioRing",
    "BacklogError",
    "BargeIn",
    "BlockingCall",
    "Call",
    "Debouncer",
    "DtmfPressed",
    "FastcallError",
    "Heard",
    "MarkPlayed",
    "Partial",
    "RecognitionSession",
    "Settings",
    "StreamingSTTSession",
    "Turn",
    "UsageError",
    "Utterance",
    "UtteranceDispatcher",
    "__version__",
    "make_stream_token",
    "mulaw_decode_fast",
]

_HOMES = {
    "Amendment": ("events", "Amendment"),
    "AudioRing": ("_codec", "AudioRing"),
    "BacklogError": ("errors", "BacklogError"),
    "BargeIn": ("events", "BargeIn"),
    "BlockingCall": ("drivers.blocking", "BlockingCall"),
    "Call": ("drivers.call", "Call"),
    "Debouncer": ("_codec", "Debouncer"),
    "DtmfPressed": ("events", "DtmfPressed"),
    "FastcallError": ("errors", "FastcallError"),
    "Heard": ("rules.spoken", "Heard"),
    "MarkPlayed": ("events", "MarkPlayed"),
    "Partial": ("events", "Partial"),
    "RecognitionSession": ("drivers.session", "RecognitionSession"),
    "Settings": ("settings", "Settings"),
    "StreamingSTTSession": ("threaded", "StreamingSTTSession"),
    "Turn": ("drivers.answers", "Turn"),
    "UsageError": ("errors", "UsageError"),
    "Utterance": ("events", "Utterance"),
    "UtteranceDispatcher": ("drivers.dispatcher", "UtteranceDispatcher"),
    "make_stream_token": ("tokens", "make_stream_token"),
    "mulaw_decode_fast": ("_codec", "mulaw_decode"),
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fastcall' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fastcall.{home[0]}"), home[1])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
