"""G.711 against ``audioop`` (on Python 3.13 and later: ``audioop-lts``), and what letting the GIL go costs."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import pytest

from fastcall import _codec
from ratio import compare

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

SAMPLES = 1 << 20
CODES = random.Random(1).randbytes(SAMPLES)
PCM = random.Random(2).randbytes(2 * SAMPLES)
FRAME = CODES[:160]
PCM_FRAME = PCM[:320]


def has_avx2() -> bool:
    """Other processors run the loops with narrower vectors, so they have floors of their own."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and " avx2" in cpuinfo.read_text()


AVX2 = has_avx2()


@pytest.mark.gate
def test_decode_1_mi_samples(benchmark: Any) -> None:
    compare(
        benchmark,
        "mu-law decode, 1 Mi samples",
        lambda: _codec.mulaw_decode(CODES),
        lambda: audioop.ulaw2lin(CODES, 2),
        floor=1.5 if AVX2 else 0.9,
    )


@pytest.mark.gate
def test_encode_1_mi_samples(benchmark: Any) -> None:
    compare(
        benchmark,
        "mu-law encode, 1 Mi samples",
        lambda: _codec.mulaw_encode(PCM),
        lambda: audioop.lin2ulaw(PCM, 2),
        floor=25 if AVX2 else 12,
    )


@pytest.mark.gate
def test_decode_a_frame(benchmark: Any) -> None:
    compare(
        benchmark,
        "mu-law decode, a frame of 160 samples",
        lambda: _codec.mulaw_decode(FRAME),
        lambda: audioop.ulaw2lin(FRAME, 2),
        floor=1.1 if AVX2 else 0.8,
    )


@pytest.mark.gate
def test_encode_a_frame(benchmark: Any) -> None:
    compare(
        benchmark,
        "mu-law encode, a frame of 160 samples",
        lambda: _codec.mulaw_encode(PCM_FRAME),
        lambda: audioop.lin2ulaw(PCM_FRAME, 2),
        floor=3,
    )


def test_decode_with_the_gil_let_go(benchmark: Any) -> None:
    """Nobody else wants the GIL here: this is the least that letting it go costs, on the 65,536 samples from which
    it is done. The row should say 1.00."""
    samples = 65_536
    target = bytearray(2 * samples)
    released, kept = CODES[:samples], CODES[: samples - 1]
    compare(
        benchmark,
        "65,536 samples, GIL let go (ours) or kept",
        lambda: _codec.mulaw_decode_into(released, target),
        lambda: _codec.mulaw_decode_into(kept, target),
        floor=0.8,
    )
