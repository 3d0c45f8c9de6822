"""Debounced partials: the core's rule, with a timer for the waiting text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastcall._codec import Debouncer

__all__ = ["PartialTimer"]


class PartialTimer:
    """Passes texts to ``callback``: never unchanged, never closer than the interval, and never leaves out the last one.

    Loop thread only. Without a callback it does nothing.
    """

    def __init__(self, interval_s: float, callback: Callable[[str], None] | None) -> None:
        self._debouncer = Debouncer(interval_s)
        self._callback = callback
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, text: str) -> None:
        """The newest text; empty ones are ignored."""
        if self._callback is None or not text:
            return
        loop = asyncio.get_running_loop()
        out = self._debouncer.offer(text, now=loop.time())
        if out is not None:
            self._callback(out)
        self._arm(loop)

    def reset(self) -> None:
        """A final arrived: the waiting text is obsolete, and the same text may be spoken again."""
        self._debouncer.reset()

    def stop(self) -> None:
        """No more partials."""
        self._callback = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        due_at = self._debouncer.deadline
        if due_at is not None and self._timer is None:
            self._timer = loop.call_at(due_at, self._fire, loop, due_at)

    def _fire(self, loop: asyncio.AbstractEventLoop, planned: float) -> None:
        self._timer = None
        # A timer may fire a clock tick early; use the planned time then.
        text = self._debouncer.fire(now=max(planned, loop.time()))
        if text is not None and self._callback is not None:
            self._callback(text)
        self._arm(loop)
