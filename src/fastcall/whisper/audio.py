"""Converts telephone audio for Whisper, 8 kHz int16 to 16 kHz float32; measures its level, and splits it at pauses.

A half-band filter in polyphase form doubles the rate: even samples are copied, odd ones are interpolated. It is a
Kaiser-windowed sinc, flat up to 3.6 kHz (telephone audio ends at 3.4) with images above 4.4 kHz attenuated by 80 dB;
linear interpolation would leave those at -10 dB, which the model would hear as hiss.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["level_db", "split_at_quiet", "to_16k"]

Samples = NDArray[np.float32]

RATE_OUT_HZ: Final = 16_000
_HALF_TAPS: Final = 64  # each side, at 16 kHz
_BETA: Final = 8.0  # Kaiser: 80 dB
LEVEL_WINDOW: Final = 1600  # 100 ms


def _low_pass() -> NDArray[np.float64]:
    """A half-band low-pass with gain 2, for a signal with zeros between its samples."""
    n = np.arange(-_HALF_TAPS, _HALF_TAPS + 1)
    taps = np.sinc(n / 2) * np.kaiser(len(n), _BETA)
    taps[0::2] = np.where(n[0::2] == 0, 1.0, 0.0)  # half-band: the old samples pass unchanged
    taps[1::2] /= taps[1::2].sum()
    return taps


_ODD: Final = _low_pass()[1::2].astype(np.float32)


def to_16k(pcm: bytes) -> Samples:
    """LINEAR16 at 8 kHz to float32 in [-1, 1] at 16 kHz; twice as many samples, without delay."""
    old = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0
    new = np.empty(2 * len(old), np.float32)
    new[0::2] = old
    if len(old):
        reach = len(_ODD) // 2
        # Output 2k+1 lies between old samples k and k+1: taps reach from k - reach + 1 to k + reach.
        padded = np.pad(old, (reach - 1, reach))
        new[1::2] = np.convolve(padded, _ODD, "valid")
    return np.clip(new, -1.0, 1.0)


def level_db(audio: Samples) -> float:
    """The level of the loudest 100 ms, in dB of full scale; -120 for digital silence."""
    whole = len(audio) // LEVEL_WINDOW * LEVEL_WINDOW
    windows = audio[:whole].reshape(-1, LEVEL_WINDOW) if whole else audio.reshape(1, -1)
    power = float(np.mean(np.square(windows), axis=1).max()) if audio.size else 0.0
    return max(-120.0, 10 * float(np.log10(power + 1e-12)))


def split_at_quiet(audio: Samples, *, longest_s: float = 29.0, search_s: float = 6.0) -> list[Samples]:
    """Pieces that fit into Whisper's window of 30 s, cut at the quietest 100 ms of their last seconds."""
    longest, search = int(longest_s * RATE_OUT_HZ), int(search_s * RATE_OUT_HZ)
    pieces = []
    while len(audio) > longest:
        part = audio[longest - search : longest]
        windows = part[: len(part) // LEVEL_WINDOW * LEVEL_WINDOW].reshape(-1, LEVEL_WINDOW)
        quietest = int(np.mean(np.square(windows), axis=1).argmin())
        cut = longest - search + quietest * LEVEL_WINDOW + LEVEL_WINDOW // 2
        pieces.append(audio[:cut])
        audio = audio[cut:]
    return [*pieces, audio]
