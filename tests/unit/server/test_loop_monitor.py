"""The loop's health: a loop that stands still is seen, one that rests is not accused."""

from __future__ import annotations

import asyncio
import time

from fastcall.metrics import Metrics
from fastcall.server.loop_monitor import WINDOW, LoopMonitor


async def looks(metrics: Metrics, *, count: int, max_lag_s: float, hold_s: float = 0.0) -> tuple[bool, bool]:
    """(strained, saturated) after so many looks, at each of which the loop stands still for ``hold_s``."""
    done = asyncio.Event()
    seen = 0

    def poll() -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()
        if hold_s:
            asyncio.get_running_loop().call_later(0.09, stand_still)

    def stand_still() -> None:
        until = time.monotonic() + hold_s
        while time.monotonic() < until:
            pass

    watch = LoopMonitor(metrics, max_lag_s=max_lag_s, on_poll=poll)
    async with asyncio.timeout(60):
        await done.wait()
    verdict = watch.is_strained, watch.is_saturated
    watch.stop()
    return verdict


async def test_a_loop_that_stands_still_is_late() -> None:
    metrics = Metrics()
    strained, saturated = await looks(metrics, count=WINDOW + 1, max_lag_s=0.03, hold_s=0.1)
    assert (strained, saturated) == (True, True)
    assert metrics.loop_lag_seconds > 0.03
    assert sum(metrics.loop_lateness_seconds.counts) >= WINDOW
    assert 0 < metrics.loop_busy_ratio <= 1.5


async def test_a_loop_is_not_judged_by_a_moment() -> None:
    assert await looks(Metrics(), count=3, max_lag_s=0.0, hold_s=0.05) == (False, False)


async def test_it_looks_again_though_who_is_told_raises() -> None:
    again, looks_so_far = asyncio.Event(), iter(range(3))
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def poll() -> None:
        if next(looks_so_far) == 2:
            again.set()
        else:
            raise RuntimeError("cannot look")

    watch = LoopMonitor(Metrics(), max_lag_s=1.0, on_poll=poll)
    async with asyncio.timeout(60):
        await again.wait()
    watch.stop()
    assert [str(error) for error in told] == ["cannot look"] * 2
