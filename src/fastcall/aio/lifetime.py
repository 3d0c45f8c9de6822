"""How a process ends: when it is asked to, in bounded time, and not because some call's code would like it to."""

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
    """Ends the process by force when it has not ended in time: code that will not be cancelled, a thread that is waited
    for and never returns, a disk that takes nothing. Any thread, signal handlers too.

    :param leave: called with the exit status when the time is over, by a thread of its own
    """

    def __init__(self, leave: Callable[[int], object] = os._exit) -> None:
        self._leave = leave
        self._orders: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="fastcall-last-resort", daemon=True)
        self._thread.start()

    def within(self, seconds: float, status: int) -> None:
        """From now the process has so long to end. An earlier end that was set before stands: who asks again and again,
        because nothing happens, does not put it off. With status 0, which says that all but leftovers is over, it does
        not."""
        self._orders.put((time.monotonic() + seconds, status))  # the one way to wake a thread from a signal handler

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
    """Run it as ``asyncio.run`` does, but for this: where code that it has started, and not itself, raises
    ``SystemExit`` or ``KeyboardInterrupt``, that is logged, and it goes on. A call's code does not end the others'.

    :param on_over: called when it is over, before what it has left behind is cancelled and waited for
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
                log.error("something wants to end the process: %r; it goes on", error, exc_info=error)
            finally:
                if task.done():
                    on_over()
