"""Loads the fallback: the user's own function, Whisper, or none."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from pathlib import Path
from typing import Any

from fastcall.errors import UsageError
from fastcall.ports import Fallback
from fastcall.recognition.callable_fallback import CallableFallback, FallbackFunction
from fastcall.settings import Settings

__all__ = ["NO_FALLBACK", "load_callable", "load_fallback", "start_fallback"]

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


def load_callable(option: str, name: str) -> Any:
    """What ``module:callable`` names; ``option`` is the command-line option, for the error message. The current
    directory is searched, too, which console scripts do not do by default.

    :raises UsageError: it cannot be loaded
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"{option} {name!r}: use module:callable")
    if not all(part.isidentifier() for part in module_name.split(".")) or module_name.endswith(".py"):
        # It looks like a file's name.
        likely = ".".join(Path(module_name.removesuffix(".py")).parts).lstrip("./")
        raise UsageError(f"{option} {name!r}: use module:callable, as in an import; {likely}:{attribute}, perhaps")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{option} {name!r} cannot be loaded: {error}") from error
    except (Exception, SystemExit) as error:  # whatever importing a user's module may raise
        *_, at = traceback.extract_tb(error.__traceback__)
        place = f"{error.filename}:{error.lineno}" if isinstance(error, SyntaxError) else f"{at.filename}:{at.lineno}"
        raise UsageError(f"{option} {name!r} cannot be loaded: {type(error).__name__}: {error} ({place})") from error


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
