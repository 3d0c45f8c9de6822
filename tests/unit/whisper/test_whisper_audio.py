"""The level of audio, and where long audio is cut."""

from __future__ import annotations

import numpy as np
import pytest

from fastcall.audio.upsampling import to_16k
from fastcall.whisper.audio import level_db, split_at_quiet

SECOND = np.arange(8000)


def tone(hz: float) -> bytes:
    return (np.sin(2 * np.pi * hz * SECOND / 8000) * 16_384).astype("<i2").tobytes()


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
