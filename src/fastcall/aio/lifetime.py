"""How a process ends: when asked to, in bounded time, and not because of one call's code."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["LastResort", "run_to_the_end"]

log = logging.getLogger("fastcall")


class LastResort:
    """Ends the process by force if it has not ended in time: because of code that ignores cancellation, a thread that
    never returns, or a stuck disk. Any thread, signal handlers too.

    :param leave: called with the exit status when the time is over, on a separate thread
    """

    def __init__(self, leave: Callable[[int], object] = os._exit) -> None:
        self._leave = leave
        self._orders: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="fastcall-last-resort", daemon=True)
        self._thread.start()

    def within(self, seconds: float, status: int) -> None:
        """Give the process so long to end, from now. An earlier deadline set before stays, so that repeated signals do
        not extend it; except with status 0, which means that only leftovers remain."""
        self._orders.put(
            (time.monotonic() + seconds, status)
        )  # the only safe way to wake a thread from a signal handler

    def close(self) -> None:
        """Never."""
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        order = self._orders.get()
        while order is not None:
            at, status = order
            try:
                newer = self._orders.get(timeout=max(at - time.monotonic(), 0.0))
            except queue.Empty:
                self._leave(status)
                return
            order = newer if newer is None or newer[1] == 0 else min(order, newer)


def run_to_the_end(
    main: Coroutine[Any, Any, None],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    on_over: Callable[[], None] = lambda: None,
) -> None:
    """Run it like ``asyncio.run``, except that ``SystemExit`` and ``KeyboardInterrupt`` of code that it has started
    are logged, and it continues. One call's code cannot end the others.

    :param on_over: called when it is over, before its leftovers are cancelled and awaited
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        while not task.done():
            try:
                loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                if task.done():
                    raise
                log.error("some code tried to end the process: %r; ignored", error, exc_info=error)
            finally:
                if task.done():
                    on_over()
