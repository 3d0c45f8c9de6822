"""The spectrogram: that of Whisper's feature extractor, and what is known of any."""

from __future__ import annotations

import numpy as np
import pytest

from fastcall.end_of_turn.log_mel import FRAMES, MELS, log_mel

SAMPLES = 128_000
N = np.arange(SAMPLES)
T = N / 16_000
NOISE = np.random.default_rng(2).normal(0, 0.1, SAMPLES).astype(np.float32)

# Of MIXTURE: transformers 5.24, WhisperFeatureExtractor(chunk_length=8)(..., do_normalize=True), rows and columns
# [::19, 50::180]. Compared in full, nothing differs by more than 1.2e-7.
MIXTURE = (np.sin(2 * np.pi * (100 + 400 * T) * T) * (1 + np.sin(6 * np.pi * T))).astype(np.float32)
MIXTURE += (0.1 * np.sin(0.37 * (N % 997) ** 2)).astype(np.float32)
OF_TRANSFORMERS = [
    [0.73002, 0.75713, 0.58564, 0.35648, 0.63542],
    [0.67680, 0.58360, 0.63226, 0.45238, 0.64067],
    [0.42845, 0.40817, 0.64894, 0.63156, 0.63530],
    [0.20128, 0.13813, 1.60372, 0.51876, 0.42784],
    [0.55344, 0.54216, 0.62221, 0.63689, 0.61329],
]


def tone(hz: float) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * T)).astype(np.float32)


def row_of(hz: float) -> int:
    """The filter whose middle is nearest on Slaney's scale."""
    mel = hz * 15 / 1000 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)
    top = 15 + 27 * np.log(8) / np.log(6.4)
    return round(float(mel / top * (MELS + 1))) - 1


def test_it_is_that_of_transformers() -> None:
    result = log_mel(MIXTURE)
    assert (result.shape, result.dtype) == ((MELS, FRAMES), np.float32)
    assert result[::19, 50::180] == pytest.approx(np.array(OF_TRANSFORMERS), abs=2e-5)
    assert (float(result.mean()), float(result.std())) == pytest.approx((0.561766, 0.221430), abs=2e-5)


@pytest.mark.parametrize("hz", [60, 200, 500, 1000, 1700, 3000, 3900, 7500])
def test_a_tone_is_in_its_row_all_the_time(hz: float) -> None:
    rows = log_mel(tone(hz))[:, 5:-5].argmax(axis=0)
    assert set(rows.tolist()) <= {row_of(hz) - 1, row_of(hz), row_of(hz) + 1}


@pytest.mark.parametrize("at_s", [0.5, 2.0, 7.9])
def test_a_click_is_at_its_time(at_s: float) -> None:
    audio = np.zeros(SAMPLES, np.float32)
    audio[int(at_s * 16_000)] = 1
    assert int(log_mel(audio).sum(axis=0).argmax()) == pytest.approx(at_s * 100, abs=1)


def test_loudness_does_not_count() -> None:
    assert np.abs(log_mel(NOISE) - log_mel(NOISE / 5 + 0.01)).max() < 1e-3


def test_values_span_80_db_at_most() -> None:
    result = log_mel(tone(1000))
    assert result.max() - result.min() == pytest.approx(2.0, abs=1e-5)


def test_white_noise_has_the_same_power_in_all_rows() -> None:
    """Each filter has unit area."""
    rows = log_mel(NOISE)[:, 5:-5].astype(np.float64)
    powers = np.mean(10 ** (4 * rows - 4), axis=1)
    assert powers[30:].min() / powers[30:].max() > 0.8  # the lowest are narrower than the transform's bins


def test_short_audio_is_at_the_end_and_long_audio_loses_its_beginning() -> None:
    short = NOISE[:30_000]
    padded = np.concatenate([np.zeros(SAMPLES - len(short), np.float32), short])
    assert np.array_equal(log_mel(short), log_mel(padded))
    assert np.array_equal(log_mel(np.concatenate([tone(500), NOISE])), log_mel(NOISE))


@pytest.mark.parametrize("samples", [0, 1, SAMPLES])
def test_silence_has_no_features(samples: int) -> None:
    assert np.unique(log_mel(np.zeros(samples, np.float32))).tolist() == [-1.5]
