"""The only module that uses faster-whisper. Runs in the worker process.

Settings for latency: a given language, beam size 1, one temperature (no second try), no timestamps, no previous text,
no voice activity detection (done before). An encoder run costs the same for 1 s as for 30 s.

Source: https://github.com/SYSTRAN/faster-whisper, faster_whisper/transcribe.py
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fastcall.audio.upsampling import to_16k
from fastcall.errors import UsageError
from fastcall.whisper.audio import level_db, split_at_quiet
from fastcall.whisper.policy import SILENT_LEVEL_DB, is_invented, language_of

__all__ = ["Engine", "EngineOptions", "check_model"]

_WANTED: Final = ("model.bin", "config.json", "tokenizer.json")
_HOW: Final = (
    "name a directory with a model in CTranslate2's format (model.bin, config.json, tokenizer.json, vocabulary.*), or "
    "one of faster-whisper's names: tiny, base, small, medium, large-v3, turbo"
)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Which model, and how to run it."""

    model: str
    """A directory, or a name that faster-whisper knows or finds on the Hugging Face hub."""
    compute_type: str = "default"
    threads: int = 2


def check_model(model: str) -> None:
    """Check ``model``, as far as possible before loading it.

    :raises UsageError: the directory does not exist or is incomplete
    """
    path = Path(model)
    if path.is_dir():
        missing = [name for name in _WANTED if not (path / name).is_file()]
        if not list(path.glob("vocabulary.*")):
            missing.append("vocabulary.json or vocabulary.txt")
        if missing:
            raise UsageError(f"WHISPER_MODEL={model}: there is no {', '.join(missing)} in this directory; {_HOW}")
    elif os.sep in model and (path.is_absolute() or model.startswith(".") or path.exists()):
        raise UsageError(f"WHISPER_MODEL={model}: there is no such directory; {_HOW}")


class Engine:
    """A loaded model. One thread.

    :raises UsageError: it cannot be loaded; the message says what to do
    """

    def __init__(self, options: EngineOptions) -> None:
        check_model(options.model)
        self._name = options.model
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise UsageError(f"Whisper is not installed ({error}): pip install 'fastcall[whisper]'") from error
        try:
            self._model: Any = WhisperModel(
                options.model,
                compute_type=options.compute_type,
                cpu_threads=options.threads,
                local_files_only=_is_offline() or Path(options.model).is_dir(),
            )
        except Exception as error:
            # From the hub, ctranslate2, damaged files: many exception types, handled alike.
            raise UsageError(_why_compute_type(options.compute_type, error) or _why(options.model, error)) from error
        self.is_multilingual = bool(self._model.model.is_multilingual)

    def lacks(self, language: str) -> bool:
        """Whether the model does not support the language of this BCP 47 tag."""
        return language_of(language) not in self._model.supported_languages

    def recognize(self, pcm: bytes, language: str) -> str:
        """The words in LINEAR16 at 8 kHz; empty if there are none."""
        audio = to_16k(pcm)
        texts = []
        for piece in split_at_quiet(audio):
            level = level_db(piece)
            if level <= SILENT_LEVEL_DB:
                continue  # saves a second of work that could only return a hallucination
            segments, _ = self._model.transcribe(
                piece,
                language=language_of(language),
                beam_size=1,
                temperature=0.0,
                condition_on_previous_text=False,
                without_timestamps=True,
                vad_filter=False,
            )
            heard = list(segments)  # decoding happens here
            text = " ".join(segment.text.strip() for segment in heard).strip()
            silence = min((segment.no_speech_prob for segment in heard), default=1.0)
            if text and not is_invented(text, no_speech_probability=silence, level_db=level):
                texts.append(text)
        return " ".join(texts)

    def warm_up(self, language: str) -> None:
        """Load everything that the first utterance would have to wait for.

        :raises UsageError: the model loads but cannot decode, such as one with 128 mel bands without its
            ``preprocessor_config.json``
        """
        noise = np.random.default_rng(0).normal(0, 300, 8000).astype("<i2")
        try:
            self.recognize(noise.tobytes(), language)
        except Exception as error:  # whatever an inconsistent model raises
            raise UsageError(_why(self._name, error)) from error


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")


def _why_compute_type(compute_type: str, error: Exception) -> str:
    """The error message if the compute type is wrong; empty if ``error`` has another cause."""
    if "compute type" not in str(error):
        return ""
    from ctranslate2 import get_supported_compute_types

    usable = ", ".join(["default", *sorted(get_supported_compute_types("cpu"))])
    return f"WHISPER_COMPUTE_TYPE={compute_type} cannot be used: {error}; this machine supports {usable}"


def _why(model: str, error: Exception) -> str:
    what = " ".join(str(error).split())[:300] or type(error).__name__
    if Path(model).is_dir():
        return f"WHISPER_MODEL={model} cannot be used: {what}; {_HOW}"
    if _is_offline():
        return (
            f"WHISPER_MODEL={model} is not on this machine, and HF_HUB_OFFLINE forbids downloading it: unset that "
            f"once, or {_HOW}"
        )
    return f"WHISPER_MODEL={model} cannot be loaded: {what}; {_HOW}"
