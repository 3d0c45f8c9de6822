"""The embedded recognizer: the emulator as a child process, for trying out without Google."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import subprocess
import sys
from collections.abc import Sequence

from fastcall.aio.child_process import ChildProcess
from fastcall.aio.restarts import RestartPause
from fastcall.errors import UsageError

__all__ = ["EmbeddedRecognizer"]

log = logging.getLogger("fastcall.server.embedded")

READY = re.compile(r"emulator listening on (\S+:\d+)")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


class EmbeddedRecognizer:
    """Owner of the child process, which is started again when it dies. It ends when ``stop`` is called, or by itself
    when this process is gone, because it reads a pipe that only this process holds."""

    def __init__(self, child: ChildProcess, output: asyncio.StreamReader, address: str, command: list[str]) -> None:
        self._child = child
        self._command = command
        self._is_stopping = False
        self.address = address
        """``host:port`` of its plaintext StreamingRecognize service; the same in all its lives."""
        self._task = asyncio.get_running_loop().create_task(self._keep(output))

    @classmethod
    async def start(cls, engine: str = "pocketsphinx", arguments: Sequence[str] = ()) -> EmbeddedRecognizer:
        """Start an emulator on a free port of the loopback.

        :raises UsageError: it did not start; its own message went to stderr
        """
        command = [sys.executable, "-m", "fastcall", "emulator", "--engine", engine]
        command += ["--exit-with-parent", "--final-delay-s", "0", "--rewrite-rate", "0", *arguments]
        child, output = await _launch(command, port="0")
        address = await _address(child, output)
        if address is None:
            raise UsageError(
                "the embedded recognizer did not start; set SPEECH_EMULATOR_HOST or GOOGLE_APPLICATION_CREDENTIALS "
                "to use another, or install it: pip install 'fastcall[emulator]'"
            )
        return cls(child, output, address, command)

    @property
    def pid(self) -> int:
        """The process that it is now."""
        return self._child.pid

    async def stop(self) -> None:
        """End the child and wait for it."""
        self._is_stopping = True
        await self._child.end(STOP_TIMEOUT_S)
        self._task.cancel()
        await asyncio.wait((self._task,))
        await self._child.end(STOP_TIMEOUT_S)  # one that has been started meanwhile
        _close(self._child)

    async def _keep(self, output: asyncio.StreamReader) -> None:
        """Pass its output on, for a pipe that nobody reads would stop it; start it again when it has died."""
        loop = asyncio.get_running_loop()
        pause, port = RestartPause(), self.address.rpartition(":")[2]
        while True:
            began_at = loop.time()
            while line := await output.readline():
                log.info("emulator: %s", line.decode(errors="replace").rstrip())
            status = await self._child.wait()
            if self._is_stopping:
                return
            log.error("the embedded recognizer ended with status %d; starting it again", status)
            await asyncio.sleep(pause.after(loop.time() - began_at))
            _close(self._child)
            with contextlib.suppress(OSError):  # then it has the status of the last one, and there is another time
                self._child, output = await _launch(self._command, port=port)
                if await _address(self._child, output) is not None:
                    log.info("the embedded recognizer is there again, pid %d", self._child.pid)


async def _launch(command: list[str], *, port: str) -> tuple[ChildProcess, asyncio.StreamReader]:
    child = ChildProcess(*command, "--port", port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(output), child.stdout)
    return child, output


async def _address(child: ChildProcess, output: asyncio.StreamReader) -> str | None:
    """Where it listens, once it does; None if it does not, and then it has ended."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT_S):
            while line := await output.readline():
                found = READY.search(line.decode(errors="replace"))
                if found:
                    return found[1]
    child.kill()
    await child.wait()
    _close(child)
    return None


def _close(child: ChildProcess) -> None:
    if child.stdin is not None:
        child.stdin.close()
