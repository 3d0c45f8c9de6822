"""Two voices for the examples: espeak-ng on this machine, and any OpenAI-compatible speech API. Both speak while they
are still being read, so that the first words are heard before the last are made."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp

PIECE_BYTES = 4096
WAV_HEADER_BYTES = 44


class Voice(Protocol):
    """Makes LINEAR16 of text, at ``rate_hz``."""

    rate_hz: int

    def speak(self, text: str) -> AsyncIterator[bytes]: ...


class EspeakVoice:
    """``apt-get install espeak-ng``. Free, offline, robotic; ready in some tens of milliseconds."""

    rate_hz = 22_050

    def __init__(self, language: str = "en", words_per_minute: int = 165) -> None:
        self._options = ["-v", language, "-s", str(words_per_minute), "--stdout", "--stdin"]

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("espeak-ng") is not None

    async def speak(self, text: str) -> AsyncIterator[bytes]:
        """By a process of its own, which ends with the generator."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("espeak-ng", *self._options, stdin=pipe, stdout=pipe)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(text.encode())
            process.stdin.close()
            await process.stdout.readexactly(WAV_HEADER_BYTES)
            while piece := await process.stdout.read(PIECE_BYTES):
                yield piece
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


class SpeechApi:
    """``POST {base}/audio/speech`` with ``response_format: pcm``, which is 24 kHz."""

    rate_hz = 24_000

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self._url = f"{base_url}/audio/speech"
        self._request = {
            "model": os.environ.get("SPEECH_MODEL", "tts-1"),
            "voice": os.environ.get("SPEECH_VOICE", "alloy"),
            "response_format": "pcm",
        }

    async def speak(self, text: str) -> AsyncIterator[bytes]:
        """As it comes from the network."""
        body: dict[str, Any] = {**self._request, "input": text}
        async with self._http.post(self._url, json=body, raise_for_status=True) as response:
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                yield piece
