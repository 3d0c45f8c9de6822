"""The wiring: which recogniser, which handler, what is refused at the start."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fastcall.app import ServeOptions, Server, choose_recogniser, load_handler
from fastcall.errors import UsageError
from fastcall.events import TranscriptEvent
from fastcall.settings import Settings


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
        ({}, {"stt": "google-v2", "stt_endpoint": "h:2"}, ("emulator", "h:2")),
        ({"ENABLE_STREAMING_STT": "false", "GOOGLE_APPLICATION_CREDENTIALS": "k"}, {"host": "0.0.0.0"}, ("none", None)),
    ],
)
def test_the_flag_then_the_emulator_then_google_then_the_embedded(
    environ: dict[str, str], options: dict[str, str], choice: tuple[str, str | None]
) -> None:
    assert choose_recogniser(Settings.from_environ(environ), ServeOptions(**options)) == choice  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environ", "options", "what"),
    [
        ({}, {"host": "0.0.0.0"}, "GOOGLE_APPLICATION_CREDENTIALS"),
        ({}, {"stt": "emulator"}, "--stt-endpoint"),
        ({"SPEECH_EMULATOR_HOST": "nowhere"}, {}, "HOST:PORT"),
    ],
)
def test_a_choice_that_cannot_work_says_what_to_set(
    environ: dict[str, str], options: dict[str, str], what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        choose_recogniser(Settings.from_environ(environ), ServeOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["talkers", "no_such_module:x", "json:no_such", "json:dumps", ":x"])
def test_a_handler_that_is_none_is_named(name: str) -> None:
    with pytest.raises(UsageError, match="--handler"):
        load_handler(name)


def test_streaming_cannot_be_off_without_a_fallback() -> None:
    with pytest.raises(
        UsageError, match=r"ENABLE_STREAMING_STT=false needs a fallback: set WHISPER_MODEL .*--fallback"
    ):
        Server(Settings(enable_streaming_stt=False), ServeOptions())


async def test_the_lack_of_a_fallback_is_told_once_when_it_matters(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastcall")
    server = Server(Settings(speech_emulator_host="h:1"), ServeOptions())
    for _ in range(2):
        server._sink(TranscriptEvent("session_failed", text="UNAVAILABLE: gone"), call_sid="CA1", stream_sid="MZ1")
    assert [record.message for record in caplog.records if "WHISPER_MODEL" in record.message] == [
        "there is no fallback for what the recogniser cannot serve: set WHISPER_MODEL to a Whisper model "
        "(pip install 'fastcall[whisper]'), or name a function of your own with --fallback module:callable"
    ]


@pytest.mark.parametrize("content", [None, "this is no JSON", "{}"])
async def test_credentials_that_cannot_be_used_are_a_usage_error(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key.json"
    if content is not None:
        key.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    server = Server(Settings(google_application_credentials=str(key)), ServeOptions(port=0))
    with pytest.raises(UsageError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await server.start()
    await server.stop()
