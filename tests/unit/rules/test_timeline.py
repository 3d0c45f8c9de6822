"""Where a frame stands: within 10 ms appended, gaps filled, repeats dropped, jumps believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastcall.rules.timeline import InboundTimeline, Placement


def place(*timestamps: int) -> tuple[list[Placement], InboundTimeline]:
    timeline = InboundTimeline()
    return [timeline.place(t, 160) for t in timestamps], timeline


def test_a_real_call_drifts_by_2_ms_and_has_no_gap() -> None:
    placements, timeline = place(155, 175, 194, 213, 233, 255, 275)
    assert set(placements) == {Placement(0, True)}
    assert (timeline.gaps, timeline.duplicate_frames) == (0, 0)


def test_a_gap_becomes_silence_of_its_length() -> None:
    placements, timeline = place(100, 220)
    assert placements[1] == Placement(100 * 8, True)
    assert (timeline.gaps, timeline.gap_samples) == (1, 800)


def test_ten_ms_are_no_gap_and_eleven_are() -> None:
    assert place(100, 130)[0][1] == Placement(0, True)
    assert place(100, 131)[0][1] == Placement(11 * 8, True)


def test_a_frame_that_came_before_is_dropped_and_the_next_is_not() -> None:
    placements, timeline = place(100, 120, 120, 100, 140)
    assert [p.taken for p in placements] == [True, True, False, False, True]
    assert timeline.duplicate_frames == 2
    assert placements[4] == Placement(0, True)


def test_a_jump_of_over_5_s_is_a_new_clock_not_silence() -> None:
    placements, timeline = place(100, 60_000, 60_020, 40, 60)
    assert all(p == Placement(0, True) for p in placements)
    assert timeline.rebases == 2


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=50))
def test_silence_is_bounded_and_time_never_runs_back(timestamps: list[int]) -> None:
    placements, timeline = place(*timestamps)
    assert all(0 <= p.silence_samples <= 5000 * 8 for p in placements)
    assert placements[0] == Placement(0, True)
    assert timeline.gap_samples == sum(p.silence_samples for p in placements)
    assert timeline.duplicate_frames == sum(not p.taken for p in placements)
