"""Where an utterance begins and ends."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from fastcall._codec import EndpointRule
from fastcall.audio.endpointing import Endpointer, SpeechBegan, SpeechEnded

FRAME = 160


def endpointer(**changes: float) -> Endpointer:
    settings = {"start_ms": 60, "hangover_ms": 500, "preroll_ms": 300, "max_s": 60.0} | changes
    return Endpointer(**settings)  # type: ignore[arg-type]


def run(made: Endpointer, frames: list[bool]) -> list[tuple[int, SpeechBegan | SpeechEnded]]:
    out = []
    for index, voiced in enumerate(frames):
        change = made.feed(voiced, (index + 1) * FRAME, now=0.02 * index)
        if change is not None:
            out.append((index, change))
    return out


def test_speech_begins_with_the_third_voiced_of_five_frames_and_takes_its_preroll() -> None:
    ((at, change),) = run(endpointer(), [False] * 50 + [True, False, True, True])
    assert at == 53
    assert change == SpeechBegan(50 * FRAME - 300 * 8, 50 * FRAME)


def test_a_cough_of_two_frames_begins_nothing() -> None:
    assert run(endpointer(), [False] * 50 + [True, True] + [False] * 50) == []


def test_the_first_100_ms_are_ignored() -> None:
    assert run(endpointer(), [True] * 5 + [False] * 50) == []


def test_speech_ends_when_a_tenth_of_the_hangover_is_voiced_at_most() -> None:
    frames = [False] * 20 + [True] * 50 + [False] * 10 + [True] + [False] * 40
    (_, began), (at, ended) = run(endpointer(), frames)
    assert isinstance(began, SpeechBegan)
    assert ended == SpeechEnded(81 * FRAME, "hangover")
    # The window of 25 frames holds at most 2 voiced ones for the first time 24 frames after the second last.
    assert 68 + 25 <= at <= 81 + 25


def test_no_audio_for_a_second_ends_it() -> None:
    made = endpointer()
    run(made, [False] * 20 + [True] * 10)
    assert made.next_deadline() == pytest.approx(0.02 * 29 + 1.0)
    assert made.handle_deadline(now=1.57) is None
    assert made.handle_deadline(now=1.58) == SpeechEnded(30 * FRAME, "no_audio")
    assert made.next_deadline() is None


def test_an_endless_one_is_cut_and_the_next_has_no_preroll_in_it() -> None:
    changes = [change for _, change in run(endpointer(max_s=2.0), [False] * 20 + [True] * 250)]
    ended = [c for c in changes if isinstance(c, SpeechEnded)]
    began = [c for c in changes if isinstance(c, SpeechBegan)]
    assert {c.reason for c in ended} == {"too_long"}
    assert len(began) > 1
    assert all(later.start_sample >= before.end_sample for before, later in zip(ended, began[1:], strict=False))


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([100, 300, 500]), st.sampled_from([0, 300, 1000]))
def test_begins_and_ends_alternate_and_never_overlap(frames: list[bool], hangover_ms: int, preroll_ms: int) -> None:
    made = endpointer(hangover_ms=hangover_ms, preroll_ms=preroll_ms)
    changes = [change for _, change in run(made, frames)]
    last = made.end("stopped")
    changes += [last] if last else []
    assert [isinstance(c, SpeechBegan) for c in changes] == [i % 2 == 0 for i in range(len(changes))]
    assert len(changes) % 2 == 0
    edges = [c.start_sample if isinstance(c, SpeechBegan) else c.end_sample for c in changes]
    assert all(a <= b for a, b in pairwise(edges))
    assert not made.in_speech


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=30),
    st.sampled_from([20, 60, 200, 1000]),
    st.sampled_from([100, 500, 5000]),
    st.sampled_from([0, 300, 2000]),
    st.sampled_from([1.0, 3.0]),
)
def test_it_is_its_slow_twin(
    stretches: list[tuple[bool, int]], start_ms: int, hangover_ms: int, preroll_ms: int, max_s: float
) -> None:
    made = endpointer(start_ms=start_ms, hangover_ms=hangover_ms, preroll_ms=preroll_ms, max_s=max_s)
    twin = reference.Endpointing(start_ms // 20, hangover_ms // 20, preroll_ms * 8, int(max_s * 8000))
    frames = [voiced for voiced, count in stretches for _ in range(count)]
    expected = [(index, change) for index, voiced in enumerate(frames) if (change := twin.feed(voiced)) is not None]
    found = [
        (at, ("began", c.start_sample, c.voice_sample) if isinstance(c, SpeechBegan) else (c.reason, c.end_sample, 0))
        for at, c in run(made, frames)
    ]
    assert found == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2]),
            st.integers(1, 40),
            st.none() | st.tuples(st.integers(1, 200), st.integers(0, 9)),
        ),
        max_size=30,
    ),
    st.sampled_from([0, 15]),
    st.sampled_from([-1, 3200]),
)
def test_with_background_voice_and_windows_that_change_it_is_its_slow_twin(
    stretches: list[tuple[int, int, tuple[int, int] | None]], background_frames: int, later: int
) -> None:
    made = Endpointer(start_ms=60, hangover_ms=500, preroll_ms=300, max_s=20, background_ms=20 * background_frames)
    twin = reference.Endpointing(3, 25, 2400, 160_000, background_frames)
    found, expected = [], []
    for voice, count, window in stretches:
        if window is not None and made.in_speech:
            until = later if later < 0 else 160 * len(twin.frames) + later
            made.rule.set_hangover(*window, until)
            twin.window = (*window, until)
        for _ in range(count):
            change = made.feed(voice, 160 * (len(twin.frames) + 1), now=0.0)
            expected.append(twin.feed(voice))
            found.append(
                ("began", change.start_sample, change.voice_sample)
                if isinstance(change, SpeechBegan)
                else change and (change.reason, change.end_sample, 0)
            )
    assert found == expected


def test_a_run_of_voice_and_a_pause_are_reported_once_each() -> None:
    made = endpointer()
    made.rule.report_run(10)
    made.rule.report_pause(5)
    frames = [0] * 20 + [1] * 15 + [0] * 8 + [1] * 4 + [2] * 20
    changes = [made.rule.feed(voice, (index + 1) * FRAME, 0.0) for index, voice in enumerate(frames)]
    assert {index: change for index, change in enumerate(changes) if change} == {22: 1, 29: 5, 39: 6, 51: 6}
    assert (made.rule.run_sample, made.rule.voice_run_frames) == (43 * FRAME, 0)
    made.rule.report_run(0)
    made.rule.report_pause(0)
    assert {made.rule.feed(1, (67 + index) * FRAME, 0.0) for index in range(30)} == {0}


@pytest.mark.parametrize("frames", [0, 257])
def test_a_window_has_1_to_256_frames(frames: int) -> None:
    rest = {"hangover_voiced_frames": 0, "settle_samples": 0, "preroll_samples": 0, "max_samples": 1}
    with pytest.raises(ValueError, match="1 to 256"):
        EndpointRule(onset_frames=1, onset_window_frames=frames, hangover_frames=25, **rest)
    with pytest.raises(ValueError, match="1 to 256"):
        EndpointRule(onset_frames=1, onset_window_frames=5, hangover_frames=frames, **rest)
