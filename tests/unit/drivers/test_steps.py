"""A user's coroutine: awaited as it is, and its long steps seen."""

from __future__ import annotations

import asyncio
import functools
import time

import pytest

from fastcall.drivers import steps
from fastcall.drivers.steps import is_async, watch_steps


async def test_it_is_awaited_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stalls: list[float] = []
    done: list[str] = []
    begun = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            done.append("cancelled")
            raise

    task = asyncio.ensure_future(_watch(work(), stalls))
    async with asyncio.timeout(5):
        await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["cancelled"]

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await _watch(fail(), stalls)
    assert stalls == []


async def _watch(work: object, stalls: list[float]) -> None:
    await watch_steps(work, stalls.append)  # type: ignore[arg-type]


async def test_a_step_that_keeps_the_loop_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "STALL_S", 0.02)
    stalls: list[float] = []

    async def work() -> None:
        await asyncio.sleep(0)
        until = time.monotonic() + 0.03
        while time.monotonic() < until:
            pass
        await asyncio.sleep(0)

    await _watch(work(), stalls)
    assert len(stalls) == 1
    assert stalls[0] >= 0.03


def test_what_runs_on_the_loop() -> None:
    async def function() -> None: ...

    class Plain:
        def __call__(self) -> None: ...

    class Async:
        async def __call__(self) -> None: ...

    assert is_async(function)
    assert is_async(Async())
    assert is_async(functools.partial(function))
    assert not is_async(Plain())
    assert not is_async(print)
