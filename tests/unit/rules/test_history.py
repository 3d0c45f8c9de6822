"""The call's audio, by call time, against a twin that keeps everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall import g711
from fastcall.rules.history import AudioHistory

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
