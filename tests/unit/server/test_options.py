"""What the command line and the environment say: which recognizer, which handler, what cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

import talkers
from fastcall.audio.wav import write_wav
from fastcall.errors import UsageError
from fastcall.server.options import ServeOptions, choose_recognizer, load_handler, load_prompt, log_listening
from fastcall.settings import Settings


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This machine's own are out of sight."""
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)


@pytest.mark.parametrize(
    ("environ", "options", "choice"),
    [
        ({}, {}, ("embedded", None)),
        ({}, {"host": "localhost"}, ("embedded", None)),
        ({}, {"host": "::1"}, ("embedded", None)),
        ({"SPEECH_EMULATOR_HOST": "h:1"}, {"host": "0.0.0.0"}, ("emulator", "h:1")),
        ({"SPEECH_EMULATOR_HOST": "h:1", "GOOGLE_APPLICATION_CREDENTIALS": "k"}, {}, ("emulator", "h:1")),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "k"}, {}, ("google", None)),
        ({"SPEECH_EMULATOR_HOST": "h:1"}, {"stt": "google"}, ("google", None)),
        ({}, {"stt": "emulator", "stt_endpoint": "h:2"}, ("emulator", "h:2")),
        ({}, {"stt": "google-v2", "host": "0.0.0.0"}, ("google", None)),
        # Google's own endpoints want TLS and credentials, whatever they are called in.
        ({}, {"stt": "google", "stt_endpoint": "10.0.0.1:443"}, ("google", "10.0.0.1:443")),
        ({}, {"stt_endpoint": "eu-speech.googleapis.com:443"}, ("google", "eu-speech.googleapis.com:443")),
        ({"SPEECH_EMULATOR_HOST": "speech.googleapis.com:443"}, {}, ("google", "speech.googleapis.com:443")),
        (
            {},
            {"stt": "google-v2", "stt_endpoint": "eu-speech.googleapis.com:443"},
            ("google", "eu-speech.googleapis.com:443"),
        ),
        ({"GCE_METADATA_HOST": "m"}, {"host": "0.0.0.0"}, ("google", None)),
        ({"GCE_METADATA_HOST": "m", "SPEECH_EMULATOR_HOST": "h:1"}, {}, ("emulator", "h:1")),
        ({}, {"stt": "google-v2", "stt_endpoint": "h:2"}, ("emulator", "h:2")),
        ({"ENABLE_STREAMING_STT": "false", "GOOGLE_APPLICATION_CREDENTIALS": "k"}, {"host": "0.0.0.0"}, ("none", None)),
    ],
)
def test_the_flag_then_the_emulator_then_google_then_the_embedded(
    environ: dict[str, str], options: dict[str, str], choice: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)  # what google-auth looks at itself
    assert choose_recognizer(Settings.from_environ(environ), ServeOptions(**options)) == choice  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environ", "options", "what"),
    [
        ({}, {"host": "0.0.0.0"}, "GOOGLE_APPLICATION_CREDENTIALS"),
        ({}, {"stt": "emulator"}, "--stt-endpoint"),
        ({"SPEECH_EMULATOR_HOST": "nowhere"}, {}, "HOST:PORT"),
        ({}, {"stt": "emulator", "stt_endpoint": "speech.googleapis.com:443"}, "is not an emulator: use --stt google"),
    ],
)
def test_a_choice_that_cannot_work_says_what_to_set(
    environ: dict[str, str], options: dict[str, str], what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        choose_recognizer(Settings.from_environ(environ), ServeOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["talkers", "no_such_module:x", "json:no_such", "talkers:two_arguments", ":x"])
def test_a_handler_that_is_none_is_named(name: str) -> None:
    with pytest.raises(UsageError, match="--handler"):
        load_handler(name)


@pytest.mark.parametrize(
    ("environ", "options", "page"),
    [
        ({}, {}, "http://127.0.0.1:8080/console"),
        ({}, {"tls_cert": "x"}, "https://127.0.0.1:8080/console"),
        ({"FASTCALL_PUBLIC_URL": "https://h"}, {}, None),
        ({"FASTCALL_STREAM_SECRET": "x" * 16}, {"host": "0.0.0.0"}, None),
        ({"FASTCALL_PUBLIC_URL": "https://h", "FASTCALL_ADMIN_TOKEN": "x" * 16}, {}, "http://127.0.0.1:8080/console"),
    ],
)
def test_the_log_tells_of_the_console_where_it_can_be_seen(
    environ: dict[str, str], options: dict[str, str], page: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    log_listening(Settings.from_environ(environ), ServeOptions(**options), 8080, "a recognizer")  # type: ignore[arg-type]
    told = [record.getMessage() for record in caplog.records if "/console" in record.getMessage()]
    assert [line.rpartition(" ")[2] for line in told] == ([page] if page else [])


def test_a_handler_may_be_async_or_plain() -> None:
    assert load_handler("talkers:hang_up") is talkers.hang_up
    assert load_handler("talkers:misbehave") is talkers.misbehave


def test_the_prompt_of_a_failure_is_telephone_audio_or_named(tmp_path: Path) -> None:
    assert load_prompt(None) == b""
    prompt = tmp_path / "sorry.wav"
    prompt.write_bytes(write_wav(bytes(range(200))))
    assert load_prompt(str(prompt)) == bytes(range(200))
    with pytest.raises(UsageError, match=r"AGENT_FAILURE_PROMPT=.*missing\.wav: No such file"):
        load_prompt(str(tmp_path / "missing.wav"))
    prompt.write_bytes(b"no audio at all")
    with pytest.raises(UsageError, match="not a WAV file"):
        load_prompt(str(prompt))
