"""What a test in virtual time leaves behind."""

from __future__ import annotations

import asyncio

from sim.clock import elapse, in_virtual_time


def test_what_is_still_running_at_the_end_is_ended_on_its_loop():
    """Thrown away instead, its coroutine would be ended whenever it is collected: in another test, on a closed loop."""
    ended = []

    async def runs_on(started: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        try:
            started.set()
            await loop.create_future()
        finally:
            loop.call_soon(ended.append, "ended")
            await elapse(1)

    @in_virtual_time
    async def leaves_a_task() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(runs_on(started))
        await started.wait()
        assert not task.done()

    leaves_a_task()
    assert ended == ["ended"]
