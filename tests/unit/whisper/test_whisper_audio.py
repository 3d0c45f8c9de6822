"""8 kHz to 16 kHz: level, images, time; and where long audio is cut."""

from __future__ import annotations

import numpy as np
import pytest

from fastcall.whisper.audio import level_db, split_at_quiet, to_16k

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


def test_levels() -> None:
    assert level_db(to_16k(bytes(16_000))) == -120
    assert level_db(np.zeros(0, np.float32)) == -120
    assert level_db(to_16k(tone(1000))) == pytest.approx(-9.03, abs=0.1)
    word = to_16k(bytes(16_000) + tone(1000)[:3200] + bytes(16_000))
    assert level_db(word) == pytest.approx(-9.03, abs=0.3)  # a short word in a long silence counts


def test_what_fits_into_30_s_is_one_piece() -> None:
    assert [len(piece) for piece in split_at_quiet(np.ones(29 * 16_000, np.float32))] == [29 * 16_000]


def test_longer_audio_is_cut_where_it_is_quiet_and_none_of_it_is_lost() -> None:
    rng = np.random.default_rng(5)
    audio = rng.normal(0, 0.1, 70 * 16_000).astype(np.float32)
    for quiet_s in (26.0, 52.0):
        audio[int(quiet_s * 16_000) : int((quiet_s + 0.2) * 16_000)] = 0
    pieces = split_at_quiet(audio)
    assert np.array_equal(np.concatenate(pieces), audio)
    cuts = np.cumsum([len(piece) for piece in pieces])[:-1] / 16_000
    assert [float(cut) for cut in cuts] == [pytest.approx(26.1, abs=0.1), pytest.approx(52.1, abs=0.1)]
