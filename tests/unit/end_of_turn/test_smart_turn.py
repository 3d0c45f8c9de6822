"""The adapter, with a model of a few bytes, and what is said of files that are none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fastcall.audio.upsampling import to_16k
from fastcall.end_of_turn.log_mel import log_mel
from fastcall.end_of_turn.smart_turn import SmartTurnModel, check_model_file
from fastcall.errors import UsageError
from tiny_onnx import tiny_onnx

NOISE = np.random.default_rng(1).normal(0, 3000, 80_000).astype("<i2").tobytes()


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_onnx())
    return str(path)


@pytest.mark.parametrize("pcm", [b"", NOISE[:2], NOISE[:320], NOISE], ids=["nothing", "a sample", "20 ms", "10 s"])
def test_it_judges_the_spectrogram_of_the_audio(tiny: str, pcm: bytes) -> None:
    mean = float(log_mel(to_16k(pcm)).mean())
    assert SmartTurnModel(tiny)(pcm, "no text counts") == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-6)


def test_a_file_that_is_not_there_is_named() -> None:
    message = "^TURN_MODEL=/no/such/model.onnx: there is no such file; name Smart Turn's file"
    with pytest.raises(UsageError, match=message):
        check_model_file("/no/such/model.onnx")
    with pytest.raises(UsageError, match=message):
        SmartTurnModel("/no/such/model.onnx")


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a page of a hub, perhaps")
    with pytest.raises(UsageError, match=f"^TURN_MODEL={path} cannot be loaded: .*name Smart Turn's file") as caught:
        SmartTurnModel(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"input_name": "waveform"}, {"mels": 128}])
def test_another_model_is_named_with_its_inputs(tmp_path: Path, options: dict[str, str]) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx(**options))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"is not Smart Turn v3: its inputs are .*, not input_features with 80 x 800"):
        SmartTurnModel(str(path))


def test_a_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs onnxruntime and numpy: pip install 'fastcall\[end-of-turn\]'"):
        SmartTurnModel(str(path))
