"""Where a frame stands: within 10 ms appended, gaps filled, repeats dropped, jumps believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from fastcall.rules.timeline import InboundTimeline


def place(*timestamps: int) -> tuple[list[int | None], InboundTimeline]:
    timeline = InboundTimeline()
    return [timeline.place(t, 160) for t in timestamps], timeline


def test_a_real_call_drifts_by_2_ms_and_has_no_gap() -> None:
    placements, timeline = place(155, 175, 194, 213, 233, 255, 275)
    assert set(placements) == {0}
    assert (timeline.gaps, timeline.duplicate_frames, timeline.frames) == (0, 0, 7)


def test_a_gap_becomes_silence_of_its_length() -> None:
    placements, timeline = place(100, 220)
    assert placements[1] == 100 * 8
    assert (timeline.gaps, timeline.gap_samples) == (1, 800)


def test_ten_ms_are_no_gap_and_eleven_are() -> None:
    assert place(100, 130)[0][1] == 0
    assert place(100, 131)[0][1] == 11 * 8


def test_a_frame_that_came_before_is_dropped_and_the_next_is_not() -> None:
    placements, timeline = place(100, 120, 120, 100, 140)
    assert placements == [0, 0, None, None, 0]
    assert (timeline.duplicate_frames, timeline.frames) == (2, 5)


def test_a_jump_of_over_5_s_is_a_new_clock_not_silence() -> None:
    placements, timeline = place(100, 60_000, 60_020, 40, 60)
    assert set(placements) == {0}
    assert timeline.rebases == 2


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=50))
def test_silence_is_bounded_and_time_never_runs_back(timestamps: list[int]) -> None:
    placements, timeline = place(*timestamps)
    assert all(p is None or 0 <= p <= 5000 * 8 for p in placements)
    assert placements[0] == 0
    assert timeline.gap_samples == sum(p or 0 for p in placements)
    assert timeline.duplicate_frames == placements.count(None)


steps = st.one_of(st.integers(-60, 60), st.sampled_from([-6000, -5021, -5020, -20, 0, 5000, 5020, 5021, 6000]))


@given(st.lists(st.tuples(steps, st.sampled_from([1, 7, 80, 159, 160, 161, 1600])), max_size=40))
def test_it_is_its_slow_twin(moves: list[tuple[int, int]]) -> None:
    timeline, twin, at = InboundTimeline(), reference.Timeline(), 7000
    for step, samples in moves:
        at = max(0, at + step)
        assert timeline.place(at, samples) == twin.place(at, samples)
        at += samples // 8
    counts = ("frames", "gaps", "gap_samples", "duplicate_frames", "rebases")
    assert [getattr(timeline, name) for name in counts] == [getattr(twin, name) for name in counts]


@pytest.mark.parametrize(("timestamp_ms", "samples"), [(-1, 160), (10**15 + 1, 160), (0, -1)])
def test_what_is_no_frame_is_refused(timestamp_ms: int, samples: int) -> None:
    with pytest.raises(ValueError, match="must"):
        InboundTimeline().place(timestamp_ms, samples)
