"""How a process ends; tests/wire/test_ends.py has whole processes."""

from __future__ import annotations

import asyncio
import queue

import pytest
import uvloop

from fastcall.aio.lifetime import LastResort, run_to_the_end
from peers import PATIENCE_S


def test_who_has_not_ended_in_time_is_left_with_the_status_of_the_earliest_end() -> None:
    left: queue.Queue[int] = queue.Queue()
    resort = LastResort(left.put)
    resort.within(3600, 1)
    resort.within(0, 2)
    assert left.get(timeout=PATIENCE_S) == 2
    assert left.empty()


def test_an_end_that_is_set_is_not_put_off() -> None:
    left: queue.Queue[int] = queue.Queue()
    resort = LastResort(left.put)
    resort.within(0.2, 2)
    for _ in range(20):
        resort.within(3600, 1)
    assert left.get(timeout=PATIENCE_S) == 2
    assert left.empty()


def test_what_is_left_when_all_is_over_has_its_own_time_and_is_no_failure() -> None:
    left: queue.SimpleQueue[int] = queue.SimpleQueue()
    last = LastResort(left.put)
    last.within(3600.0, 1)
    last.within(0.01, 0)
    assert left.get(timeout=30) == 0


def test_one_that_is_not_needed_leaves_nobody() -> None:
    left: queue.Queue[int] = queue.Queue()
    resort = LastResort(left.put)
    resort.within(3600, 1)
    resort.close()
    assert left.empty()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_code_that_was_started_ends_nothing_but_itself(
    loop_factory: type, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def leave() -> None:
        raise error

    async def main() -> None:
        asyncio.get_running_loop().call_soon(leave)
        for _ in range(3):
            await asyncio.sleep(0)
        told.append("to its end")

    run_to_the_end(main(), loop_factory=loop_factory, on_over=lambda: told.append("over"))
    assert told == ["to its end", "over"]
    assert "some code tried to end the process" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("wrong")])
def test_its_own_end_is_its_own(error: BaseException) -> None:
    told: list[str] = []

    async def main() -> None:
        raise error

    with pytest.raises(type(error)):
        run_to_the_end(main(), loop_factory=asyncio.new_event_loop, on_over=lambda: told.append("over"))
    assert told == ["over"]
