"""What a server holds after many calls over real sockets and gRPC is what it held after a few."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from peers import Phone, Served, serving, tones, turns, words_of_call
from thoroughness import amount

FIRST, MORE, AT_ONCE = 24, amount(96, thorough=240), 24
OF_A_CALL = (
    "CallRunner",
    "CallMachine",
    "RecognitionSession",
    "RecognitionMachine",
    "ProviderStream",
    "ReplayBuffer",
    "Task",
)
OURS = (
    *OF_A_CALL[:-1],
    "MediaConnection",
    "WebSocketFastPath",
    "GrpcCall",
    "NativeStream",
    "AgentController",
    "Call",
    "AudioPlayer",
)
WORLD = ("Task", "TimerHandle", "Thread", "Channel")


@pytest.fixture(autouse=True)
def without_what_was_there_before() -> Iterator[None]:
    """The collector need not go through half a million objects each time that it is asked what there is."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def held() -> Counter[str]:
    """Threads, descriptors, tasks, and everything of fastcall's own, by kind."""
    gc.collect()
    # The loop lets go of a cancelled timer in its own time: some tens of them wait, whatever happened before.
    # By type(), because isinstance() asks a weak proxy's object, which may be gone.
    handles = (asyncio.Handle, asyncio.TimerHandle)
    kinds = (type(each) for each in gc.get_objects() if not (type(each) in handles and each.cancelled()))
    counts = Counter(k.__name__ for k in kinds if str(k.__module__).startswith("fastcall.") or k.__name__ in WORLD)
    counts["threads"] = threading.active_count()
    counts["descriptors"] = len(os.listdir("/proc/self/fd"))
    counts["tasks"] = len(asyncio.all_tasks())
    return counts


async def place_calls(served: Served, first: int, count: int) -> Counter[str]:
    """So many calls, some at once; what was held while they were on."""
    during = Counter[str]()

    async def place(number: int) -> None:
        async with Phone(served.url, f"leftover {number}") as phone:
            await phone.start()
            await phone.say(tones(words_of_call(number, 2)))
            await served.transcripts.wait_for(phone.call_sid, "utterance_begin")
            if not during:
                during.update(held())
            if number % 3:
                await phone.stop()  # a third hang up without it, in mid-word
            else:
                await phone.say(tones(words_of_call(number, 1))[:1600])
        await served.transcripts.wait_for(phone.call_sid, "call_ended")

    for batch in range(first, first + count, AT_ONCE):
        await asyncio.gather(*(place(number) for number in range(batch, batch + AT_ONCE)))
    return during


async def least() -> Counter[str]:
    """What is held once closing handshakes are over: when nothing more goes."""
    now, before = held(), Counter[str]()
    while now != before:
        await turns(20)
        now, before = held(), now
    return now


async def test_many_calls_leave_nothing_that_few_did_not(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        await place_calls(served, 0, FIRST)
        before = await least()
        during = await place_calls(served, FIRST, MORE)
        assert set(OF_A_CALL) <= set(during - before)
        ended = [r for r in served.transcripts.records if r["event"] == "call_ended"]
        assert len(ended) == FIRST + MORE
        left = await least() - before
        for _ in range(50):  # a connection of the client library's may close a moment later
            if not left:
                break
            left = await least() - before
        assert left == Counter()


@pytest.mark.parametrize("handler", [None, "talkers:echo_texts"])
async def test_a_call_that_is_over_leaves_nothing_to_the_collector_of_cycles(
    prompt_emulator: str, handler: str | None
) -> None:
    """It is freed at once. To find it, the collector would stop all calls."""
    async with serving(prompt_emulator, handler=handler) as served:
        await place_calls(served, 0, 3)
        await least()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await place_calls(served, 3, AT_ONCE)
            await least()
        finally:
            gc.set_debug(0)
        found = Counter(type(each).__name__ for each in gc.garbage)
        gc.garbage.clear()
    assert {name: found[name] for name in OURS if found[name]} == {}
