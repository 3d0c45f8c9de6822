"""faster-whisper itself, with a tiny model of random weights, and what is said of models that are none."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from faster_whisper import WhisperModel

from fastcall.errors import UsageError
from fastcall.whisper.engine import Engine, EngineOptions, check_model
from fastcall.whisper.pool import WhisperFallback

SHARED = Path(__file__).resolve().parents[4] / "shared"
NOISE = np.random.default_rng(1).normal(0, 3000, 16_000).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A multilingual model that writes letters."""
    return _build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that knows English only."""
    return _build(tmp_path_factory.mktemp("english"), multilingual=False)


def _build(path: Path, **options: int) -> str:
    pytest.importorskip("faster_whisper")
    tool = SHARED / "tools" / "tiny_whisper.py"
    if not tool.is_file():
        pytest.skip("the tool that builds a tiny model is not here")
    sys.path.insert(0, str(tool.parent))
    try:
        from tiny_whisper import build  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    build(str(path), **options)
    return str(path)


def test_a_model_is_loaded_and_decodes(tiny: str) -> None:
    engine = Engine(EngineOptions(tiny, threads=1))
    assert engine.is_multilingual
    assert not engine.lacks("he-IL")
    assert not engine.lacks("iw-IL")
    assert engine.lacks("tlh")
    text = engine.recognize(NOISE, "he-IL")
    assert text
    assert text == " ".join(text.split())
    assert engine.recognize(NOISE, "iw") == text  # deterministic, and the same language


def test_silence_is_not_recognized_at_all(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(EngineOptions(tiny, threads=1))
    asked: list[int] = []
    transcribe = WhisperModel.transcribe
    monkeypatch.setattr(
        WhisperModel, "transcribe", lambda model, piece, **o: asked.append(len(piece)) or transcribe(model, piece, **o)
    )
    hiss = np.random.default_rng(1).normal(0, 8, 16_000).astype("<i2").tobytes()
    assert engine.recognize(bytes(32_000), "en-US") == engine.recognize(hiss, "en-US") == ""
    assert asked == []
    assert engine.recognize(NOISE, "en-US")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("segments", "text"),
    [
        ([("Thank you for watching!", 0.8)], ""),
        ([("Thank you for watching!", 0.1)], "Thank you for watching!"),
        ([("Tack för att ni tittade!", 0.95)], ""),
        ([("Tack", 0.95), ("för att ni tittade!", 0.1)], "Tack för att ni tittade!"),
        ([], ""),
    ],
)
def test_what_the_model_writes_is_dropped_by_how_sure_it_is_that_nobody_spoke(
    segments: list[tuple[str, float]], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """faster-whisper's interface, without a model: a text, and the probability of no speech with it."""

    class WhisperModel:
        model = SimpleNamespace(is_multilingual=True)

        def __init__(self, *_: object, **options: object) -> None:
            pass

        def transcribe(self, piece: object, **options: object) -> tuple[list[SimpleNamespace], None]:
            return [SimpleNamespace(text=f" {text}", no_speech_prob=silence) for text, silence in segments], None

    monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace(WhisperModel=WhisperModel))
    assert Engine(EngineOptions("small")).recognize(NOISE, "en-US") == text


@pytest.mark.parametrize("compute_type", ["float16", "int9"])
def test_a_compute_type_that_this_machine_has_not_is_named(tiny: str, compute_type: str) -> None:
    with pytest.raises(UsageError) as refused:
        Engine(EngineOptions(tiny, compute_type=compute_type, threads=1))
    assert f"WHISPER_COMPUTE_TYPE={compute_type} cannot be used" in str(refused.value)
    assert "float32" in str(refused.value)
    assert "WHISPER_MODEL" not in str(refused.value)


def test_more_than_30_s_is_heard_to_its_end(tiny: str) -> None:
    engine = Engine(EngineOptions(tiny, threads=1))
    assert len(engine.recognize(NOISE * 20, "en-US")) > len(engine.recognize(NOISE, "en-US"))


def test_a_model_without_the_language_says_so(english: str) -> None:
    engine = Engine(EngineOptions(english, threads=1))
    assert not engine.is_multilingual
    assert engine.lacks("he-IL")
    assert not engine.lacks("en-GB")


async def test_the_real_worker_from_end_to_end(tiny: str) -> None:
    whisper = WhisperFallback(EngineOptions(tiny, threads=1), language="he-IL")
    try:
        await whisper.start()
        assert await whisper.recognize(NOISE, "he-IL")
    finally:
        await whisper.aclose()


async def test_the_real_worker_refuses_a_language_that_its_model_lacks(english: str) -> None:
    whisper = WhisperFallback(EngineOptions(english, threads=1), language="he-IL")
    with pytest.raises(UsageError, match="does not support the language he-IL"):
        await whisper.start()


@pytest.mark.parametrize("file", ["model.bin", "config.json", "tokenizer.json"])
def test_a_directory_that_is_not_complete_is_named(file: str, tmp_path: Path) -> None:
    for name in {"model.bin", "config.json", "tokenizer.json", "vocabulary.json"} - {file}:
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f"there is no {file} in this directory"):
        check_model(str(tmp_path))


def test_a_directory_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="WHISPER_MODEL=/no/such/model: there is no such directory"):
        check_model("/no/such/model")


def test_names_of_models_are_left_to_faster_whisper() -> None:
    check_model("small")
    check_model("someone/whisper-he-ct2")


def test_a_model_that_is_damaged_says_so(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match="cannot be used"):
        Engine(EngineOptions(str(tmp_path)))


def test_a_model_that_loads_and_does_not_decode_says_so(tmp_path: Path) -> None:
    model = _build(tmp_path, n_mels=128)
    (tmp_path / "preprocessor_config.json").unlink()
    engine = Engine(EngineOptions(model, threads=1))
    with pytest.raises(UsageError, match=f"WHISPER_MODEL={model} cannot be used"):
        engine.warm_up("en-US")


def test_a_name_that_is_not_on_this_machine_is_not_downloaded_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("faster_whisper")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE forbids downloading it"):
        Engine(EngineOptions("tiny"))


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(UsageError, match=r"pip install 'fastcall\[whisper\]'"):
        Engine(EngineOptions("small"))
