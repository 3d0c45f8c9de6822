"""What is left of hundreds of calls: nothing. On one loop, in virtual time, with a provider that breaks."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from random import Random

from fastcall.ports import StreamConfig
from fastcall.server.call_runner import CallRunner
from fastcall.settings import Settings
from sim.clock import VirtualLoop, elapse, run_virtual
from sim.provider import SimRecognizer
from sim.scenario import Outage, ProviderTraits, long_call
from sim.world import SimSocket, SimVoice
from thoroughness import amount

CALLS, AT_ONCE = amount(100, thorough=1000), 50
SETTINGS = Settings(stt_rotate_after_s=2, stt_rotate_by_s=2.5, stt_replay_s=5)
PROVIDER = ProviderTraits(
    stream_limit_s=4, faults_per_s=1 / 4, stalls=0.1, hangs=0.1, outages=(Outage(20.0, 26.0, "UNAVAILABLE", 0.5),)
)
OF_A_CALL = (
    *(
        "CallRunner",
        "CallMachine",
        "RecognitionSession",
        "RecognitionMachine",
        "ProviderStream",
        "TimeMap",
        "AudioInput",
    ),
    *(
        "ReplayBuffer",
        "Hypothesis",
        "PartialTimer",
        "TranscriptLedger",
        "SimStream",
        "Task",
        "TimerHandle",
    ),
)


def alive() -> Counter[str]:
    """How many there are of what a call is made of."""
    gc.collect()
    kinds = Counter(type(thing).__name__ for thing in gc.get_objects())
    return Counter({kind: kinds[kind] for kind in OF_A_CALL if kinds[kind]})


async def place_calls(loop: VirtualLoop, counts: Counter[str]) -> None:
    scenario = long_call(3, 3.0, SETTINGS, PROVIDER)
    provider = SimRecognizer(PROVIDER, scenario.words, seed="hundreds of calls")

    async def place(number: int) -> None:
        runner = CallRunner(
            SimSocket(),
            settings=SETTINGS,
            recognizer=provider,
            config=StreamConfig("he-IL", "phone_call"),
            voice=SimVoice(scenario.voice, Random(number)),
            sink=lambda event, **_: counts.update([event.event]),
            rand=Random(number).random,
        )
        began_at = loop.time() + number % AT_ONCE / 50
        for delivery in scenario.deliveries:
            if delivery.message is None:
                loop.call_at(began_at + delivery.at_s, runner.socket_closed, 1005, "")
            else:
                loop.call_at(began_at + delivery.at_s, runner.message_received, delivery.message)
        await runner.wait_over()

    loop.call_later(2.0, lambda: counts.update(f"alive {kind}" for kind in alive()))
    for first in range(0, CALLS, AT_ONCE):
        await asyncio.gather(*(place(number) for number in range(first, first + AT_ONCE)))
    counts.update(provider.counts)
    counts["open streams"] = len(provider.streams)
    # A caller's socket may close after the last words: so late that the call is over, which must be all the same.
    await elapse(1)


def test_nothing_is_left_of_hundreds_of_calls() -> None:
    before = alive()
    loop, counts = VirtualLoop(), Counter[str]()
    logging.disable(logging.CRITICAL)
    try:
        run_virtual(place_calls(loop, counts), loop)
        assert counts["call_ended"] == CALLS
        assert counts["streams"] > CALLS
        assert min(counts[kind] for kind in ("stalls", "hangs", "UNAVAILABLE", "session_failed", "final")) > CALLS // 50
        assert [kind for kind in OF_A_CALL if not counts[f"alive {kind}"]] == []
        assert counts["open streams"] == 0
        assert loop.errors == []
        assert asyncio.all_tasks(loop) == set()
        assert loop.timers() == []
        assert alive() - before == Counter()
    finally:
        logging.disable(logging.NOTSET)
        loop.close()
