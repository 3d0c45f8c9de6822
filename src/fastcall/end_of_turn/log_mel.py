"""Smart Turn's input: a log-mel spectrogram of the newest 8 s, as Whisper's feature extractor makes it. Pure.

The parameters are those of ``transformers.WhisperFeatureExtractor(chunk_length=8)`` with ``do_normalize=True``: the
audio gets zero mean and unit variance; windows of 25 ms (periodic Hann) every 10 ms, centred, with the ends reflected;
80 triangular filters, equally spaced on Slaney's mel scale up to 8 kHz, each of unit area; log10, at most 8 below the
maximum; then (x + 4) / 4.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fastcall.audio.upsampling import RATE_OUT_HZ, Samples

__all__ = ["FRAMES", "MELS", "WINDOW_S", "log_mel"]

WINDOW_S: Final = 8
MELS: Final = 80
FRAMES: Final = 800

_SAMPLES: Final = WINDOW_S * RATE_OUT_HZ
_FFT: Final = 400
_HOP: Final = 160
_FLOOR: Final = 1e-10
_RANGE: Final = 8.0  # in powers of ten: 80 dB
_LEAST_VARIANCE: Final = 1e-7

# Slaney's mel scale: 15 mels up to 1 kHz, linear; beyond, 27 mels per factor of 6.4.
_BREAK_HZ: Final = 1000.0
_BREAK_MEL: Final = 15.0
_STEP: Final = np.log(6.4) / 27.0


def _hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The frequencies of these mels."""
    linear = mels * (_BREAK_HZ / _BREAK_MEL)
    logarithmic = _BREAK_HZ * np.exp(_STEP * (np.maximum(mels, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, linear, logarithmic)


def _filters() -> NDArray[np.float64]:
    """A row per filter, a column per frequency of the transform."""
    nyquist_hz = RATE_OUT_HZ / 2
    top_mel = _BREAK_MEL + np.log(nyquist_hz / _BREAK_HZ) / _STEP
    corners = _hz(np.linspace(0.0, top_mel, MELS + 2))
    bins_hz = np.linspace(0.0, nyquist_hz, _FFT // 2 + 1)
    triples = zip(corners[:-2], corners[1:-1], corners[2:], strict=True)
    rows = [np.interp(bins_hz, triple, (0.0, 2 / (triple[2] - triple[0]), 0.0)) for triple in triples]
    return np.array(rows)


_FILTERS: Final = _filters()
_HANN: Final = np.hanning(_FFT + 1)[:-1]


def log_mel(audio: Samples) -> Samples:
    """The spectrogram of the newest 8 s of ``audio`` (16 kHz), ``MELS`` x ``FRAMES``; shorter audio is preceded by
    zeros."""
    newest = audio[-_SAMPLES:]
    whole = np.zeros(_SAMPLES, np.float32)
    whole[_SAMPLES - len(newest) :] = newest
    whole = (whole - whole.mean()) / np.sqrt(whole.var() + np.float32(_LEAST_VARIANCE))
    padded = np.pad(whole.astype(np.float64), _FFT // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][:FRAMES]
    spectrum = np.fft.rfft(windows * _HANN)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    logs = np.log10(np.maximum(_FILTERS @ power.T, _FLOOR))
    logs = np.maximum(logs, logs.max() - _RANGE)
    result: Samples = ((logs + 4.0) / 4.0).astype(np.float32)
    return result
