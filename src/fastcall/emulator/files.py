"""Reads a user's YAML files, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from fastcall.errors import UsageError

__all__ = ["read_yaml"]

T = TypeVar("T")
MAX_FILE_BYTES: Final = 4 * 1024 * 1024


def read_yaml(path: str, parse: Callable[[Any], T]) -> T:
    """Read the file and pass its contents to `parse`. Raises UsageError for any problem with it."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise UsageError(f"reading {path} needs the package PyYAML: pip install 'fastcall[emulator]'") from error
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if len(text) > MAX_FILE_BYTES:
        raise UsageError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return parse(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
