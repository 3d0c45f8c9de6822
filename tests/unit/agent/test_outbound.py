"""Audio as a handler gives it becomes the telephone's, piece by piece."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall._codec import mulaw_decode, mulaw_encode
from fastcall._resample import Resampler
from fastcall.agent.outbound import KEPT_SAMPLES, Encoding, OutboundAudio, to_mulaw
from fastcall.audio.wav import write_wav
from fastcall.errors import UsageError


def all_of(audio: OutboundAudio, size: int) -> bytes:
    taken = b""
    while not audio.is_empty:
        taken += audio.take(size)
    return taken


# What begins as a file does is no samples; see tests/unit/audio/test_sniff.py.
SAMPLES = st.binary(max_size=4000).map(lambda data: b"\x55" * min(2, len(data)) + data[2:])


@given(SAMPLES, st.integers(1, 900), st.lists(st.integers(1, 700), max_size=6))
def test_mu_law_of_the_telephone_goes_through_as_it_is(data: bytes, size: int, pieces: list[int]) -> None:
    audio, position = OutboundAudio(), 0
    for piece in pieces:
        audio.feed(data[position : position + piece])
        position += piece
    audio.feed(data[position:])
    assert audio.total_samples is None
    audio.end()
    assert audio.total_samples == audio.waiting_samples == len(data)
    assert all_of(audio, size) == data


@given(
    SAMPLES,
    st.sampled_from(["pcm", "mulaw"]),
    st.sampled_from([8000, 16_000, 22_050, 24_000]),
    st.integers(100, 900),
)
def test_all_else_is_what_the_whole_would_be(data: bytes, encoding: Encoding, rate_hz: int, size: int) -> None:
    audio = OutboundAudio(encoding, rate_hz)
    audio.feed(data)
    audio.end()
    pcm = data[: len(data) & ~1] if encoding == "pcm" else mulaw_decode(data)
    if rate_hz != 8000:
        resampler = Resampler(rate_hz)
        pcm = resampler.push(pcm) + resampler.flush()
    wanted = mulaw_encode(pcm) if rate_hz != 8000 or encoding == "pcm" else data
    total = audio.total_samples
    assert all_of(audio, size) == wanted
    assert total == len(wanted)


def test_half_a_sample_waits_for_its_other_half() -> None:
    audio = OutboundAudio("pcm")
    audio.feed(b"\x00")
    assert (audio.take(10), audio.waiting_samples, audio.is_empty) == (b"", 0, False)
    audio.feed(b"\x10")
    assert audio.take(10) == mulaw_encode(b"\x00\x10")
    audio.feed(b"\x01")
    audio.end()
    assert audio.is_empty


def test_what_is_dropped_is_empty() -> None:
    audio = OutboundAudio("pcm", 24_000)
    audio.feed(bytes(1000))
    audio.drop()
    assert audio.is_empty
    assert audio.take(100) == b""


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="encoding"):
        OutboundAudio("mp3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rate_hz"):
        OutboundAudio("pcm", 8001)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_pieces_may_be_any_bytes_and_may_change_afterwards(kind: type) -> None:
    audio, piece = OutboundAudio(), bytearray(b"\x55" * 2000)
    audio.feed(kind(piece))
    audio.feed(kind(piece[:7]))
    audio.end()
    piece[:] = bytes(2000)
    assert all_of(audio, 300) == 2007 * b"\x55"


def test_a_prompt_that_many_calls_play_is_kept_once() -> None:
    """What 100 calls that have begun to play a minute of audio keep of it."""
    prompt = b"\x55" * 480_000
    tracemalloc.start()
    try:
        calls = [OutboundAudio() for _ in range(100)]
        for audio in calls:
            audio.feed(prompt)
            audio.end()
            assert audio.take(1600) == prompt[:1600]
        assert tracemalloc.get_traced_memory()[0] < 480_000
    finally:
        tracemalloc.stop()


def test_of_a_prompt_that_many_calls_have_played_only_views_are_kept() -> None:
    prompt = b"\x55" * 480_000
    tracemalloc.start()
    try:
        calls = [OutboundAudio() for _ in range(100)]
        for audio in calls:
            audio.feed(prompt)
            audio.end()
            for _ in range(200):
                audio.take(1600)
            assert audio.put_back(0) == 320_000 - KEPT_SAMPLES
        assert tracemalloc.get_traced_memory()[0] < 100 * KEPT_SAMPLES / 2
    finally:
        tracemalloc.stop()


@given(
    st.binary(min_size=2000, max_size=4000).map(lambda data: b"\x55\x55" + data),
    st.sampled_from(["pcm", "mulaw"]),
    st.sampled_from([8000, 16_000]),
    st.lists(st.tuples(st.booleans(), st.integers(1, 900)), max_size=40),
)
def test_what_is_put_back_is_taken_again(
    data: bytes, encoding: Encoding, rate_hz: int, steps: list[tuple[bool, int]]
) -> None:
    wanted = to_mulaw(data, encoding=encoding, rate_hz=rate_hz)
    audio, position = OutboundAudio(encoding, rate_hz), 0
    audio.feed(data[:1500])
    for number, (is_back, size) in enumerate(steps):
        if number == len(steps) // 2:
            audio.feed(data[1500:])
            audio.end()
        if is_back:
            position = max(0, position - size)
            assert audio.put_back(position) == position
        else:
            chunk = audio.take(size)
            assert chunk == wanted[position : position + len(chunk)]
            position += len(chunk)
        if audio.total_samples is not None and rate_hz == 8000:
            assert audio.waiting_samples == len(wanted) - position
    if not steps:
        audio.feed(data[1500:])
        audio.end()
    assert audio.put_back(position + 1) == position
    assert audio.total_samples == len(wanted)
    assert all_of(audio, 300) == wanted[position:]
    assert audio.put_back(0) == 0
    assert not audio.is_empty
    assert all_of(audio, 700) == wanted
    audio.drop()
    assert audio.put_back(0) == len(wanted)
    assert audio.is_empty


def test_what_was_taken_long_ago_is_not_kept() -> None:
    audio = OutboundAudio()
    for _ in range(100):
        audio.feed(bytes(1600))
        audio.take(1600)
    assert audio.put_back(0) == 160_000 - KEPT_SAMPLES
    assert audio.waiting_samples == KEPT_SAMPLES


@given(SAMPLES, st.sampled_from(["pcm", "mulaw"]), st.sampled_from([8000, 16_000, 24_000]))
def test_a_prompt_converted_once_is_what_a_call_would_say(data: bytes, encoding: Encoding, rate_hz: int) -> None:
    audio = OutboundAudio(encoding, rate_hz)
    audio.feed(data)
    audio.end()
    assert to_mulaw(data, encoding=encoding, rate_hz=rate_hz) == all_of(audio, 1600)


def test_a_prompt_may_be_a_wav_file_and_nothing_compressed() -> None:
    mulaw = bytes(range(0, 256, 2)) * 20
    assert to_mulaw(write_wav(mulaw)) == mulaw
    with pytest.raises(UsageError):
        to_mulaw(b"OggS\0" + bytes(100))
    with pytest.raises(ValueError, match="rate_hz"):
        to_mulaw(mulaw, rate_hz=1)
