"""Loads what a user names as ``module:callable``."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from fastcall.errors import UsageError

__all__ = ["load_callable"]


def load_callable(option: str, name: str) -> Any:
    """What ``module:callable`` names. The current directory is searched, too, which console scripts do not do by
    default.

    :param option: the command-line option or the setting, for the error message
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
