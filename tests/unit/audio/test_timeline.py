"""Where a frame stands: numbers say what is new, timestamps how long a gap is. And call time, which has all silence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.audio.timeline import MAX_CUTS, CallTime, InboundTimeline
from fastcall.events import TranscriptEvent

FRAME = 160


def place(*frames: tuple[int, int]) -> tuple[list[int | None], InboundTimeline]:
    """Frames of 20 ms as (timestamp, chunk)."""
    timeline = InboundTimeline()
    return [timeline.place(timestamp, FRAME, chunk) for timestamp, chunk in frames], timeline


def test_a_real_call_drifts_by_2_ms_and_has_no_gap() -> None:
    placements, timeline = place(*zip((155, 175, 194, 213, 233, 255, 275), range(1, 8), strict=True))
    assert set(placements) == {0}
    assert (timeline.gaps, timeline.duplicate_frames, timeline.frames) == (0, 0, 7)


@pytest.mark.parametrize("chunk", [2, 7, -1])
def test_a_gap_becomes_silence_of_its_length_whatever_the_count_says(chunk: int) -> None:
    placements, timeline = place((100, 1 if chunk > 0 else -1), (220, chunk))
    assert placements[1] == 800
    assert (timeline.gaps, timeline.gap_samples, timeline.end_sample) == (1, 800, 1120)


@pytest.mark.parametrize("stray_ms", range(-24, 25, 4))
@pytest.mark.parametrize("missing", [1, 2, 5])
def test_of_frames_that_the_count_leaves_out_exactly_those_are_missing(missing: int, stray_ms: int) -> None:
    placements, _ = place((100, 1), (120 + 20 * missing + stray_ms, 2 + missing))
    assert placements[1] == missing * FRAME


def test_a_count_that_jumps_where_no_time_passed_leaves_nothing_out() -> None:
    assert place((100, 1), (120, 500), (140, 501))[0] == [0, 0, 0]


@pytest.mark.parametrize("has_sequence", [True, False])
def test_where_chunks_count_two_tracks_they_leave_nothing_out(has_sequence: bool) -> None:
    timeline = InboundTimeline()
    timeline.has_two_tracks = True

    def take(number: int, at_ms: int) -> int | None:
        return timeline.place(155 + at_ms, FRAME, 2 * number + 1, 2 * number + 2 if has_sequence else -1)

    assert {take(number, 20 * number) for number in range(100)} == {0}
    assert take(99, 20 * 99) is None
    assert take(105, 20 * 105) == 5 * FRAME
    assert take(103, 20 * 103) == 0  # late
    assert take(103, 20 * 103) is None
    assert (timeline.gaps, timeline.duplicate_frames) == (1, 2)


def test_a_frame_that_came_before_is_dropped_and_the_next_is_not() -> None:
    placements, timeline = place((100, 1), (120, 2), (120, 2), (100, 1), (140, 3))
    assert placements == [0, 0, None, None, 0]
    assert (timeline.duplicate_frames, timeline.frames) == (2, 5)


def test_a_frame_that_comes_late_is_used() -> None:
    placements, timeline = place((100, 1), (140, 3), (120, 2), (120, 2), (160, 4))
    assert placements == [0, FRAME, 0, None, 0]
    assert timeline.duplicate_frames == 1


@pytest.mark.parametrize("gap", [0, 800])
def test_a_frame_of_another_stream_follows_after_the_gap_that_is_told(gap: int) -> None:
    _, timeline = place((90_000, 500), (90_020, 501))
    timeline.restart(gap)
    assert [timeline.place(155, FRAME, 1), timeline.place(175, FRAME, 2)] == [0, 0]
    assert (timeline.end_sample, timeline.gap_samples, timeline.gaps) == (4 * FRAME + gap, gap, gap > 0)


@pytest.mark.parametrize("seconds", [1, 5, 8, 60, 600])
def test_a_gap_of_any_length_counts_whole(seconds: int) -> None:
    assert place((100, 1), (120 + 1000 * seconds, 2))[0][1] == 8000 * seconds


def test_a_clock_that_goes_back_or_leaves_out_hours_is_another_clock() -> None:
    placements, timeline = place((100, 1), (7_200_000, 2), (7_200_020, 3), (40, 4), (60, 5), (180, 6))
    assert placements == [0, 0, 0, 0, 0, 800]
    assert timeline.rebases == 2


def test_a_count_that_begins_anew_with_its_clock_is_believed() -> None:
    frames = [(5000 + 20 * n, 300 + n) for n in range(100)] + [(20 * n, 1 + n) for n in range(100)]
    placements, timeline = place(*frames)
    assert set(placements) == {0}
    assert timeline.duplicate_frames == 0


def test_a_count_that_stands_still_says_nothing() -> None:
    placements, timeline = place(*((100 + 20 * n, 1) for n in range(50)))
    assert set(placements) == {0}
    assert timeline.end_sample == 50 * FRAME


CLOCKS = {
    "missing": lambda at_ms: -1,
    "frozen": lambda at_ms: 155,
    "of whole seconds": lambda at_ms: at_ms // 1000 * 1000,
    "of whole seconds, rounded": lambda at_ms: (at_ms + 500) // 1000 * 1000,
    "of bursts": lambda at_ms: at_ms // 60 * 60,
}


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("first_ms", [0, 155, 777])
def test_a_clock_that_measures_little_costs_no_audio_and_makes_none(name: str, first_ms: int) -> None:
    timeline = InboundTimeline()
    for number in range(1000):
        assert timeline.place(CLOCKS[name](first_ms + 20 * number), FRAME, 1 + number) == 0
    assert (timeline.end_sample, timeline.duplicate_frames) == (1000 * FRAME, 0)
    assert (timeline.unclocked_frames > 100) == (name != "of bursts") or name == "of bursts"
    # What the count leaves out is missing all the same.
    assert timeline.place(CLOCKS[name](first_ms + 20_000 + 100), FRAME, 1006) == 5 * FRAME


@pytest.mark.parametrize("ppm", [-2000, -500, 500, 2000])
def test_clocks_that_drift_make_no_silence_in_an_hour(ppm: int) -> None:
    timeline = InboundTimeline()
    for number in range(180_000):
        timeline.place(155 + round(20 * number * (1 + ppm / 1e6)), FRAME, number)
    assert (timeline.gaps, timeline.duplicate_frames) == (0, 0)


def test_a_late_frame_with_the_highest_timestamp_is_known_when_it_comes_again() -> None:
    """Timestamps stray, so the frame before the newest may be stamped later than that one."""
    timeline = InboundTimeline()
    for timestamp, chunk in [(164, 1), (163, 2), (204, 3), (203, 4), (243, 6)]:
        timeline.place(timestamp, FRAME, chunk)
    assert timeline.place(244, FRAME, 5) == 0
    assert timeline.place(244, FRAME, 5) is None
    # From far ahead, it is of another clock: what follows is measured as before.
    for timestamp, chunk in [(284, 8), (900_000, 7), (304, 9), (8_344, 10)]:
        placement = timeline.place(timestamp, FRAME, chunk)
    assert placement is not None
    assert placement > 7_900 * 8


@dataclass
class Telephone:
    """Sends frames of 20 ms over a bad line, with a clock that strays and drifts; knows what it sent."""

    strays_ms: list[int]
    ppm: int
    sent: list[tuple[int, int]] = field(default_factory=list)
    at_ms: int = 0
    number: int = 0
    true_gap_ms: int = 0

    def frame(self) -> None:
        stray = self.strays_ms[self.number % len(self.strays_ms)]
        self.sent.append((max(0, 155 + round(self.at_ms * (1 + self.ppm / 1e6)) + stray), 1 + self.number))
        self.at_ms += 20
        self.number += 1

    def lose(self, frames: int) -> None:
        self.at_ms += 20 * frames
        self.number += frames
        self.true_gap_ms += 20 * frames

    def pause(self, ms: int) -> None:
        """Nothing is sent, and the count goes on afterwards."""
        self.at_ms += ms
        self.true_gap_ms += ms


ACTS = st.one_of(
    st.tuples(st.just("frames"), st.integers(1, 80)),
    st.tuples(st.just("lose"), st.integers(1, 30)),
    st.tuples(st.just("pause"), st.sampled_from([100, 500, 3000, 8000, 60_000])),
    st.tuples(st.just("repeat"), st.integers(1, 40)),
    st.tuples(st.just("swap"), st.integers(1, 3)),
)


@given(st.lists(ACTS, max_size=12), st.lists(st.integers(-12, 12), min_size=1, max_size=40), st.integers(-500, 500))
def test_nothing_sent_once_is_dropped_and_no_silence_made_beyond_the_gaps(
    acts: list[tuple[str, int]], strays_ms: list[int], ppm: int
) -> None:
    phone, gaps, swapped = Telephone(strays_ms, ppm), 0, 0
    timeline, arrived = InboundTimeline(), list[tuple[int, int]]()
    phone.frame()
    for act, amount in [*acts, ("frames", 1)]:
        before = len(phone.sent)
        if act == "lose":
            phone.lose(amount)
            gaps += 1
        elif act == "pause":
            phone.pause(amount)
            gaps += 1
        elif act == "repeat":
            # The first frame once more, long after it, looks like a stream that begins anew.
            newest = phone.sent[-1][1]
            arrived += [frame for frame in phone.sent[-amount:] if frame[1] > 1 or newest < 64]
            continue
        for _ in range(amount if act == "frames" else 1 + amount if act == "swap" else 1):
            phone.frame()
        new = phone.sent[before:]
        if act == "swap":
            swapped += amount
            new = [new[-1], *new[:-1]]
        arrived += new
    arrived = [phone.sent[0], *arrived]
    placements = [timeline.place(timestamp, FRAME, chunk) for timestamp, chunk in arrived]
    seen = set[int]()
    for (_, chunk), placement in zip(arrived, placements, strict=True):
        assert (placement is None) == (chunk in seen)
        seen.add(chunk)
    silence_ms = sum(each or 0 for each in placements) // 8
    # A measured gap is exact to the jitter; a frame that comes late had silence in its place.
    assert silence_ms <= phone.true_gap_ms + 24 * gaps + 20 * swapped + phone.true_gap_ms * abs(ppm) // 10**6
    assert silence_ms >= phone.true_gap_ms - 24 * gaps - 20 * swapped - phone.true_gap_ms * abs(ppm) // 10**6
    assert timeline.end_sample == FRAME * len(seen) + 8 * silence_ms


@given(st.lists(st.tuples(st.integers(-1, 10**15), st.integers(-1, 300), st.integers(0, 400)), max_size=60))
def test_whatever_comes_time_never_runs_back(frames: list[tuple[int, int, int]]) -> None:
    timeline, end = InboundTimeline(), 0
    for timestamp_ms, chunk, samples in frames:
        placed = timeline.place(timestamp_ms, samples, chunk)
        if placed is not None:
            assert 0 <= placed <= 3_600_000 * 8
            end += placed + samples
        assert timeline.end_sample == end
    assert timeline.frames == len(frames)


def test_another_stream_begins_anew() -> None:
    _, timeline = place((100, 1), (120, 2))
    timeline.restart()
    assert timeline.place(90_000, FRAME, 1) == 0
    assert timeline.place(90_020, FRAME, 2) == 0
    assert timeline.end_sample == 4 * FRAME


@pytest.mark.parametrize(("timestamp_ms", "samples"), [(-2, 160), (10**15 + 1, 160), (0, -1)])
def test_what_is_no_frame_is_refused(timestamp_ms: int, samples: int) -> None:
    with pytest.raises(ValueError, match="must"):
        InboundTimeline().place(timestamp_ms, samples)


def test_call_time_has_the_silence_that_was_cut() -> None:
    time = CallTime()
    assert [time.of(sample) for sample in (0, 5000)] == [0, 5000]
    time.cut(1000, 300)
    time.cut(2000, 50)
    assert time.cut_samples == 350
    assert [time.of(sample) for sample in (0, 999, 1000, 1999, 2000, 9000)] == [0, 999, 1300, 2299, 2350, 9350]
    for sample in (0, 999, 1000, 1500, 1999, 2000, 9000):
        assert time.audio_at(time.of(sample)) == sample
    assert [time.audio_at(at) for at in (1000, 1150, 1299, 2300, 2349)] == [1000, 1000, 1000, 2000, 2000]


def test_an_event_is_placed_in_call_time() -> None:
    time = CallTime()
    event = TranscriptEvent("partial", 1, "hello", start_sample=10, end_sample=30)
    assert time.placed(event) is event
    time.cut(20, 1000)
    assert time.placed(event) == replace(event, start_sample=10, end_sample=1030)
    assert time.placed(replace(event, end_sample=None)).end_sample is None
    ended = TranscriptEvent("call_ended")
    assert time.placed(ended) is ended


def test_call_time_forgets_where_old_cuts_were_but_not_that_they_were() -> None:
    time = CallTime()
    for number in range(5000):
        time.cut(100 * number, 1)
    assert time.cut_samples == 5000
    assert time.of(10**6) == 10**6 + 5000
    assert time.audio_at(10**6 + 5000) == 10**6


def test_call_time_after_more_gaps_than_are_kept_apart() -> None:
    time, gaps = CallTime(), MAX_CUTS + 10
    for gap in range(gaps):
        time.cut(100 * gap, 7)
    for sample in range(100 * 10, 100 * gaps, 50):
        call_sample = sample + 7 * (sample // 100 + 1)
        assert time.of(sample) == call_sample
        assert time.audio_at(call_sample) == sample
    assert time.of(100 * 10 - 1) == 100 * 10 - 1 + 7 * 10
    assert time.audio_at(0) == 0
