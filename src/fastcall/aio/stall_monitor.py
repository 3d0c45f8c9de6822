"""User code on the event loop: recognizes async functions, and detects steps that block the loop."""

from __future__ import annotations

import contextlib
import inspect
import time
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any

__all__ = ["STALL_S", "is_async", "watch_steps"]

# A longer step between two awaits delays every call's audio.
STALL_S = 0.2


def is_async(function: Callable[..., Any]) -> bool:
    """Whether it is an ``async def``, or an object with an async ``__call__``."""
    call = getattr(function, "__call__", None)  # noqa: B004 - such an object counts too
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


@types.coroutine
def watch_steps(
    awaitable: Awaitable[None],
    on_stall: Callable[[float], None],
    is_given_up: Callable[[], bool] = lambda: False,
) -> Generator[Any, Any, None]:
    """Await it, and report the seconds of each step that took longer than ``STALL_S``.

    :param is_given_up: whether to abandon it at the next cancellation, without letting it clean up
    :raises RuntimeError: it raised ``SystemExit`` or ``KeyboardInterrupt``, which would end the loop, and every call
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
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(f"a call's code may not end the process: {error!r}") from error
        finally:
            took_s = time.perf_counter() - began_at
            if took_s > STALL_S:
                on_stall(took_s)
        try:
            value = yield waited_for
            resume = steps.send
        except BaseException as error:
            if is_given_up():
                with contextlib.suppress(RuntimeError):  # it awaits even then
                    steps.close()
                raise
            value, resume = error, steps.throw
