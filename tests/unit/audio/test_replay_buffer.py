"""The call's audio, by call time, against a twin that keeps everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall import g711
from fastcall.audio.replay_buffer import ReplayBuffer

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
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=100)
    said = b""
    for kind, value in steps:
        if kind == "audio":
            assert isinstance(value, bytes)
            replay_buffer.append(value)
            said += value
        elif kind == "silence":
            assert isinstance(value, int)
            replay_buffer.track.push_silence(value)
            replay_buffer.take()
            said += b"\xff" * value
        else:
            assert isinstance(value, int)
            replay_buffer.forget_before(value)
        assert replay_buffer.end == len(said)
        assert replay_buffer.end - replay_buffer.start <= 100
        assert replay_buffer.read(replay_buffer.start, 1000) == g711.ulaw2lin(said[replay_buffer.start :], 2)


def test_linear16_is_kept_as_it_is() -> None:
    replay_buffer = ReplayBuffer(sample_bytes=2, limit_samples=10)
    replay_buffer.append(b"\x01\x02\x03\x04")
    replay_buffer.track.push_silence(1)
    replay_buffer.take()
    assert replay_buffer.read(1, 5) == b"\x03\x04\x00\x00"


def test_what_outgrows_the_bound_unsettled_is_counted() -> None:
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=10)
    replay_buffer.append(bytes(15))
    assert (replay_buffer.start, replay_buffer.end, replay_buffer.lost_samples) == (5, 15, 5)
    replay_buffer.forget_before(12)
    replay_buffer.append(bytes(7))
    assert replay_buffer.lost_samples == 5


@pytest.mark.parametrize("sample", [0, 3, 99])
def test_forgetting_is_bounded_by_what_there_is(sample: int) -> None:
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=10)
    replay_buffer.append(bytes(5))
    replay_buffer.forget_before(sample)
    assert replay_buffer.start == min(sample, 5)
    assert replay_buffer.end == 5


def test_what_was_lost_is_told_from_what_was_settled() -> None:
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=100)
    replay_buffer.append(bytes(90))
    replay_buffer.forget_before(50)
    assert (replay_buffer.start, replay_buffer.lost_to) == (50, 0)
    replay_buffer.append(bytes(70))
    assert (replay_buffer.start, replay_buffer.lost_to) == (60, 60)
    replay_buffer.forget_before(80)
    assert (replay_buffer.start, replay_buffer.lost_to) == (80, 60)


def test_what_is_not_there_yet_is_nothing_and_what_is_gone_is_an_error() -> None:
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=100)
    replay_buffer.append(bytes(10))
    replay_buffer.forget_before(4)
    assert (
        replay_buffer.read(5, 0)
        == replay_buffer.read(5, -3)
        == replay_buffer.read(10, 5)
        == replay_buffer.read(50, 5)
        == b""
    )
    with pytest.raises(ValueError, match="start=3: the samples from 4 to 10 are kept"):
        replay_buffer.read(3, 1)


def test_what_is_settled_is_kept_where_that_is_wanted_and_is_never_lost() -> None:
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=100)
    replay_buffer.keep(30)
    replay_buffer.keep(20)
    replay_buffer.append(bytes(range(80)))
    replay_buffer.forget_before(70)
    assert (replay_buffer.start, replay_buffer.end) == (50, 80)
    replay_buffer.append(bytes(range(80, 100)))
    assert replay_buffer.start == 70
    replay_buffer.forget_before(75)
    assert replay_buffer.start == 70
    assert replay_buffer.read(70, 3) == g711.ulaw2lin(bytes([70, 71, 72]), 2)
    # The bound is above all of it, and what goes then was settled up to 75.
    replay_buffer.append(bytes(100))
    assert (replay_buffer.start, replay_buffer.lost_samples, replay_buffer.lost_to) == (100, 25, 100)
    replay_buffer.keep(1000)
    replay_buffer.forget_before(200)
    assert replay_buffer.end - replay_buffer.start == 100
