"""What a server holds after many calls over real sockets and gRPC is what it held after a few."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter

from peers import Phone, Served, serving, tones, words_of_call

FIRST, MORE, AT_ONCE = 12, 96, 12
OF_A_CALL = (
    *("CallRunner", "CallMachine", "RecognitionSession", "StreamRelay", "StreamLeg", "AudioHistory", "AudioRing"),
    *("TranscriptLedger", "ServerConnection", "GoogleStream", "Task", "TimerHandle", "Thread", "Channel"),
)


def held() -> Counter[str]:
    """Threads, descriptors, tasks, and what a call and its streams are made of."""
    gc.collect()
    kinds = Counter(type(thing).__name__ for thing in gc.get_objects())
    counts = Counter({kind: kinds[kind] for kind in OF_A_CALL})
    counts["threads"] = threading.active_count()
    counts["descriptors"] = len(os.listdir("/proc/self/fd"))
    counts["tasks"] = len(asyncio.all_tasks())
    return counts


async def place_calls(served: Served, first: int, count: int) -> None:
    async def place(number: int) -> None:
        async with Phone(served.url, f"leftover {number}") as phone:
            await phone.start()
            await phone.say(tones(words_of_call(number, 2)))
            if number % 3:
                await phone.stop()  # a third hang up without it, in mid-word
            else:
                await phone.say(tones(words_of_call(number, 1))[:1600])
        await served.transcripts.wait_for(phone.call_sid, "call_ended")

    for batch in range(first, first + count, AT_ONCE):
        await asyncio.gather(*(place(number) for number in range(batch, batch + AT_ONCE)))


async def settled(most: Counter[str]) -> Counter[str]:
    """What is held once closing handshakes are over; after many turns of the loop what is there stays."""
    for _ in range(200):
        now = held()
        if not now - most:
            break
        await asyncio.sleep(0)
    return now - most


async def test_many_calls_leave_nothing_that_few_did_not(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        await place_calls(served, 0, FIRST)
        await settled(Counter())
        before = held()
        await place_calls(served, FIRST, MORE)
        ended = [r for r in served.transcripts.records if r["event"] == "call_ended"]
        assert len(ended) == FIRST + MORE
        assert await settled(before) == Counter()
