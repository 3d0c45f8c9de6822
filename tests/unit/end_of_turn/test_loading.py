"""Which model the settings name, and what is refused at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastcall.end_of_turn.loading import load_end_of_turn_model
from fastcall.errors import UsageError
from fastcall.settings import Settings
from tiny_onnx import tiny_onnx

TESTS = str(Path(__file__).resolve().parents[2])


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_onnx())
    return str(path)


async def test_by_default_there_is_none() -> None:
    assert await load_end_of_turn_model(Settings.from_environ({})) is None


async def test_a_path_is_smart_turn(tiny: str) -> None:
    pytest.importorskip("onnxruntime")
    model = await load_end_of_turn_model(Settings(turn_model=tiny, turn_model_timeout_ms=2000))
    assert model is not None
    try:
        probability = await model.probability(bytes(16_000), "")
        assert probability is None or 0 < probability < 1  # None: this machine is very busy
    finally:
        await model.aclose()


async def test_a_name_is_a_factory_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)
    model = await load_end_of_turn_model(Settings(turn_model="stub_models:constant", turn_model_timeout_ms=2000))
    assert model is not None
    try:
        assert await model.probability(b"", "yes") in (0.75, None)
    finally:
        await model.aclose()


async def test_a_module_of_the_current_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys_model.py").write_text("def make():\n    return lambda pcm, text: 0.5\n")
    monkeypatch.chdir(tmp_path)
    model = await load_end_of_turn_model(Settings(turn_model="somebodys_model:make"))
    assert model is not None
    await model.aclose()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such.onnx", "^TURN_MODEL=/no/such.onnx: there is no such file; name Smart Turn's file"),
        ("smart_turn", "^TURN_MODEL=smart_turn: there is no such file; .* or module:callable for a model of your own$"),
        ("./a:b", "^TURN_MODEL=./a:b: there is no such file"),
        ("no_such_module:make", "^TURN_MODEL 'no_such_module:make' cannot be loaded: No module named"),
    ],
)
async def test_what_cannot_be_loaded_is_named(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        await load_end_of_turn_model(Settings(turn_model=name))


async def test_a_missing_package_says_what_to_install(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('No module named onnxruntime')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"pip install 'fastcall\[end-of-turn\]' \(No module named onnxruntime\)$"):
        await load_end_of_turn_model(Settings(turn_model=tiny))
