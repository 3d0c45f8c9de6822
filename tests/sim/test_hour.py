"""What a call holds when it has lasted long is what it held after a minute. In virtual time."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from statistics import median

import pytest

from fastcall.ports import StreamConfig
from fastcall.server.call_runner import CallRunner
from fastcall.settings import Settings
from footprint import footprint
from sim.clock import VirtualLoop
from sim.judge import judge
from sim.provider import SimRecognizer, SimStream
from sim.scenario import ProviderTraits, long_call
from sim.world import SimSocket, SimVoice, SimWorld, simulate
from thoroughness import amount

SETTINGS = Settings(stt_rotate_after_s=24, stt_rotate_by_s=30)
LONG_S = amount(900, thorough=3600)
PROVIDER = ProviderTraits(stream_limit_s=40, faults_per_s=1 / 60, faults_until_s=LONG_S - 10, final_s=(0.3, 1.0))
# What a call refers to, but does not hold: the world around it.
AROUND = (VirtualLoop, SimWorld, SimRecognizer, SimStream, SimSocket, SimVoice, Settings, StreamConfig)


def test_a_long_call_holds_no_more_than_a_minute() -> None:
    scenario = long_call(1, float(LONG_S), SETTINGS, PROVIDER)
    sizes: dict[str, list[tuple[int, Counter[str]]]] = {"first": [], "last": []}
    turns = 0

    def look(at_s: float, runner: CallRunner) -> None:
        nonlocal turns
        turns += 1
        window = "first" if 60 < at_s < 360 else "last" if LONG_S - 400 < at_s < LONG_S - 100 else None
        if window and turns % 97 == 0:
            sizes[window].append(footprint(runner, *AROUND))

    logging.disable(logging.CRITICAL)
    try:
        seen = simulate(scenario, look=look)
    finally:
        logging.disable(logging.NOTSET)
    verdict = judge(scenario, seen)
    assert verdict.problems == []
    rotations = sum(count for name, count in verdict.counts.items() if name.startswith("rotated"))
    assert rotations > LONG_S // 36
    assert sum(event.event == "utterance_end" for _, event in seen.events) > LONG_S // 12
    assert min(map(len, sizes.values())) > 100
    # How much audio is unsettled varies from moment to moment: what is compared is the usual moment, and the best.
    for pick in (median, min):
        first, last = (pick(size for size, _ in sizes[window]) for window in ("first", "last"))
        assert last <= first * 1.15, (pick, first, last)
        first, last = (pick(sum(kinds.values()) for _, kinds in sizes[window]) for window in ("first", "last"))
        assert last <= first * 1.15, (pick, first, last)


def test_the_measure_sees_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that forgets nothing is found out."""
    monkeypatch.setattr("fastcall.audio.replay_buffer.ReplayBuffer.forget_before", lambda *_: None)
    scenario = long_call(1, 120.0, replace(SETTINGS, stt_replay_s=600), ProviderTraits())
    sizes: list[int] = []
    turns = 0

    def look(at_s: float, runner: CallRunner) -> None:
        nonlocal turns
        turns += 1
        if at_s > 30 and turns % 1000 == 0:
            sizes.append(footprint(runner, *AROUND)[0])

    simulate(scenario, look=look)
    assert sizes[-1] > sizes[0] + 60 * 8000
