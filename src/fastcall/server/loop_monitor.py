"""Measures how well the event loop keeps up."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from statistics import median

from fastcall.metrics import Metrics

__all__ = ["LoopMonitor"]

EVERY_S = 0.1
WINDOW = 20
# A loop that is out of CPU time; a loop that waits for the processor is late, but not busy.
BUSY_SHARE = 0.95
BUSY_LAG_S = 0.02


class LoopMonitor:
    """Measures ten times a second how late the loop is and how much of a core its thread uses; call ``stop`` to end.

    Loop thread only; create it on the running loop.

    :param max_lag_s: beyond this lag, calls suffer and no more are accepted
    :param on_poll: called at each measurement
    """

    def __init__(self, metrics: Metrics, *, max_lag_s: float, on_poll: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._metrics = metrics
        self._max_lag_s = max_lag_s
        self._on_poll = on_poll
        self._lags: deque[float] = deque(maxlen=WINDOW)
        self._looks: deque[tuple[float, float]] = deque([(time.monotonic(), time.thread_time())], maxlen=WINDOW)
        self._due_at = time.monotonic() + EVERY_S
        self._timer = self._loop.call_later(EVERY_S, self._poll)

    @property
    def is_saturated(self) -> bool:
        """Whether another call would hurt the live ones."""
        return self._is_beyond(1.0)

    @property
    def is_strained(self) -> bool:
        """Whether it is halfway there."""
        return self._is_beyond(0.5)

    def stop(self) -> None:
        """Stop measuring."""
        self._timer.cancel()

    def _is_beyond(self, share: float) -> bool:
        lag_s, busy = self._metrics.loop_lag_seconds, self._metrics.loop_busy_ratio
        return lag_s > self._max_lag_s * share or (busy > BUSY_SHARE and lag_s > BUSY_LAG_S * share)

    def _poll(self) -> None:
        now, used = time.monotonic(), time.thread_time()
        lag_s = max(0.0, now - self._due_at)
        self._lags.append(lag_s)
        self._metrics.loop_lateness_seconds.observe(lag_s)
        self._metrics.loop_lag_seconds = median(self._lags) if len(self._lags) == WINDOW else 0.0
        since, used_before = self._looks[0]
        self._metrics.loop_busy_ratio = (used - used_before) / (now - since) if now > since else 0.0
        self._looks.append((now, used))
        self._due_at = time.monotonic() + EVERY_S
        self._timer = self._loop.call_later(EVERY_S, self._poll)
        if self._on_poll is not None:
            self._on_poll()  # may raise; the timer is already set
