"""A server with workers, as seen from outside: its processes, their sockets, and what it says of calls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import forkserver
from peers import PATIENCE_S, Phone, Process, ask, next_record, serve_process, values_of
from waiting import until_so

__all__ = ["Records", "Workers", "is_alive", "on_the_line", "serving_workers", "sockets_of"]


class Workers:
    """A server with workers, as seen from outside."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.url = process.ready[1]
        self.port = int(self.url.rpartition(":")[2].partition("/")[0])

    @property
    def pids(self) -> dict[int, int]:
        """Of each worker the process that it last was."""
        found = (re.search(r"worker (\d+) ready, pid (\d+)", line) for line in tuple(self.process.lines))
        # In their own order, whoever of them was there first.
        return dict(sorted((int(each[1]), int(each[2])) for each in found if each))

    async def has_sockets(self, counts: list[int]) -> bool:
        """Whether each worker has so many connections."""
        return await asyncio.to_thread(lambda: [sockets_of(pid, self.port) for pid in self.pids.values()]) == counts

    async def is_gone(self) -> bool:
        """Whether no worker runs."""
        return not await asyncio.to_thread(lambda: any(map(is_alive, self.pids.values())))

    async def numbers(self) -> dict[str, float]:
        return values_of((await ask(self.port, "/metrics")).body)

    async def number(self, name: str, at_least: float) -> float:
        """The number, once it is so large."""
        value = 0.0

        async def is_reached() -> bool:
            nonlocal value
            value = (await self.numbers()).get(name, 0.0)
            return value >= at_least

        await until_so(is_reached)
        return value


@contextlib.asynccontextmanager
async def serving_workers(
    recognizer: str, *arguments: str, popen: type[subprocess.Popen[Any]] = forkserver.Popen, **variables: str
) -> AsyncIterator[Workers]:
    options = ("--workers", "2", "--drain-timeout", "0", *arguments)
    async with serve_process(*options, popen=popen, SPEECH_EMULATOR_HOST=recognizer, **variables) as process:
        yield Workers(process)


def is_alive(pid: int) -> bool:
    """Whether the process runs (and is no zombie)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Records:
    """What /events says."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._records: list[dict[str, Any]] = []

    async def wait_for(self, stream_sid: str, event: str) -> dict[str, Any]:
        """The first such event of the stream, now or later."""

        def is_it(record: dict[str, Any]) -> bool:
            return bool((record["stream_sid"], record["event"]) == (stream_sid, event))

        while not (found := [record for record in self._records if is_it(record)]):
            record = await next_record(self._reader)
            assert record is not None
            self._records.append(record)
        return found[0]

    def events(self, stream_sid: str) -> list[str]:
        return [record["event"] for record in self._records if record["stream_sid"] == stream_sid]

    def texts(self, stream_sid: str) -> list[str]:
        ends = (each for each in self._records if each["event"] == "utterance_end")
        return [record["text"] for record in ends if record["stream_sid"] == stream_sid]


def sockets_of(pid: int, port: int) -> int:
    """Connections at the port that the process has."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(entry).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" and row[9] in inodes for row in rows)


@contextlib.asynccontextmanager
async def on_the_line(*phones: Phone) -> AsyncIterator[None]:
    """They send silence meanwhile, as Twilio does."""
    lines = [asyncio.create_task(phone.speak(bytes([0xFF]) * int(8000 * PATIENCE_S))) for phone in phones]
    try:
        yield
    finally:
        for line in lines:
            line.cancel()
