"""The embedded recognizer: the emulator as a child process, for trying out without Google."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any

from fastcall.aio.worker_process import WorkerProcess
from fastcall.errors import UsageError

__all__ = ["EmbeddedRecognizer"]

log = logging.getLogger("fastcall.server.embedded")

READY = re.compile(r"emulator listening on (\S+:\d+)")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


class EmbeddedRecognizer:
    """Owner of the child process, which is started again when it dies, until ``stop`` is called."""

    def __init__(self, process: WorkerProcess, address: str) -> None:
        self._process = process
        self.address = address
        """``host:port`` of its plaintext StreamingRecognize service; the same in all its lives."""

    @classmethod
    async def start(cls, engine: str = "pocketsphinx", arguments: Sequence[str] = ()) -> EmbeddedRecognizer:
        """Start an emulator on a free port of the loopback.

        :raises UsageError: it did not start; its own message went to stderr
        """
        command = ["-m", "fastcall", "emulator", "--engine", engine, "--exit-with-parent"]
        command += ["--final-delay-s", "0", "--rewrite-rate", "0", *arguments, "--port"]
        process = WorkerProcess(
            "the embedded recognizer", [*command, "0"], start_timeout_s=START_TIMEOUT_S, read=_read_line
        )
        process.begin()
        try:
            address = await process.wait_ready()
        except UsageError as error:
            await process.stop(STOP_TIMEOUT_S)
            raise UsageError(
                "the embedded recognizer did not start; set SPEECH_EMULATOR_HOST or GOOGLE_APPLICATION_CREDENTIALS "
                "to use another, or install it: pip install 'fastcall[emulator]'"
            ) from error
        process.arguments = [*command, address.rpartition(":")[2]]
        return cls(process, address)

    @property
    def pid(self) -> int | None:
        """The process that it is now."""
        return self._process.pid

    async def stop(self) -> None:
        """End the child and wait for it."""
        await self._process.stop(STOP_TIMEOUT_S)


async def _read_line(output: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """Its next line: ready, with its address, or what it prints."""
    line = (await output.readuntil(b"\n")).decode(errors="replace").rstrip()
    log.info("emulator: %s", line)
    found = READY.search(line)
    return ({"ready": found[1]} if found else {}), b""
