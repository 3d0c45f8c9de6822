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
    from fastcall.drivers.call import Call, Utterance
    from fastcall.drivers.dispatcher import UtteranceDispatcher
    from fastcall.drivers.session import RecognitionSession
    from fastcall.errors import FastcallError, UsageError
    from fastcall.settings import Settings
    from fastcall.threaded import StreamingSTTSession

__all__ = [
    "AudioRing",
    "Call",
    "Debouncer",
    "FastcallError",
    "RecognitionSession",
    "Settings",
    "StreamingSTTSession",
    "UsageError",
    "Utterance",
    "UtteranceDispatcher",
    "__version__",
    "mulaw_decode_fast",
]

_HOMES = {
    "AudioRing": ("_codec", "AudioRing"),
    "Call": ("drivers.call", "Call"),
    "Debouncer": ("_codec", "Debouncer"),
    "FastcallError": ("errors", "FastcallError"),
    "RecognitionSession": ("drivers.session", "RecognitionSession"),
    "Settings": ("settings", "Settings"),
    "StreamingSTTSession": ("threaded", "StreamingSTTSession"),
    "UsageError": ("errors", "UsageError"),
    "Utterance": ("drivers.call", "Utterance"),
    "UtteranceDispatcher": ("drivers.dispatcher", "UtteranceDispatcher"),
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
