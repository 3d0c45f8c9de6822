"""The call's audio, by call time, against a twin that keeps everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall import g711
from fastcall.audio.replay_buffer import AudioHistory

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("audio"), st.binary(max_size=60)),
        st.tuples(st.just("silence"), st.integers(0, 150)),
        st.tuples(st.just("forget"), st.integers(0, 400)),
    ),
    max_size=30,
)


@given(STEPS)
def test_every_sample_that_is_kept_is_the_one_that_was_said(steps: list[tuple[str, bytes | int]]) -> None:
    history = AudioHistory(sample_bytes=1, limit_samples=100)
    said = b""
    for kind, value in steps:
        if kind == "audio":
            assert isinstance(value, bytes)
            history.append(value)
            said += value
        elif kind == "silence":
            assert isinstance(value, int)
            history.append_silence(value)
            said += b"\xff" * value
        else:
            assert isinstance(value, int)
            history.forget_before(value)
        assert history.end == len(said)
        assert history.end - history.start <= 100
        assert history.read(history.start, 1000) == g711.ulaw2lin(said[history.start :], 2)


def test_linear16_is_kept_as_it_is() -> None:
    history = AudioHistory(sample_bytes=2, limit_samples=10)
    history.append(b"\x01\x02\x03\x04")
    history.append_silence(1)
    assert history.read(1, 5) == b"\x03\x04\x00\x00"


def test_what_outgrows_the_bound_unsettled_is_counted() -> None:
    history = AudioHistory(sample_bytes=1, limit_samples=10)
    history.append(bytes(15))
    assert (history.start, history.end, history.lost_samples) == (5, 15, 5)
    history.forget_before(12)
    history.append(bytes(7))
    assert history.lost_samples == 5


@pytest.mark.parametrize("sample", [0, 3, 99])
def test_forgetting_is_bounded_by_what_there_is(sample: int) -> None:
    history = AudioHistory(sample_bytes=1, limit_samples=10)
    history.append(bytes(5))
    history.forget_before(sample)
    assert history.start == min(sample, 5)
    assert history.end == 5


def test_what_was_lost_is_told_from_what_was_settled() -> None:
    history = AudioHistory(sample_bytes=1, limit_samples=100)
    history.append(bytes(90))
    history.forget_before(50)
    assert (history.start, history.lost_to) == (50, 0)
    history.append(bytes(70))
    assert (history.start, history.lost_to) == (60, 60)
    history.forget_before(80)
    assert (history.start, history.lost_to) == (80, 60)


def test_what_is_not_there_yet_is_nothing_and_what_is_gone_is_an_error() -> None:
    history = AudioHistory(sample_bytes=1, limit_samples=100)
    history.append(bytes(10))
    history.forget_before(4)
    assert history.read(5, 0) == history.read(5, -3) == history.read(10, 5) == history.read(50, 5) == b""
    with pytest.raises(ValueError, match="start=3: the samples from 4 to 10 are kept"):
        history.read(3, 1)


def test_what_is_settled_is_kept_where_that_is_wanted_and_is_never_lost() -> None:
    history = AudioHistory(sample_bytes=1, limit_samples=100)
    history.keep(30)
    history.keep(20)
    history.append(bytes(range(80)))
    history.forget_before(70)
    assert (history.start, history.end) == (50, 80)
    history.append(bytes(range(80, 100)))
    assert history.start == 70
    history.forget_before(75)
    assert history.start == 70
    assert history.read(70, 3) == g711.ulaw2lin(bytes([70, 71, 72]), 2)
    # The bound is above all of it, and what goes then was settled up to 75.
    history.append(bytes(100))
    assert (history.start, history.lost_samples, history.lost_to) == (100, 25, 100)
    history.keep(1000)
    history.forget_before(200)
    assert history.end - history.start == 100
