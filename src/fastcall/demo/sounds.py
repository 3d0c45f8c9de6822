"""Sounds of a caller who listens: a cough and an "mhm", computed, and a pause within a sentence. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastcall._codec import mulaw_encode
from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS

__all__ = ["cough", "murmur", "with_pause"]

MULAW_SILENCE = b"\xff"
# As loud as the recorded caller.
LEVEL_DBFS = -22.0


def cough() -> bytes:
    """220 ms of noise that begins at once and fades; mu-law."""
    time_s = np.arange(220 * SAMPLES_PER_MS) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(5).normal(size=len(time_s))
    smooth = np.convolve(noise, np.ones(3) / 3, "same")
    return _encoded(smooth * np.minimum(1, time_s / 0.015) * np.exp(-time_s / 0.07))


def murmur() -> bytes:
    """An "mhm" of 440 ms: two hums, the second higher; mu-law."""
    time_s = np.arange(440 * SAMPLES_PER_MS) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * np.cumsum(np.where(time_s < 0.2, 120, 150)) / SAMPLE_RATE_HZ
    hum = sum(np.sin(number * phase) / number**1.8 for number in range(1, 8))
    first = np.clip(np.minimum(time_s / 0.04, (0.19 - time_s) / 0.03), 0, 1)
    second = np.clip(np.minimum((time_s - 0.22) / 0.03, (0.44 - time_s) / 0.08), 0, 1)
    return _encoded(hum * (first + second))


def with_pause(mulaw: bytes, at_ms: int, pause_ms: int) -> bytes:
    """The sentence, with silence of ``pause_ms`` in it."""
    at = at_ms * SAMPLES_PER_MS
    return mulaw[:at] + MULAW_SILENCE * (pause_ms * SAMPLES_PER_MS) + mulaw[at:]


def _encoded(wave: NDArray[np.float64]) -> bytes:
    loud = wave * (32768 * 10 ** (LEVEL_DBFS / 20) / np.sqrt(np.mean(wave**2)))
    return mulaw_encode(np.clip(loud, -32000, 32000).astype("<i2").tobytes())
