"""Chooses the fallback: the user's function, or Whisper, or none."""

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

    :raises UsageError: it does not exist, or does not take two arguments, ``pcm`` and ``language``
    """
    function = load_callable("--fallback", name)
    try:
        inspect.signature(function).bind(b"", "en-US")
    except TypeError as error:
        raise UsageError(
            f"--fallback {name!r} is not a function of two arguments, pcm and language: {error}"
        ) from error
    except ValueError:
        pass  # a C function may have no signature
    checked: FallbackFunction = function
    return checked


def load_callable(option: str, name: str) -> Any:
    """The object that ``module:callable`` names; ``option`` is the command line's, for the message. Modules in the
    current directory are found too, although console scripts do not search it.

    :raises UsageError: it does not exist
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"{option} {name!r}: must be module:callable")
    if not all(part.isidentifier() for part in module_name.split(".")) or module_name.endswith(".py"):
        # A file's name is not a module's.
        likely = ".".join(Path(module_name.removesuffix(".py")).parts).lstrip("./")
        raise UsageError(f"{option} {name!r}: must be module:callable, as in an import; maybe {likely}:{attribute}")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{option} {name!r} cannot be loaded: {error}") from error
    except (Exception, SystemExit) as error:  # importing the user's module may raise anything
        *_, at = traceback.extract_tb(error.__traceback__)
        place = f"{error.filename}:{error.lineno}" if isinstance(error, SyntaxError) else f"{at.filename}:{at.lineno}"
        raise UsageError(f"{option} {name!r} cannot be loaded: {type(error).__name__}: {error} ({place})") from error


async def start_fallback(settings: Settings, own: FallbackFunction | None, language: str) -> Fallback | None:
    """The user's function, else Whisper if a model is named, else none.

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
