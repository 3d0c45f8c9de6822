"""The settings: one frozen value, read and checked once.

``Settings.from_environ`` is pure. ``Settings(...)`` takes missing values from the process's environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from fastcall.errors import UsageError

__all__ = ["UPLINKS", "Settings", "check_names"]

DEFAULT_LANGUAGE = "he-IL"
# BCP 47, as far as recognizers use it: he, he-IL, cmn-Hans-CN, es-419; and "auto" for some of Google's models.
_LANGUAGE = re.compile(r"auto|[a-z]{2,3}(-[a-z0-9]{2,8}){0,3}", re.IGNORECASE)
# Prefixes of our variables, to detect misspelt ones.
PREFIXES = ("BARGE_IN_", "FASTCALL_", "GCP_STT_", "STT_", "TURN_", "VAD_")
# How soon v2 ends an utterance, the slowest first.
SENSITIVITIES = ("standard", "short", "supershort")
# How a turn's end is found: by silence whose length the text decides, or by silence of one length.
TURN_DETECTIONS = ("adaptive", "silence")
# The uplinks to the recognizer: libnghttp2 on the event loop, grpcio, or the first of them that is installed.
UPLINKS = ("auto", "native", "grpcio")
MAX_PHRASES, MAX_PHRASE_LETTERS, MAX_LETTERS_IN_ALL = 5000, 100, 100_000
MAX_ALTERNATIVES = 3


class _Unset:
    """Stands for a value that was not given."""

    def __repr__(self) -> str:
        return "<from the environment>"


_UNSET = _Unset()


def _env(
    name: str | None, default: Any, *, low: float | None = None, high: float | None = None, secret: bool = False
) -> Any:
    return field(default=_UNSET, repr=not secret, metadata={"env": name, "default": default, "low": low, "high": high})


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, with units in the names. Immutable; may be shared between threads.

    Values not given are read from the environment at construction, else from the defaults:
    ``Settings(language="en-US")`` still honours ``UTTERANCE_COMMIT_MS``.

    :raises UsageError: a value has the wrong type or is out of range; the message names the variable
    """

    enable_streaming_stt: bool = _env("ENABLE_STREAMING_STT", True)
    stt_batch_ms: int = _env("STT_BATCH_MS", 150, low=20, high=900)
    stt_partial_debounce_ms: int = _env("STT_PARTIAL_DEBOUNCE_MS", 180, low=0, high=5000)
    utterance_commit_ms: int = _env("UTTERANCE_COMMIT_MS", 300, low=0, high=10_000)
    stt_rotate_after_s: float = _env("STT_ROTATE_AFTER_S", 240.0, low=2, high=300)
    stt_rotate_by_s: float = _env("STT_ROTATE_BY_S", 285.0, low=2, high=300)
    stt_uplink: str = _env("STT_UPLINK", "auto")
    stt_tls_roots: str | None = _env("STT_TLS_ROOTS", None)
    stt_replay_s: float = _env("STT_REPLAY_S", 90.0, low=5, high=600)
    stt_replay_speed: float = _env("STT_REPLAY_SPEED", 3.0, low=1.5, high=5)
    stt_fallback_timeout_ms: int = _env("STT_FALLBACK_TIMEOUT_MS", 2000, low=0, high=30_000)
    stt_fallback_limit_s: float = _env("STT_FALLBACK_LIMIT_S", 20.0, low=1, high=300)
    whisper_model: str | None = _env("WHISPER_MODEL", None)
    whisper_compute_type: str = _env("WHISPER_COMPUTE_TYPE", "default")
    whisper_threads: int = _env("WHISPER_THREADS", 2, low=1, high=64)
    whisper_workers: int = _env("WHISPER_WORKERS", 1, low=1, high=16)
    vad_mode: int = _env("VAD_MODE", 2, low=0, high=3)
    vad_start_ms: int = _env("VAD_START_MS", 60, low=20, high=1000)
    vad_hangover_ms: int = _env("VAD_HANGOVER_MS", 500, low=100, high=5000)
    vad_preroll_ms: int = _env("VAD_PREROLL_MS", 300, low=0, high=2000)
    turn_detection: str = _env("TURN_DETECTION", "adaptive")
    turn_min_silence_ms: int = _env("TURN_MIN_SILENCE_MS", 400, low=100, high=4500)
    turn_max_silence_ms: int = _env("TURN_MAX_SILENCE_MS", 1800, low=100, high=4500)
    turn_model: str | None = _env("TURN_MODEL", None)
    turn_model_timeout_ms: int = _env("TURN_MODEL_TIMEOUT_MS", 250, low=20, high=2000)
    turn_completeness: str | None = _env("TURN_COMPLETENESS", None)
    utterance_max_s: float = _env("UTTERANCE_MAX_S", 60.0, low=1, high=3600)
    call_silent_max_s: float = _env("CALL_SILENT_MAX_S", 60.0, low=0, high=86_400)
    call_max_s: float = _env("CALL_MAX_S", 0.0, low=0, high=86_400)
    barge_in: bool = _env("BARGE_IN", True)
    barge_in_min_ms: int = _env("BARGE_IN_MIN_MS", 300, low=0, high=10_000)
    barge_in_min_words: int = _env("BARGE_IN_MIN_WORDS", 1, low=0, high=100)
    barge_in_resume_ms: int = _env("BARGE_IN_RESUME_MS", 1000, low=0, high=10_000)
    speculate_after_ms: int = _env("SPECULATE_AFTER_MS", 0, low=0, high=5000)
    agent_failure_prompt: str | None = _env("AGENT_FAILURE_PROMPT", None)
    language: str | None = _env("GCP_STT_LANGUAGE", None)
    model: str = _env("GCP_STT_MODEL", "phone_call")
    phrases: tuple[str, ...] = _env("GCP_STT_PHRASES", ())
    alternative_language_codes: tuple[str, ...] = _env("GCP_STT_ALTERNATIVE_LANGUAGE_CODES", ())
    speech_emulator_host: str | None = _env("SPEECH_EMULATOR_HOST", None)
    google_application_credentials: str | None = _env("GOOGLE_APPLICATION_CREDENTIALS", None)
    google_cloud_project: str | None = _env("GOOGLE_CLOUD_PROJECT", None)
    google_cloud_universe_domain: str | None = _env("GOOGLE_CLOUD_UNIVERSE_DOMAIN", None)
    stt_location: str = _env("GCP_STT_LOCATION", "global")
    stt_sensitivity: str | None = _env("GCP_STT_SENSITIVITY", None)
    twilio_auth_token: str | None = _env("TWILIO_AUTH_TOKEN", None, secret=True)
    twilio_auth_token_secondary: str | None = _env("TWILIO_AUTH_TOKEN_SECONDARY", None, secret=True)
    public_url: str | None = _env("FASTCALL_PUBLIC_URL", None)
    stream_secret: str | None = _env("FASTCALL_STREAM_SECRET", None, secret=True)
    admin_token: str | None = _env("FASTCALL_ADMIN_TOKEN", None, secret=True)
    fallback_url: str | None = _env("FASTCALL_FALLBACK_URL", None)
    worker_timeout_s: float = _env("WORKER_TIMEOUT_S", 15.0, low=1, high=3600)
    start_timeout_s: float = _env(None, 10.0, low=0, high=3600)
    """How long a socket may be open without a ``start``. For embedding programs; has no variable."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, _Unset):
                value = _value_of(item, os.environ)
                object.__setattr__(self, item.name, value)
            _check_type(item, value)
            low, high = item.metadata["low"], item.metadata["high"]
            if low is not None and not low <= value <= high:
                raise UsageError(f"{item.metadata['env'] or item.name}={value}: must be from {low} to {high}")

        if self.stt_rotate_by_s < self.stt_rotate_after_s:
            raise UsageError(
                f"STT_ROTATE_BY_S={self.stt_rotate_by_s:g}: must not be before "
                f"STT_ROTATE_AFTER_S={self.stt_rotate_after_s:g}"
            )

        _check_choice("GCP_STT_SENSITIVITY", self.stt_sensitivity, SENSITIVITIES, is_optional=True)
        _check_choice("STT_UPLINK", self.stt_uplink, UPLINKS)
        _check_choice("TURN_DETECTION", self.turn_detection, TURN_DETECTIONS)

        if self.turn_max_silence_ms < self.turn_min_silence_ms:
            raise UsageError(
                f"TURN_MAX_SILENCE_MS={self.turn_max_silence_ms}: must not be less than "
                f"TURN_MIN_SILENCE_MS={self.turn_min_silence_ms}"
            )

        for code in (self.language, *self.alternative_language_codes):
            if code is not None and not _LANGUAGE.fullmatch(code):
                name = "GCP_STT_LANGUAGE" if code is self.language else "GCP_STT_ALTERNATIVE_LANGUAGE_CODES"
                raise UsageError(f"{name}={code!r}: use a code such as he-IL or en-US (BCP 47)")

        # Google's limits: https://cloud.google.com/speech-to-text/quotas
        lengths = [len(phrase) for phrase in self.phrases]
        if (
            len(lengths) > MAX_PHRASES
            or max(lengths, default=0) > MAX_PHRASE_LETTERS
            or sum(lengths) > MAX_LETTERS_IN_ALL
        ):
            raise UsageError(
                f"GCP_STT_PHRASES: at most {MAX_PHRASES} phrases of at most {MAX_PHRASE_LETTERS} letters each, "
                f"{MAX_LETTERS_IN_ALL} in total"
            )

        if len(self.alternative_language_codes) > MAX_ALTERNATIVES:
            raise UsageError(f"GCP_STT_ALTERNATIVE_LANGUAGE_CODES: at most {MAX_ALTERNATIVES} besides GCP_STT_LANGUAGE")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """The settings that ``environ`` describes; variables that are unset or empty keep their defaults.

        :raises UsageError: a value cannot be read or is out of range
        """
        return cls(**{item.name: _value_of(item, environ) for item in fields(cls)})

    @property
    def partial_debounce_s(self) -> float:
        """``STT_PARTIAL_DEBOUNCE_MS`` as an interval in seconds, plus 2 ms.

        An event loop's clock has a resolution of 1 ms and stands still within a turn, so two partials that it measures
        as 180 ms apart may be 2 ms closer.
        """
        return self.stt_partial_debounce_ms / 1000 + 0.002

    @property
    def twilio_auth_tokens(self) -> tuple[str, ...]:
        """The tokens valid for signatures: two during a rotation."""
        given = f"{self.twilio_auth_token or ''},{self.twilio_auth_token_secondary or ''}"
        return tuple(token.strip() for token in given.split(",") if token.strip())

    def language_or(self, default: str = DEFAULT_LANGUAGE) -> str:
        """The language to recognize (BCP 47); ``default`` if none is set."""
        return self.language or default


def check_names(environ: Mapping[str, str]) -> None:
    """Refuse variables whose names are similar to ours: a misspelt one would be ignored silently.

    :raises UsageError: there is one
    """
    known = [str(item.metadata["env"]) for item in fields(Settings) if item.metadata["env"]]
    for name in sorted(environ):
        prefix = next((each for each in PREFIXES if name.startswith(each)), None)
        if prefix is None or name in known or not environ[name].strip():
            continue
        endings = [each.removeprefix(prefix) for each in known if each.startswith(prefix)]
        near = [f"{prefix}{each}" for each in get_close_matches(name.removeprefix(prefix), endings, n=1, cutoff=0.7)]
        if not near and prefix != "FASTCALL_":
            near = get_close_matches(name, known, n=1, cutoff=0.8)
        if near:
            raise UsageError(
                f"{name} is not a setting of ours: did you mean {near[0]}? Unset it if another program uses it"
            )


def _value_of(item: Field[Any], environ: Mapping[str, str]) -> Any:
    name = item.metadata["env"]
    text = environ.get(name, "").strip() if name else ""
    return _READERS[str(item.type)](name, text) if text else item.metadata["default"]


def _check_type(item: Field[Any], value: object) -> None:
    types, what = _TYPES[str(item.type)]
    # bool is a subclass of int, but not accepted as a number.
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        shown = repr(value) if item.repr else f"a {type(value).__name__}"  # no secrets in messages
        raise UsageError(f"{item.metadata['env'] or item.name} is {shown}: must be {what}")
    if isinstance(value, tuple) and not all(isinstance(each, str) for each in value):
        raise UsageError(f"{item.metadata['env']} is {value!r}: must be {what}")


def _check_choice(name: str, value: str | None, choices: tuple[str, ...], *, is_optional: bool = False) -> None:
    if value not in choices and not (is_optional and value is None):
        raise UsageError(f"{name}={value!r}: use {', '.join(choices)}")


def _read_bool(name: str, text: str) -> bool:
    value = {"true": True, "1": True, "yes": True, "on": True}.get(text.lower())
    value = {"false": False, "0": False, "no": False, "off": False}.get(text.lower(), value)
    if value is None:
        raise UsageError(f"{name}={text!r}: use true or false")
    return value


def _read_int(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name}={text!r}: must be a whole number") from None


def _read_float(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{name}={text!r}: must be a number") from None


def _read_str(name: str, text: str) -> str:
    return text


def _read_list(name: str, text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


_READERS: dict[str, Callable[[str, str], Any]] = {
    "bool": _read_bool,
    "int": _read_int,
    "float": _read_float,
    "str": _read_str,
    "str | None": _read_str,
    "tuple[str, ...]": _read_list,
}

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "True or False"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "text"),
    "str | None": ((str, type(None)), "text or None"),
    "tuple[str, ...]": ((tuple,), "a tuple of texts"),
}
