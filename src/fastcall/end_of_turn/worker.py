"""The process that runs an end-of-turn model: receives turns over a pipe and returns probabilities, one at a time.

``TURN_MODEL`` is a path to Smart Turn's file, or ``module:callable``: the name of a factory, called once and without
arguments in this process, which returns the model. A model is a callable of two arguments, the turn's audio (at most
8 s of LINEAR16 at 8 kHz) and its text, which returns the probability that the turn is over. A factory that raises
``UsageError`` keeps the server from starting.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from numbers import Real
from typing import Final

from fastcall.aio.frames import ParentPipe
from fastcall.callables import load_callable
from fastcall.end_of_turn.smart_turn import SmartTurnModel
from fastcall.errors import UsageError

__all__ = ["Model", "checked", "is_factory", "load", "main", "serve"]

Model = Callable[[bytes, str], float]

# Audio of live calls has priority over models.
NICENESS: Final = 5
# Waiting threads of OpenBLAS spin: Smart Turn would take twice the processor time, and half of it from live calls.
_THREAD_LIMITS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_FACTORY: Final = re.compile(r"\w+(\.\w+)*:\w+")
_SILENCE: Final = bytes(16_000)


def is_factory(name: str) -> bool:
    """Whether ``TURN_MODEL`` is ``module:callable``; else it is a path. Write ``./a:b`` for a file of such a name."""
    return _FACTORY.fullmatch(name) is not None


def load(name: str) -> Model:
    """Make the model, and call it once, so that it loads what would otherwise be loaded on first use.

    :param name: ``TURN_MODEL``
    :raises UsageError: it cannot be used
    """
    try:
        model: Model = load_callable("TURN_MODEL", name)() if is_factory(name) else SmartTurnModel(name)
        if not callable(model):
            raise TypeError(f"the factory must return a function of audio and text, not {model!r:.100}")
        checked(model(_SILENCE, ""))
    except UsageError:
        raise
    except Exception as error:  # whatever a user's model raises
        raise UsageError(f"TURN_MODEL={name} cannot be used: {_describe(error)}") from error
    return model


def checked(value: object) -> float:
    """Return the probability. :raises ValueError: it is none"""
    probability = float(value) if isinstance(value, Real) else math.nan
    if not 0 <= probability <= 1:  # NaN is neither
        raise ValueError(f"not a probability: {value!r:.100}")
    return probability


def serve(make: Callable[[], Model], parent: ParentPipe) -> None:
    """Load the model, send ``ready`` or the reason why not, then serve requests until the parent closes the pipe."""
    try:
        model = make()
    except UsageError as error:
        parent.send(refused=str(error))
        return
    os.nice(NICENESS)
    parent.send(ready=True)
    for head, pcm in parent:
        try:
            probability = checked(model(pcm, head["text"]))
        except Exception as error:  # sent to the server, which reports it; the model keeps serving
            parent.send(error=_describe(error))
        else:
            parent.send(probability=probability)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def main() -> None:
    """``python -m fastcall.end_of_turn.worker TURN_MODEL``."""
    for name in _THREAD_LIMITS:
        os.environ.setdefault(name, "1")  # read when numpy is imported
    parent = ParentPipe.of_stdio()
    serve(lambda: load(sys.argv[1]), parent)


if __name__ == "__main__":
    main()
