"""G.711 against ``audioop`` (on Python 3.13 and later: ``audioop-lts``), and the cost of releasing the GIL."""

from __future__ import annotations

import random
import warnings
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


AVX2 = _codec.instruction_sets()[-1] == "avx2"
"""Narrower vectors have floors of their own."""

LAWS = {
    "mu-law": (_codec.mulaw_decode, audioop.ulaw2lin, _codec.mulaw_encode, audioop.lin2ulaw),
    "A-law": (_codec.alaw_decode, audioop.alaw2lin, _codec.alaw_encode, audioop.lin2alaw),
}


@pytest.mark.gate
@pytest.mark.parametrize("law", LAWS)
def test_decode_1_mi_samples(benchmark: Any, law: str) -> None:
    ours, theirs, _, _ = LAWS[law]
    name = f"{law} decode, 1 Mi samples"
    compare(benchmark, name, lambda: ours(CODES), lambda: theirs(CODES, 2), floor=4 if AVX2 else 1.5)


@pytest.mark.gate
@pytest.mark.parametrize("law", LAWS)
def test_encode_1_mi_samples(benchmark: Any, law: str) -> None:
    _, _, ours, theirs = LAWS[law]
    name = f"{law} encode, 1 Mi samples"
    compare(benchmark, name, lambda: ours(PCM), lambda: theirs(PCM, 2), floor=20 if AVX2 else 8)


@pytest.mark.gate
@pytest.mark.parametrize("law", LAWS)
def test_decode_a_frame(benchmark: Any, law: str) -> None:
    """No slower than 1.1 times ``audioop``'s time anywhere, and faster where vectors are wide."""
    ours, theirs, _, _ = LAWS[law]
    name = f"{law} decode, a frame of 160 samples"
    compare(benchmark, name, lambda: ours(FRAME), lambda: theirs(FRAME, 2), floor=1.1 if AVX2 else 1 / 1.1)


@pytest.mark.gate
@pytest.mark.parametrize("law", LAWS)
def test_encode_a_frame(benchmark: Any, law: str) -> None:
    _, _, ours, theirs = LAWS[law]
    name = f"{law} encode, a frame of 160 samples"
    compare(benchmark, name, lambda: ours(PCM_FRAME), lambda: theirs(PCM_FRAME, 2), floor=3)


def test_decode_with_the_gil_let_go(benchmark: Any) -> None:
    """No other thread wants the GIL here: this is the minimum cost of releasing it, at the threshold of 65,536 samples.
    The row should show 1.00."""
    samples = 65_536
    target = bytearray(2 * samples)
    released, kept = CODES[:samples], CODES[: samples - 1]
    compare(
        benchmark,
        "65,536 samples, GIL released (ours) or kept",
        lambda: _codec.mulaw_decode_into(released, target),
        lambda: _codec.mulaw_decode_into(kept, target),
        floor=0.8,
    )
