"""Runs sessions for threaded code: one event loop thread and the callback threads, created per process on first use.

A forked child has no threads of its parent. It starts with none; objects that it inherited are unusable, and say so
(``Background.check``).
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from fastcall.aio.callbacks import CallbackPool
from fastcall.errors import UsageError

__all__ = ["Background", "shared_background"]

log = logging.getLogger("fastcall.session")

EXIT_S: Final = 2.0
"""How long interpreter exit waits for sessions, connections and callbacks, in total."""
EXIT_CALLBACKS_S: Final = 0.3

T = TypeVar("T")


class Background:
    """The process's loop thread and callback threads. Any thread; both are daemons."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.callbacks = CallbackPool(self._call_later)
        self._lock = threading.Lock()
        self._made: dict[Callable[[Background], Any], Any] = {}
        self._at_exit: list[Callable[[float], Awaitable[None]]] = []
        self._thread = threading.Thread(target=self._run, name="fastcall-loop", daemon=True)
        self._thread.start()
        atexit.register(self._exit)

    def once(self, make: Callable[[Background], T]) -> T:
        """The result of ``make(self)``, called once for each ``make``. Any thread."""
        with self._lock:
            if make not in self._made:
                self._made[make] = make(self)
            made: T = self._made[make]
            return made

    @property
    def is_inherited(self) -> bool:
        """Whether this process is a fork of the one with the threads."""
        return self is not _shared

    def check(self) -> None:
        """Raise if the threads are not of this process.

        :raises UsageError: this process was forked after they were created
        """
        if self.is_inherited:
            raise UsageError(
                f"this belongs to process {self._pid}, of which this one (process {os.getpid()}) is a fork: only that "
                "one can use it. Create a new session after the fork."
            )

    def check_may_wait(self) -> None:
        """Raise on the loop thread.

        :raises UsageError: the caller is the loop thread, which cannot wait for itself
        """
        if threading.current_thread() is self._thread:
            raise UsageError("this cannot be called on the event loop's own thread, which would wait for itself")

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float, what: str) -> T:
        """Run ``coroutine`` on the loop thread and wait for it.

        :param what: what did not happen in time, for the error's message
        :raises TimeoutError: it was not done within ``timeout_s``
        :raises UsageError: the caller is the loop thread, which cannot wait for itself
        """
        try:
            self.check_may_wait()
        except UsageError:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.done():  # the coroutine's own timeout, not that of the wait
                raise
            raise TimeoutError(f"{what} within {timeout_s:g} s: fastcall's event loop is blocked") from None

    def call_soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function`` on the loop thread."""
        self.loop.call_soon_threadsafe(function, *arguments)

    def at_exit(self, step: Callable[[float], Awaitable[None]]) -> None:
        """Await ``step(seconds)`` on the loop before the interpreter exits, in reverse order of registration."""
        self._at_exit.append(step)

    def _call_later(self, delay_s: float, function: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(self.loop.call_later, delay_s, function)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while True:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # Raised by a user's coroutine and propagated by asyncio; the loop serves all sessions, so it continues.
                log.exception("code on the event loop raised an exception that would end it")
            else:
                return

    # --- the end ------------------------------------------------------------------------------------------

    def _exit(self) -> None:
        if os.getpid() != self._pid:
            return  # a fork: threads, sockets and remaining work belong to the parent
        ends_at = time.monotonic() + EXIT_S
        try:
            self.run(self._close(EXIT_S - 2 * EXIT_CALLBACKS_S), EXIT_S - EXIT_CALLBACKS_S, "sessions did not close")
        except TimeoutError as error:
            log.warning("%s", error)
        if not self.callbacks.wait_until_idle(max(0.0, ends_at - time.monotonic())):
            log.warning("callbacks had not returned when the interpreter exited")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(EXIT_CALLBACKS_S)

    async def _close(self, timeout_s: float) -> None:
        ends_at = self.loop.time() + timeout_s
        for step in reversed(self._at_exit):
            try:
                await step(max(0.1, ends_at - self.loop.time()))
            except Exception:
                # Run the other steps too.
                log.exception("closing at interpreter exit failed")
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


_shared: Background | None = None
_lock = threading.Lock()
# Keep inherited objects: deleting them would close an epoll and connections that the parent still uses.
_inherited: list[Background] = []


def shared_background() -> Background:
    """The process's instance, created on first use. Any thread."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = Background()
        return _shared


def _forked() -> None:
    global _shared, _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    if _shared is not None:
        _inherited.append(_shared)
        _shared = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
