"""simulator/impairments.py: what a bad line does, and what it leaves alone."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.simulator.impairments import CYCLE_FRAMES, STEADY, LineFaults, LinePlan, Step, plan_line

FAULTS = st.builds(
    LineFaults,
    jitter_ms=st.floats(0, 500),
    burst_ms=st.floats(0, 3000),
    gap_ms=st.floats(0, 3000),
    every_s=st.floats(0.1, 20),
    duplicate_share=st.floats(0, 1),
    reorder_share=st.floats(0, 1),
)


def test_a_perfect_line_sends_each_frame_at_its_time() -> None:
    assert plan_line(LineFaults(), random.Random(1).random) is STEADY
    assert STEADY.packed() == array("i", [0, 0]).tobytes()


@given(FAULTS, st.integers())
def test_nothing_is_early_nor_overtakes_and_a_cycle_can_follow_itself(faults: LineFaults, seed: int) -> None:
    plan = plan_line(faults, random.Random(seed).random)
    assert all(later.due_ms >= earlier.due_ms for earlier, later in pairwise(plan.steps))
    assert all(step.due_ms >= 20 * step.frame for step in plan.steps if not faults.reorder_share)
    assert {step.frame for step in plan.steps} <= set(range(plan.cycle_frames))


@given(st.floats(0.1, 500), st.integers())
def test_jitter_delays_by_its_bound_and_loses_nothing(jitter_ms: float, seed: int) -> None:
    plan = plan_line(LineFaults(jitter_ms=jitter_ms), random.Random(seed).random)
    assert [step.frame for step in plan.steps] == list(range(CYCLE_FRAMES))
    assert all(0 <= step.due_ms - 20 * step.frame <= jitter_ms + 1e-6 for step in plan.steps)


def test_a_burst_holds_frames_and_sends_them_together() -> None:
    plan = plan_line(LineFaults(burst_ms=400, every_s=3), random.Random(2).random)
    assert [step.frame for step in plan.steps] == list(range(CYCLE_FRAMES))
    # The cycle's end may cut the last one.
    together = list(Counter(step.due_ms for step in plan.steps).values())[:-1]
    assert set(together) == {1, 21}, "20 frames that were held, and the one that is due then"
    assert together.count(21) in (9, 10)


def test_a_gap_leaves_audio_out() -> None:
    plan = plan_line(LineFaults(gap_ms=200, every_s=3), random.Random(3).random)
    missing = sorted(set(range(CYCLE_FRAMES)) - {step.frame for step in plan.steps})
    runs = [later - earlier for earlier, later in pairwise(missing)]
    assert set(runs) == {1, 141}
    assert len(missing) in range(91, 101)


def test_duplicates_have_the_same_frame_twice() -> None:
    plan = plan_line(LineFaults(duplicate_share=0.1), random.Random(4).random)
    counts = Counter(step.frame for step in plan.steps)
    assert set(counts.values()) == {1, 2}
    assert 100 < sum(count == 2 for count in counts.values()) < 200


def test_reordered_frames_change_places_with_the_next() -> None:
    plan = plan_line(LineFaults(reorder_share=0.1), random.Random(5).random)
    order = [step.frame for step in plan.steps]
    assert sorted(order) == list(range(CYCLE_FRAMES))
    swapped = [place for place, frame in enumerate(order) if frame == place + 1]
    assert 100 < len(swapped) < 200
    assert all(order[place + 1] == place for place in swapped)


@pytest.mark.parametrize(
    "wrong", [{"jitter_ms": -1}, {"gap_ms": 1e9}, {"reorder_share": 1.5}, {"every_s": 0}, {"burst_ms": float("nan")}]
)
def test_what_is_no_fault(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        LineFaults(**wrong)


def test_packed_for_the_sending_loop() -> None:
    plan = LinePlan((Step(1.5, 3), Step(20.0, 1)), 4)
    assert array("i", plan.packed()).tolist() == [1500, 3, 20000, 1]
