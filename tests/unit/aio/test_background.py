"""The threads that serve threaded code."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fastcall.aio.background import shared_background
from fastcall.errors import UsageError

PATIENCE_S = 30.0


async def current() -> str:
    return threading.current_thread().name


def test_there_is_one_and_it_is_of_this_process() -> None:
    background = shared_background()
    assert shared_background() is background
    assert not background.is_inherited
    background.check()
    assert background.run(current(), PATIENCE_S, "nothing") == "fastcall-loop"


def test_a_wait_that_is_too_long_says_what_for() -> None:
    background, go_on = shared_background(), threading.Event()
    background.call_soon(go_on.wait, PATIENCE_S)
    try:
        with pytest.raises(TimeoutError, match=r"the kettle did not boil within 0.01 s: .*event loop is blocked"):
            background.run(current(), 0.01, "the kettle did not boil")
    finally:
        go_on.set()


def test_an_error_of_what_was_run_is_that_of_who_waits() -> None:
    async def time_out() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        shared_background().run(time_out(), PATIENCE_S, "nothing")


def test_its_own_thread_cannot_wait_for_itself() -> None:
    background = shared_background()

    async def wait() -> None:
        background.run(current(), PATIENCE_S, "nothing")

    with pytest.raises(UsageError, match="event loop's own thread"):
        background.run(wait(), PATIENCE_S, "nothing")


def test_a_task_that_wants_to_end_the_process_does_not_end_the_loop() -> None:
    background = shared_background()

    async def leave() -> None:
        raise SystemExit

    task = asyncio.run_coroutine_threadsafe(leave(), background.loop)
    with pytest.raises(SystemExit):
        task.result(PATIENCE_S)
    assert background.run(current(), PATIENCE_S, "nothing") == "fastcall-loop"
