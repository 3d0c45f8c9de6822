"""Stream time to call time, against a twin that keeps an entry for every sample."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.recognition.time_map import TimeMap

PIECES = st.lists(
    st.tuples(st.sampled_from(["audio", "keepalive", "skip", "back"]), st.integers(1, 50)), min_size=1, max_size=20
)


def build(pieces: list[tuple[str, int]]) -> tuple[TimeMap, list[int]]:
    """The map, and for each stream sample the call time of its end."""
    made, twin, cursor = TimeMap(), [], 0
    for kind, samples in pieces:
        if kind == "audio":
            made.add_audio(cursor, samples)
            twin += range(cursor + 1, cursor + samples + 1)
            cursor += samples
        elif kind == "keepalive":
            made.add_keepalive(samples)
            twin += [twin[-1] if twin else 0] * samples
        elif kind == "skip":
            cursor += samples
        else:
            cursor = max(0, cursor - samples)
    return made, twin


@given(PIECES)
def test_the_end_of_each_sample_maps_to_where_it_was_said(pieces: list[tuple[str, int]]) -> None:
    made, twin = build(pieces)
    assert made.length_samples == len(twin)
    assert [made.to_call(point + 1) for point in range(len(twin))] == twin


@given(PIECES, st.integers(0, 400))
def test_forgetting_changes_nothing_after_it(pieces: list[tuple[str, int]], point: int) -> None:
    made, twin = build(pieces)
    made.forget_before(point)
    for later in range(point + 1, len(twin)):
        assert made.to_call(later + 1) == twin[later]


@given(PIECES)
def test_each_word_of_one_piece_maps_to_where_it_was_said(pieces: list[tuple[str, int]]) -> None:
    made, cursor, said = TimeMap(), 0, []
    for kind, samples in pieces:
        if kind == "audio":
            said.append(((made.length_samples, made.length_samples + samples), (cursor, cursor + samples)))
            made.add_audio(cursor, samples)
            cursor += samples
        elif kind == "keepalive":
            made.add_keepalive(samples)
        else:
            cursor = max(0, cursor + (samples if kind == "skip" else -samples))
    assert [made.span_to_call(*stream) for stream, _ in said] == [call for _, call in said]


@pytest.mark.parametrize(("start", "end"), [(1000, 2000), (900, 2000), (1100, 1900), (1000, 2100), (900, 1200)])
def test_rounding_takes_no_word_across_a_seam(start: int, end: int) -> None:
    made = TimeMap()
    made.add_audio(0, 1000)
    made.add_audio(50_000, 1000)  # what was between them had to be forgotten
    made.add_audio(90_000, 1000)
    first, last = made.span_to_call(start, end)
    assert 50_000 <= first < last <= 51_000


def test_points_outside_are_clamped() -> None:
    made = TimeMap()
    assert made.to_call(5) == 0
    assert made.span_to_call(5, 9) == (0, 0)
    made.add_audio(100, 10)
    assert (made.to_call(-3), made.to_call(99)) == (100, 110)
    assert made.span_to_call(-3, 99) == (100, 110)


def test_adjoining_audio_is_one_piece_however_long() -> None:
    made = TimeMap()
    for index in range(1000):
        made.add_audio(index * 10, 10)
    assert made.pieces == 1
