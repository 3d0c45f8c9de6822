"""8 kHz to 16 kHz with a half-band filter: PocketSphinx' model needs 16 kHz."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["DELAY_SAMPLES", "Upsampler"]

_HALF: Final = 16  # input samples on each side of a new sample
DELAY_SAMPLES: Final = _HALF
"""Delay of the output, in input samples (2 ms)."""


def _taps() -> NDArray[np.float64]:
    """Windowed sinc at the midpoints between samples; sums to 1."""
    at = np.arange(-_HALF, _HALF) + 0.5
    taps = np.sinc(at) * np.kaiser(2 * _HALF, 8.0)
    return np.asarray(taps / taps.sum())


class Upsampler:
    """Double the rate of one stream of int16 samples, in pieces of any size. Output is 2 x input."""

    _TAPS: Final = _taps()

    def __init__(self) -> None:
        self._replay_buffer = np.zeros(2 * _HALF - 1, dtype=np.float64)

    def process(self, pcm: NDArray[np.int16]) -> NDArray[np.int16]:
        audio = np.concatenate([self._replay_buffer, pcm.astype(np.float64)])
        if not len(pcm):
            return np.zeros(0, dtype=np.int16)
        self._replay_buffer = audio[-(2 * _HALF - 1) :]
        out = np.empty(2 * len(pcm))
        out[0::2] = audio[_HALF - 1 : _HALF - 1 + len(pcm)]
        out[1::2] = np.convolve(audio, self._TAPS, mode="valid")
        return np.rint(out).clip(-32768, 32767).astype(np.int16)
