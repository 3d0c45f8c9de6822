"""Users' callbacks: run in order, on a few threads, isolated from our own code.

``UserCallback`` is the only place that catches exceptions of a user's function. ``CallbackPool`` runs such functions
for threaded code: each session has its own ``CallbackQueue``, whose callbacks run one at a time and in order.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from fastcall.aio.stall_monitor import is_async
from fastcall.errors import UsageError

__all__ = ["CallbackPool", "CallbackQueue", "UserCallback"]

log = logging.getLogger("fastcall.session")

MAX_THREADS: Final = 8
STALL_S: Final = 0.05
"""Callbacks that have waited for so long get another thread, because those before them are slow."""
MAX_WAITING: Final = 1000
IDLE_S: Final = 10.0
"""A thread that is idle for so long ends, unless it is the only one."""
MAX_KINDS: Final = 16


class UserCallback:
    """A user's function. Calling it never raises: exceptions are logged with traceback, once per type and place. Any
    thread.

    :param log: where exceptions are logged; its lines should name the call
    :param on_exit: called with ``SystemExit`` and ``KeyboardInterrupt``, after logging them; without it they have no
        effect
    :raises UsageError: it is async, and nobody would await its result
    """

    __slots__ = ("_function", "_kinds", "_log", "_on_exit")

    def __init__(
        self,
        function: Callable[..., object],
        *,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger] = log,
        on_exit: Callable[[BaseException], None] | None = None,
    ) -> None:
        if is_async(function):
            raise UsageError(
                f"the callback {function!r} is async, and nobody would await it: pass a plain function, which may "
                "call asyncio.run_coroutine_threadsafe"
            )
        self._function = function
        self._log = log
        self._on_exit = on_exit
        self._kinds: set[tuple[type[BaseException], str, int]] = set()

    def __call__(self, *arguments: Any) -> None:
        try:
            self._function(*arguments)
        except BaseException as error:
            # A user's code may raise anything, and our caller cannot handle it.
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        place = ("", 0) if traceback is None else (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
        kind = (type(error), *place)
        if kind not in self._kinds and len(self._kinds) < MAX_KINDS:
            self._kinds.add(kind)
            self._log.error("a callback failed", exc_info=error)
        if self._on_exit is not None and isinstance(error, SystemExit | KeyboardInterrupt):
            self._on_exit(error)


class CallbackPool:
    """The threads of all queues: one, and up to eight while callbacks are slow. They are daemons.

    :param call_later: calls a function in so many seconds on another thread; may be called from any
    """

    def __init__(self, call_later: Callable[[float, Callable[[], None]], None]) -> None:
        self._call_later = call_later
        self._changed = threading.Condition()
        self._ready: deque[CallbackQueue] = deque()
        self._threads = 0
        self._idle = 0
        self._running = 0
        self._is_watched = False
        with self._changed:
            self._start_thread()

    @property
    def threads(self) -> int:
        """Number of threads. Any thread."""
        return self._threads

    def queue(self) -> CallbackQueue:
        """A new queue for one session."""
        return CallbackQueue(self)

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until all queued callbacks have run; returns whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._ready and not self._running, timeout_s)

    def put(self, queue: CallbackQueue, callback: Callable[[], object]) -> None:
        """See ``CallbackQueue.put``."""
        with self._changed:
            if len(queue.waiting) >= MAX_WAITING:
                if not queue.dropped:
                    log.error("%d callbacks wait for one that does not return; more are dropped", MAX_WAITING)
                queue.dropped += 1
                return
            queue.waiting.append(callback)
            if not queue.is_active:
                queue.is_active = True
                self._offer(queue)

    def _offer(self, queue: CallbackQueue) -> None:
        queue.ready_at = time.monotonic()
        self._ready.append(queue)
        if self._idle:
            self._changed.notify_all()  # those who wait for an idle pool wait on the same condition
        if len(self._ready) > self._idle:
            self._watch()

    def _watch(self) -> None:
        if not self._is_watched and self._threads < MAX_THREADS:
            self._is_watched = True
            self._call_later(STALL_S, self._poll)

    def _poll(self) -> None:
        """Start another thread, if all are blocked by callbacks that do not return."""
        with self._changed:
            self._is_watched = False
            if len(self._ready) <= self._idle:
                return
            if time.monotonic() - self._ready[0].ready_at >= STALL_S:
                self._start_thread()
            self._watch()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="fastcall-callbacks", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more, or the interpreter is about to exit
            log.warning("cannot start another thread for callbacks: %s", error)
        else:
            self._threads += 1

    def _work(self) -> None:
        while (queue := self._take()) is not None:
            queue.run_next()
            with self._changed:
                self._running -= 1
                if queue.waiting:
                    self._offer(queue)
                else:
                    queue.is_active = False
                    self._changed.notify_all()

    def _take(self) -> CallbackQueue | None:
        with self._changed:
            while not self._ready:
                self._idle += 1
                has_work = self._changed.wait_for(lambda: self._ready, None if self._threads == 1 else IDLE_S)
                self._idle -= 1
                if not has_work and self._threads > 1:
                    self._threads -= 1
                    return None
            self._running += 1
            return self._ready.popleft()


class CallbackQueue:
    """One session's callbacks: one at a time, in order. Any thread. :meth:`put` returns at once."""

    __slots__ = ("_pool", "_thread", "dropped", "is_active", "ready_at", "waiting")

    def __init__(self, pool: CallbackPool) -> None:
        self._pool = pool
        self._thread: int | None = None
        self.waiting: deque[Callable[[], object]] = deque()
        """Owned by the pool, under its lock, like the next three."""
        self.is_active = False
        self.ready_at = 0.0
        self.dropped = 0

    def put(self, callback: Callable[[], object]) -> None:
        """Queue ``callback``. It should be a ``UserCallback``; exceptions of other functions are logged."""
        self._pool.put(self, callback)

    @property
    def is_current(self) -> bool:
        """Whether the caller is one of this queue's callbacks."""
        return self._thread == threading.get_ident()

    def run_next(self) -> None:
        """The pool's."""
        callback = self.waiting.popleft()
        self._thread = threading.get_ident()
        try:
            callback()
        except BaseException:
            # The pool's threads serve all sessions.
            log.exception("a callback failed")
        finally:
            self._thread = None
