"""A user's own judgement of how complete a text is, named by ``TURN_COMPLETENESS``."""

from __future__ import annotations

import inspect
import logging
import math
import time

from fastcall.aio.log_throttle import LogThrottle
from fastcall.aio.stall_monitor import is_async
from fastcall.callables import load_callable
from fastcall.errors import UsageError
from fastcall.turns.completeness import UNDECIDED
from fastcall.turns.turn_policy import Completeness

__all__ = ["load_completeness"]

log = logging.getLogger("fastcall")

LOG_EVERY_S = 30.0


def load_completeness(name: str) -> Completeness:
    """The function that ``module:callable`` names, made safe: for what it raises, and for an answer that is no
    number, a text is undecided. It runs on the event loop, for every new text: it must answer at once.

    :raises UsageError: it does not exist, does not take one argument, the text, or is ``async def``
    """
    judge = load_callable("TURN_COMPLETENESS", name)
    try:
        inspect.signature(judge).bind("")
    except TypeError as error:
        raise UsageError(f"TURN_COMPLETENESS {name!r} is not a function of one argument, the text: {error}") from error
    except ValueError:
        pass  # a C function may have no signature
    if is_async(judge):
        raise UsageError(f"TURN_COMPLETENESS {name!r} is async: use a plain function, which answers at once")

    throttle = LogThrottle(LOG_EVERY_S)

    def safe(text: str) -> float:
        try:
            complete = float(judge(text))
        except (Exception, SystemExit):  # whatever a user's function may raise must not end a call, or all of them
            held_back = throttle.passes(now=time.monotonic())
            if held_back is not None:
                what = "TURN_COMPLETENESS failed; the text is taken as undecided (%d more not logged)"
                log.exception(what, held_back)
            return UNDECIDED
        return complete if math.isfinite(complete) else UNDECIDED

    return safe
