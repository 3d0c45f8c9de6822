"""Loads the fallback: the user's own function, Whisper, or none."""

from __future__ import annotations

import inspect

from fastcall.callables import load_callable
from fastcall.errors import UsageError
from fastcall.ports import Fallback
from fastcall.recognition.callable_fallback import CallableFallback, FallbackFunction
from fastcall.settings import Settings

__all__ = ["NO_FALLBACK", "load_fallback", "start_fallback"]

NO_FALLBACK = (
    "set WHISPER_MODEL to a Whisper model (pip install 'fastcall[whisper]'), or name your own function with "
    "--fallback module:callable"
)


def load_fallback(name: str) -> FallbackFunction:
    """The callable that ``module:callable`` names.

    :raises UsageError: it does not exist, or does not accept two arguments, ``pcm`` and ``language``
    """
    function = load_callable("--fallback", name)
    try:
        inspect.signature(function).bind(b"", "en-US")
    except TypeError as error:
        raise UsageError(
            f"--fallback {name!r} is not a function of two arguments, pcm and language: {error}"
        ) from error
    except ValueError:
        pass  # functions in C may have no signature
    checked: FallbackFunction = function
    return checked


async def start_fallback(settings: Settings, own: FallbackFunction | None, language: str) -> Fallback | None:
    """The user's own, else Whisper if a model is set, else none.

    :raises UsageError: the model cannot be used; the message says what to do
    """
    if own is not None:
        return CallableFallback(own)
    if settings.whisper_model is None:
        return None
    try:
        from fastcall.whisper.engine import EngineOptions
        from fastcall.whisper.pool import WhisperFallback
    except ImportError as error:
        raise UsageError(
            f"WHISPER_MODEL is set, but Whisper is not installed: pip install 'fastcall[whisper]' ({error})"
        ) from error
    whisper = WhisperFallback(
        EngineOptions(settings.whisper_model, settings.whisper_compute_type, settings.whisper_threads),
        language=language,
        workers=settings.whisper_workers,
        limit_s=settings.stt_fallback_limit_s,
    )
    await whisper.start()
    return whisper
