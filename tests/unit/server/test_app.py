"""The wiring: what is refused at the start."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fastcall.errors import UsageError
from fastcall.events import TranscriptEvent
from fastcall.server.app import ServeOptions, Server
from fastcall.settings import Settings
from fastcall.twilio.stream_key import StreamKey


def test_streaming_cannot_be_off_without_a_fallback() -> None:
    with pytest.raises(
        UsageError, match=r"ENABLE_STREAMING_STT=false needs a fallback: set WHISPER_MODEL .*--fallback"
    ):
        Server(Settings(enable_streaming_stt=False), ServeOptions())


async def test_the_lack_of_a_fallback_is_told_once_when_it_matters(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastcall")
    server = Server(Settings(speech_emulator_host="h:1"), ServeOptions())
    for _ in range(2):
        server._calls._sink(
            TranscriptEvent("session_failed", text="UNAVAILABLE: gone"), key=StreamKey("CA1"), stream_sid="MZ1"
        )
    assert [record.message for record in caplog.records if "WHISPER_MODEL" in record.message] == [
        "no fallback for utterances that the recognizer cannot serve: set WHISPER_MODEL to a Whisper model "
        "(pip install 'fastcall[whisper]'), or name your own function with --fallback module:callable"
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
