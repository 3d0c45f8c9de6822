"""Any rate to the telephone's: what is in the band stays, what is not is gone, and nothing depends on the pieces."""

from __future__ import annotations

import array
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcall._resample import Resampler

RATES = (4000, 8000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000)


def tone(rate_hz: int, hz: float, seconds: float = 0.5) -> bytes:
    at = np.arange(int(rate_hz * seconds)) / rate_hz
    return (10_000 * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes()


def resample(rate_hz: int, pcm: bytes) -> np.ndarray:
    resampler = Resampler(rate_hz)
    return np.frombuffer(resampler.push(pcm) + resampler.flush(), "<i2").astype(float)


def slow_twin(rate_hz: int, pcm: bytes) -> list[int]:
    """The filter from its definition, sample by sample."""
    given_ = array.array("h", pcm)
    half = 2 * math.ceil(24 * max(rate_hz, 8000) / 8000 / 2)
    cutoff = 0.925 / 2 * min(1.0, 8000 / rate_hz)
    out = []
    for n in range(math.ceil(len(given_) * 8000 / rate_hz)):
        place = n * rate_hz / 8000
        first = math.floor(place) - half + 1
        taps = []
        for k in range(first, first + 2 * half):
            x = k - place
            sinc = 2 * cutoff if abs(x) < 1e-12 else math.sin(2 * math.pi * cutoff * x) / (math.pi * x)
            window = 0.42 + 0.5 * math.cos(math.pi * x / half) + 0.08 * math.cos(2 * math.pi * x / half)
            taps.append(sinc * window)
        total = sum(taps)
        value = sum(t / total * given_[first + i] for i, t in enumerate(taps) if 0 <= first + i < len(given_))
        out.append(max(-32768, min(32767, round(value))))
    return out


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_tone_of_the_band_stays_where_and_what_it_is(rate_hz: int) -> None:
    for hz in (300, 1000):
        heard = resample(rate_hz, tone(rate_hz, hz))
        assert len(heard) == 4000
        wanted = 10_000 * np.sin(2 * np.pi * hz * np.arange(len(heard)) / 8000)
        error = np.sqrt(np.mean((heard - wanted)[200:-200] ** 2))
        assert error < 7071 * 10 ** (-70 / 20), hz


@pytest.mark.parametrize("rate_hz", [rate for rate in RATES if rate > 11_025])
def test_what_would_fold_into_the_band_is_gone(rate_hz: int) -> None:
    for hz in (4300, 5000, 7000):
        heard = resample(rate_hz, tone(rate_hz, hz))
        assert np.sqrt(np.mean(heard[200:-200] ** 2)) < 7071 * 10 ** (-70 / 20), hz


@pytest.mark.parametrize("rate_hz", [11_025, 24_000, 4025])
def test_it_is_its_definition(rate_hz: int) -> None:
    pcm = np.random.default_rng(1).integers(-32768, 32768, rate_hz // 50, dtype="<i2").tobytes()
    assert np.max(np.abs(resample(rate_hz, pcm) - np.array(slow_twin(rate_hz, pcm)))) <= 1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*RATES, 8025, 191_975]), st.integers(0, 3000), st.lists(st.integers(1, 500), max_size=12))
def test_the_pieces_do_not_matter_and_no_sample_is_too_many(rate_hz: int, samples: int, sizes: list[int]) -> None:
    pcm = np.random.default_rng(samples).integers(-32768, 32768, samples, dtype="<i2").tobytes()
    resampler, pieces, position = Resampler(rate_hz), [], 0
    for size in sizes:
        pieces.append(resampler.push(pcm[position : position + 2 * size]))
        position += 2 * size
    pieces += [resampler.push(pcm[position:]), resampler.flush()]
    whole = Resampler(rate_hz)
    assert b"".join(pieces) == whole.push(pcm) + whole.flush()
    assert len(b"".join(pieces)) // 2 == math.ceil(samples * 8000 / rate_hz)


@pytest.mark.parametrize("rate_hz", [0, -8000, 3975, 8001, 192_025])
def test_other_rates_are_refused(rate_hz: int) -> None:
    with pytest.raises(ValueError, match="rate_hz"):
        Resampler(rate_hz)


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        Resampler(16_000).push(b"abc")
    with pytest.raises(TypeError):
        Resampler(16_000).push("text")  # type: ignore[arg-type]
    assert Resampler(16_000).rate_hz == 16_000
