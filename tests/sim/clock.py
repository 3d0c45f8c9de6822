"""An event loop whose time is a number: no sockets, no threads, no waiting. What is scheduled next happens next."""

from __future__ import annotations

import asyncio
import functools
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["SimulationStuckError", "VirtualLoop", "cancel_all", "elapse", "in_virtual_time", "run_virtual"]

T = TypeVar("T")


class SimulationStuckError(Exception):
    """Nothing is scheduled any more, and yet somebody waits."""


class _Selector:
    """Where a real loop waits for its sockets, this one moves its clock to the next timer."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise SimulationStuckError("nothing is scheduled any more, and yet somebody waits")
        if timeout > 0:
            self._loop.jump()
        return []


class VirtualLoop(BaseEventLoop):
    """Runs unchanged asyncio code in virtual time, which begins at 1000 s: a time of 0 would hide wrong defaults."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 1000.0
        self._selector = _Selector(self)
        self.errors: list[str] = []
        """What callbacks and tasks raised that nobody took."""
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._virtual_s

    def jump(self) -> None:
        """To the time of the next timer."""
        self._virtual_s = max(self._virtual_s, self._scheduled[0].when())

    def stand_still(self, seconds: float) -> None:
        """Time passes, and the loop does nothing in it, as when a callback takes so long."""
        self._virtual_s += seconds

    def timers(self) -> list[asyncio.TimerHandle]:
        """Timers that are still to fire."""
        return [handle for handle in self._scheduled if not handle.cancelled()]

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run_virtual(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run ``main`` to its end on ``loop``, which stays open for inspection."""
    asyncio.set_event_loop(None)
    return loop.run_until_complete(main)


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs on a ``VirtualLoop`` of its own, on which nothing may be raised unnoticed."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        loop = VirtualLoop()
        try:
            run_virtual(test(*args, **kwargs), loop)
        finally:
            run_virtual(cancel_all(), loop)
            loop.close()
        assert loop.errors == []

    return run


async def cancel_all() -> None:
    """End what still runs, as ``asyncio.run`` does."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    for outcome in await asyncio.gather(*left, return_exceptions=True):
        if isinstance(outcome, Exception):
            asyncio.get_running_loop().call_exception_handler({"message": "raised at the end", "exception": outcome})


async def elapse(seconds: float) -> None:
    """Let so much virtual time pass."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(seconds, over.set_result, None)
    await over
