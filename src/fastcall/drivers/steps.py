"""A user's code on the event loop: how to know it, and how to see that it keeps the loop."""

from __future__ import annotations

import inspect
import time
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any

__all__ = ["STALL_S", "is_async", "watch_steps"]

# A step between two awaits that takes longer has kept every call's audio waiting.
STALL_S = 0.2


def is_async(function: Callable[..., Any]) -> bool:
    """Whether it is an ``async def``, or an object with an async ``__call__``."""
    call = getattr(function, "__call__", None)  # noqa: B004 - such an object is one as well
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


@types.coroutine
def watch_steps(awaitable: Awaitable[None], on_stall: Callable[[float], None]) -> Generator[Any, Any, None]:
    """Await it, and tell of each step that took longer than ``STALL_S``, in seconds.

    :raises RuntimeError: it raised ``SystemExit``, which would end the loop, and with it every call
    """
    steps = awaitable.__await__()
    resume: Callable[[Any], Any] = steps.send
    value: Any = None
    while True:
        began_at = time.perf_counter()
        try:
            waited_for = resume(value)
        except StopIteration:
            return
        except SystemExit as error:
            raise RuntimeError(f"one call's code does not end the process: {error!r}") from error
        finally:
            took_s = time.perf_counter() - began_at
            if took_s > STALL_S:
                on_stall(took_s)
        try:
            value = yield waited_for
            resume = steps.send
        except BaseException as error:
            value, resume = error, steps.throw
