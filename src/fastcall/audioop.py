"""Every name of the standard library's ``audioop``, which Python 3.13 no longer has.

``import fastcall.audioop as audioop`` replaces it: same arguments, same results, same errors.
``ulaw2lin``, ``lin2ulaw``, ``alaw2lin`` and ``lin2alaw`` are those of :mod:`fastcall.g711`, which are faster. All
others are ``audioop``'s own; since 3.13, those of the package ``audioop-lts`` (``pip install 'fastcall[audioop]'``).
Without it, these four work, and accessing any other raises ``ImportError``.

``error`` is ``audioop.error``; the exceptions of the four are subclasses of it.

Source: https://docs.python.org/3.12/library/audioop.html
"""

# ruff: noqa: F822  (most of these names are resolved by __getattr__)
from __future__ import annotations

import importlib
import warnings
from typing import Any

from fastcall import g711
from fastcall.g711 import alaw2lin, lin2alaw, lin2ulaw, ulaw2lin

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.11 and 3.12; this module is the replacement
    try:
        _others: Any = importlib.import_module("audioop")
    except ModuleNotFoundError:
        _others = None

__all__ = [
    "add",
    "adpcm2lin",
    "alaw2lin",
    "avg",
    "avgpp",
    "bias",
    "byteswap",
    "cross",
    "error",
    "findfactor",
    "findfit",
    "findmax",
    "getsample",
    "lin2adpcm",
    "lin2alaw",
    "lin2lin",
    "lin2ulaw",
    "max",
    "maxpp",
    "minmax",
    "mul",
    "ratecv",
    "reverse",
    "rms",
    "tomono",
    "tostereo",
    "ulaw2lin",
]

error: type[Exception] = g711.error
if _others is not None:
    error = _others.error
    # So that `except audioop.error` catches both; `fastcall.g711` alone does not import audioop.
    g711.error.__bases__ = (error,)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fastcall.audioop' has no attribute {name!r}")
    if _others is None:
        raise ImportError(
            f"fastcall.audioop.{name} needs audioop, which this Python does not have: pip install 'fastcall[audioop]'"
        )
    value = getattr(_others, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
