"""8 kHz to 16 kHz: level, images, time."""

from __future__ import annotations

import numpy as np
import pytest

from fastcall.audio.upsampling import to_16k

SECOND = np.arange(8000)


def tone(hz: float) -> bytes:
    return (np.sin(2 * np.pi * hz * SECOND / 8000) * 16_384).astype("<i2").tobytes()


@pytest.mark.parametrize("hz", [60, 300, 1000, 2000, 3000, 3400, 3600])
def test_a_tone_comes_out_as_it_is_in_level_and_time(hz: float) -> None:
    new = to_16k(tone(hz))
    assert (len(new), new.dtype) == (16_000, np.float32)
    want = 0.5 * np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000)
    assert np.abs(new - want)[200:-200].max() < 2e-4


@pytest.mark.parametrize("hz", [300, 1000, 2000, 3000, 3400, 3600])
def test_its_image_above_4_khz_is_80_db_down(hz: float) -> None:
    spectrum = np.abs(np.fft.rfft(to_16k(tone(hz))[2000:14_000] * np.hanning(12_000)))
    bin_hz = 16_000 / 12_000
    wanted, image = (spectrum[int(f / bin_hz) - 4 : int(f / bin_hz) + 5].max() for f in (hz, 8000 - hz))
    assert 20 * np.log10(image / wanted) < -80


def test_linear_interpolation_would_fail_that() -> None:
    old = np.frombuffer(tone(3000), "<i2") / 32768
    new = np.interp(np.arange(16_000) / 2, np.arange(8000), old)
    spectrum = np.abs(np.fft.rfft(new[2000:14_000] * np.hanning(12_000)))
    assert 20 * np.log10(spectrum[3750 - 4 : 3750 + 5].max() / spectrum[2250 - 4 : 2250 + 5].max()) > -20


@pytest.mark.parametrize("samples", [0, 1, 2, 31, 32, 33, 63, 64, 65, 159])
def test_any_length(samples: int) -> None:
    pcm = np.full(samples, -32_768, "<i2").tobytes()
    new = to_16k(pcm)
    assert len(new) == 2 * samples
    assert np.all(np.abs(new) <= 1.0)


def test_silence_is_silence_and_full_scale_is_in_range() -> None:
    assert not to_16k(bytes(16_000)).any()
    square = np.where(SECOND // 10 % 2, 32_767, -32_768).astype("<i2").tobytes()
    assert np.abs(to_16k(square)).max() <= 1.0
