"""Debounced texts with a timer: none repeated, none stale."""

from __future__ import annotations

import asyncio

from fastcall.recognition.partials import PartialTimer
from sim.clock import in_virtual_time


@in_virtual_time
async def test_the_newest_text_comes_when_the_interval_has_passed() -> None:
    loop, out = asyncio.get_running_loop(), []
    last = loop.create_future()

    def take(text: str) -> None:
        out.append((text, loop.time()))
        if text == "d":
            last.set_result(None)

    timer = PartialTimer(0.05, take)
    for text in ("a", "a", "b", "c", "", "d"):
        timer.offer(text)
    await asyncio.wait_for(last, 5)
    assert [text for text, _ in out] == ["a", "d"]
    assert out[1][1] - out[0][1] >= 0.049
    timer.stop()


@in_virtual_time
async def test_a_reset_forgets_what_waits_and_what_was_said() -> None:
    out: list[str] = []
    timer = PartialTimer(0.0, out.append)
    timer.offer("yes")
    timer.reset()
    timer.offer("yes")
    assert out == ["yes", "yes"]
    timer.stop()
    timer.offer("no")
    assert out == ["yes", "yes"]


@in_virtual_time
async def test_without_a_callback_nothing_happens() -> None:
    PartialTimer(0.1, None).offer("a")
