"""Measures the level of audio for Whisper (float32 at 16 kHz), and splits it at pauses."""

from __future__ import annotations

from typing import Final

import numpy as np

from fastcall.audio.upsampling import RATE_OUT_HZ, Samples

__all__ = ["level_db", "split_at_quiet"]

LEVEL_WINDOW: Final = 1600  # 100 ms


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
