"""The wiring: what is refused at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastcall.errors import UsageError
from fastcall.server.app import ServeOptions, Server
from fastcall.settings import Settings


def test_streaming_cannot_be_off_without_a_fallback() -> None:
    with pytest.raises(
        UsageError, match=r"ENABLE_STREAMING_STT=false needs a fallback: set WHISPER_MODEL .*--fallback"
    ):
        Server(Settings(enable_streaming_stt=False), ServeOptions())


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
