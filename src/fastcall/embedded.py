"""The embedded recogniser: the emulator as a child process, for trying out without Google."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Sequence

from fastcall.errors import UsageError

__all__ = ["EmbeddedRecognizer"]

log = logging.getLogger("fastcall.embedded")

READY = re.compile(r"emulator listening on (\S+:\d+)")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


class EmbeddedRecognizer:
    """Owner of the child process. It ends when ``stop`` is called, or by itself when this process is gone,
    because it reads a pipe that only this process holds."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self._process = process
        self.address = address
        """``host:port`` of its plaintext StreamingRecognize service."""
        self._drain = asyncio.get_running_loop().create_task(self._read_on())

    @classmethod
    async def start(cls, engine: str = "pocketsphinx", arguments: Sequence[str] = ()) -> EmbeddedRecognizer:
        """Start an emulator on a free port of the loopback.

        :raises UsageError: it did not start; its own message went to stderr
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fastcall", "emulator", "--port", "0", "--engine", engine),
            *("--exit-with-parent", "--final-delay-s", "0", "--rewrite-rate", "0", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while line := await process.stdout.readline():
                    found = READY.search(line.decode(errors="replace"))
                    if found:
                        return cls(process, found[1])
        except TimeoutError:
            process.kill()
        await process.wait()
        raise UsageError(
            "the embedded recogniser did not start; set SPEECH_EMULATOR_HOST or GOOGLE_APPLICATION_CREDENTIALS "
            "to use another, or install it: pip install 'fastcall[emulator]'"
        )

    async def stop(self) -> None:
        """End the child and wait for it."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._drain.cancel()

    async def _read_on(self) -> None:
        """Its further output; a pipe that nobody reads would stop it."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            log.info("emulator: %s", line.decode(errors="replace").rstrip())
