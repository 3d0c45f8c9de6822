"""A user's coroutine: awaited as it is, and its long steps seen."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time

import pytest

from fastcall.aio import stall_monitor as steps
from fastcall.aio.stall_monitor import is_async, watch_steps


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
    async with asyncio.timeout(60):
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


@pytest.mark.parametrize("swallowed", [asyncio.CancelledError, BaseException])
async def test_one_that_will_not_be_cancelled_is_given_up(swallowed: type[BaseException]) -> None:
    given_up: list[bool] = []
    seen: list[BaseException] = []

    async def work() -> None:
        while len(seen) < 5:
            try:
                await asyncio.Event().wait()
            except swallowed as error:
                seen.append(error)

    awaited = work()
    task = asyncio.ensure_future(_give_up(awaited, given_up))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    assert len(seen) == 3
    given_up.append(True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(seen) == (3 if swallowed is asyncio.CancelledError else 4)
    with contextlib.suppress(RuntimeError):  # that it would not close is seen, and after five times it does
        awaited.close()


async def _give_up(work: object, given_up: list[bool]) -> None:
    await watch_steps(work, lambda _: None, lambda: bool(given_up))  # type: ignore[arg-type]
