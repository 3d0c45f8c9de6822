"""Settings: from a mapping, checked once, wrong ones named."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from fastcall.errors import UsageError
from fastcall.settings import Settings


def test_the_defaults_are_those_of_the_readme() -> None:
    s = Settings.from_environ({})
    assert s.enable_streaming_stt is True
    assert (s.stt_batch_ms, s.stt_partial_debounce_ms, s.utterance_commit_ms) == (150, 180, 300)
    assert (s.stt_rotate_after_s, s.stt_rotate_by_s, s.stt_replay_s, s.stt_replay_speed) == (240, 285, 90, 3)
    assert (s.stt_fallback_timeout_ms, s.stt_fallback_limit_s, s.whisper_model) == (2000, 20, None)
    assert (s.whisper_compute_type, s.whisper_threads, s.whisper_workers) == ("default", 2, 1)
    assert (s.vad_mode, s.vad_start_ms, s.vad_hangover_ms, s.vad_preroll_ms, s.utterance_max_s) == (2, 60, 500, 300, 60)
    assert (s.call_silent_max_s, s.call_max_s) == (60, 0)
    assert (s.barge_in, s.barge_in_min_ms, s.barge_in_min_words, s.speculate_after_ms) == (True, 300, 1, 0)
    assert (s.turn_detection, s.turn_min_silence_ms, s.turn_max_silence_ms) == ("adaptive", 400, 1800)
    assert s.barge_in_resume_ms == 1000
    assert s.agent_failure_prompt is None
    assert (s.turn_model, s.turn_model_timeout_ms) == (None, 250)
    assert (s.google_cloud_project, s.stt_location, s.stt_sensitivity) == (None, "global", None)
    assert (s.stt_uplink, s.stt_tls_roots) == ("auto", None)
    assert (s.language_or(), s.language_or("en-US"), s.model) == ("he-IL", "en-US", "phone_call")


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "FALSE"])
def test_ways_to_say_no(text: str) -> None:
    assert Settings.from_environ({"ENABLE_STREAMING_STT": text}).enable_streaming_stt is False


def test_values_are_read_and_empty_ones_are_none() -> None:
    given = {"STT_BATCH_MS": " 100 ", "GCP_STT_LANGUAGE": "en-US", "SPEECH_EMULATOR_HOST": "", "STT_REPLAY_S": "12.5"}
    s = Settings.from_environ(given)
    assert (s.stt_batch_ms, s.language_or(), s.speech_emulator_host, s.stt_replay_s) == (100, "en-US", None, 12.5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BARGE_IN", "sometimes"),
        ("BARGE_IN_MIN_MS", "-1"),
        ("SPECULATE_AFTER_MS", "6000"),
        ("STT_BATCH_MS", "many"),
        ("STT_BATCH_MS", "5"),
        ("STT_BATCH_MS", "1.5"),
        ("TURN_MODEL_TIMEOUT_MS", "19"),
        ("TURN_MODEL_TIMEOUT_MS", "2001"),
        ("VAD_MODE", "4"),
        ("STT_FALLBACK_TIMEOUT_MS", "-1"),
        ("STT_FALLBACK_LIMIT_S", "0"),
        ("WHISPER_THREADS", "0"),
        ("ENABLE_STREAMING_STT", "perhaps"),
        ("STT_REPLAY_SPEED", "fast"),
        ("STT_ROTATE_BY_S", "100"),
        ("UTTERANCE_MAX_S", "nan"),
        ("GCP_STT_SENSITIVITY", "very"),
        ("STT_UPLINK", "carrier pigeon"),
        ("GCP_STT_LANGUAGE", "hebrew"),
        ("GCP_STT_LANGUAGE", "he_IL"),
        ("GCP_STT_LANGUAGE", "he-IL,en-US"),
    ],
)
def test_a_wrong_value_is_named(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=name):
        Settings.from_environ({name: text})


@pytest.mark.parametrize("code", ["he", "he-IL", "iw-IL", "cmn-Hans-CN", "es-419", "EN-us", "auto", "yue-Hant-HK"])
def test_codes_of_languages_are_taken_as_they_are(code: str) -> None:
    assert Settings.from_environ({"GCP_STT_LANGUAGE": code}).language == code


def test_partials_are_never_closer_than_set_by_a_coarse_clock() -> None:
    assert Settings(stt_partial_debounce_ms=180).partial_debounce_s == pytest.approx(0.182)


def test_two_auth_tokens_serve_while_one_replaces_the_other_and_no_secret_is_shown() -> None:
    secrets = {
        "TWILIO_AUTH_TOKEN": "first-secret, second-secret",
        "TWILIO_AUTH_TOKEN_SECONDARY": "third-secret",
        "FASTCALL_STREAM_SECRET": "fourth-secret",
        "FASTCALL_ADMIN_TOKEN": "fifth-secret",
    }
    s = Settings.from_environ(secrets)
    assert s.twilio_auth_tokens == ("first-secret", "second-secret", "third-secret")
    assert Settings.from_environ({"TWILIO_AUTH_TOKEN": " , "}).twilio_auth_tokens == ()
    assert "-secret" not in repr(s)


def test_settings_cannot_be_changed_and_each_has_a_variable() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().vad_mode = 3  # type: ignore[misc]
    names = [item.metadata["env"] for item in fields(Settings)]
    assert len(set(names)) == len(names)


def test_what_is_not_given_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTTERANCE_COMMIT_MS", "450")
    monkeypatch.setenv("BARGE_IN", "no")
    monkeypatch.setenv("GCP_STT_LANGUAGE", "de-DE")
    s = Settings(language="en-US")
    assert (s.utterance_commit_ms, s.barge_in, s.language, s.stt_batch_ms) == (450, False, "en-US", 150)
    assert replace(s, utterance_commit_ms=300).barge_in is False
    assert Settings(language=None).language_or() == "he-IL"


def test_a_mapping_is_the_whole_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTTERANCE_COMMIT_MS", "450")
    monkeypatch.setenv("STT_BATCH_MS", "many")
    assert Settings.from_environ({}).utterance_commit_ms == 300


def test_a_wrong_variable_is_named_by_settings_made_in_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_BATCH_MS", "many")
    with pytest.raises(UsageError, match="STT_BATCH_MS='many': must be a whole number"):
        Settings(language="en-US")
    assert Settings(stt_batch_ms=100).stt_batch_ms == 100


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"stt_batch_ms": "100"}, "STT_BATCH_MS is '100': must be a whole number"),
        ({"stt_batch_ms": 100.5}, "STT_BATCH_MS is 100.5: must be a whole number"),
        ({"stt_batch_ms": True}, "STT_BATCH_MS is True: must be a whole number"),
        ({"stt_replay_s": "90"}, "STT_REPLAY_S is '90': must be a number"),
        ({"start_timeout_s": None}, "start_timeout_s is None: must be a number"),
        ({"barge_in": "no"}, "BARGE_IN is 'no': must be True or False"),
        ({"model": None}, "GCP_STT_MODEL is None: must be text"),
        ({"language": b"en"}, "GCP_STT_LANGUAGE is b'en': must be text or None"),
        ({"admin_token": b"secret"}, "FASTCALL_ADMIN_TOKEN is a bytes: must be text or None"),
    ],
)
def test_a_value_of_another_type_is_refused_with_a_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings(**given)
    assert str(caught.value) == sentence


def test_phrases_are_bounded_one_by_one_and_all_together() -> None:
    assert len(Settings(phrases=("x" * 100,) * 1000).phrases) == 1000
    for phrases in (("x" * 101,), ("x",) * 5001, ("x" * 100,) * 1001):
        with pytest.raises(UsageError, match="at most 5000 phrases of at most 100 letters each, 100000 in total"):
            Settings(phrases=phrases)
