"""A user's own fallback: one function, ``pcm, language -> text``, plain or ``async``."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from fastcall.errors import RecognizerError

__all__ = ["CallableFallback", "FallbackFunction"]

FallbackFunction = Callable[[bytes, str], str | Awaitable[str]]
"""LINEAR16 at 8 kHz mono and a language (BCP 47) to the text; empty for none."""

THREADS = 4
MAX_WAITING = 64


class CallableFallback:
    """Implements ``Fallback`` with ``function``. An ``async`` one runs on the loop, a plain one in one of four threads,
    where it must release the GIL while it works, as I/O does; errors are reported, and the request is repeated once.

    A plain function that never returns blocks its thread: it needs its own timeout.
    """

    source = "fallback"

    def __init__(self, function: FallbackFunction) -> None:
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__ counts too
        )
        self._threads: ThreadPoolExecutor | None = None
        self._running = 0

    async def recognize(self, pcm: bytes, language: str, *, urgent: bool = True) -> str:
        """See the port. :raises TypeError: it did not return a string"""
        if self._running >= MAX_WAITING or (not urgent and self._running >= MAX_WAITING // 2):
            raise RecognizerError("RESOURCE_EXHAUSTED", f"{self._running} utterances wait for the fallback")
        self._running += 1
        try:
            text = await self._call(pcm, language)
        except (SystemExit, KeyboardInterrupt, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            # Raised by a task, these would end the loop, or look like a cancellation.
            raise RuntimeError(f"a call's code may not end the process: {error!r}") from error
        finally:
            self._running -= 1
        if not isinstance(text, str):
            raise TypeError(f"the fallback returned {type(text).__name__}, not a string")
        return text

    async def aclose(self) -> None:
        """Start nothing more; do not wait for a plain function that still runs."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, pcm: bytes, language: str) -> object:
        if self._is_async:
            return await self._function(pcm, language)  # type: ignore[misc]
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fastcall-fallback")
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._function, pcm, language)
        result = await future
        return await result if inspect.isawaitable(result) else result
