"""Whisper workers as real processes, with an engine that hangs, dies or answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fastcall.errors import RecognizerError, UsageError
from fastcall.whisper.engine import EngineOptions
from fastcall.whisper.pool import MAX_WAITING, WhisperFallback
from peers import PATIENCE_S

TESTS = str(Path(__file__).resolve().parents[2])


@pytest.fixture(autouse=True)
def _stubs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)


@contextlib.asynccontextmanager
async def running(
    engine: str = "Stub", *, language: str = "en-US", workers: int = 1, limit_s: float = 20.0
) -> AsyncIterator[WhisperFallback]:
    whisper = WhisperFallback(
        EngineOptions("stub"), language=language, workers=workers, limit_s=limit_s, engine=f"stub_engines:{engine}"
    )
    try:
        await whisper.start()
        yield whisper
    finally:
        await whisper.aclose()


async def test_answers_come_back_and_the_process_stays() -> None:
    async with running() as whisper:
        assert whisper.source == "whisper"
        pids = whisper.pids
        texts = await asyncio.gather(*(whisper.recognize(bytes(2 * n), "he-IL") for n in range(5)))
        assert texts == [f"he-IL {2 * n} bytes, number {n + 1}" for n in range(5)]
        assert whisper.pids == pids != [os.getpid()]
    assert whisper.pids == []


async def test_several_workers_share_the_work() -> None:
    async with running(workers=2) as whisper:
        assert len(set(whisper.pids)) == 2
        hanging = asyncio.create_task(whisper.recognize(b"", "hang"))
        assert await whisper.recognize(b"", "en-US") == "en-US 0 bytes, number 1"
        hanging.cancel()


async def test_a_minute_of_audio_passes_the_pipe() -> None:
    async with running() as whisper:
        assert await whisper.recognize(bytes(16_000 * 60), "en-US") == "en-US 960000 bytes, number 1"


async def test_what_the_engine_raises_is_told_and_the_worker_goes_on() -> None:
    async with running() as whisper:
        with pytest.raises(RecognizerError, match="INTERNAL: ValueError: no such sound"):
            await whisper.recognize(b"", "raise")
        assert await whisper.recognize(b"", "print") == "print 0 bytes, number 2"  # and not in the pipe


async def test_a_worker_that_dies_is_told_and_started_again() -> None:
    async with running() as whisper:
        (pid,) = whisper.pids
        with pytest.raises(RecognizerError, match="INTERNAL: the Whisper worker has ended"):
            await whisper.recognize(b"", "crash")
        assert await whisper.recognize(b"", "en-US") == "en-US 0 bytes, number 1"
        assert whisper.pids != [pid]


async def test_a_worker_that_is_killed_while_it_is_idle_is_started_again() -> None:
    async with running() as whisper:
        os.kill(whisper.pids[0], signal.SIGKILL)
        with contextlib.suppress(RecognizerError):  # it may still seem to be alive
            await whisper.recognize(b"", "en-US")
        assert await whisper.recognize(b"", "en-US")


async def test_a_worker_that_hangs_is_killed_and_started_again() -> None:
    async with running(limit_s=1.5) as whisper:
        (pid,) = whisper.pids
        with pytest.raises(RecognizerError, match=r"DEADLINE_EXCEEDED: no answer within 1\.5 s"):
            await whisper.recognize(b"", "hang")
        assert await whisper.recognize(b"", "en-US") == "en-US 0 bytes, number 1"
        assert whisper.pids != [pid]


async def test_the_queue_is_bounded_and_the_urgent_come_first() -> None:
    async with running(limit_s=1.5) as whisper:
        hanging = asyncio.create_task(whisper.recognize(b"", "hang"))
        await asyncio.sleep(0)
        patient = [
            asyncio.create_task(whisper.recognize(bytes(2), "patient", urgent=False)) for _ in range(MAX_WAITING // 2)
        ]
        await asyncio.sleep(0)
        with pytest.raises(RecognizerError, match="RESOURCE_EXHAUSTED"):
            await whisper.recognize(b"", "en-US", urgent=False)
        urgent = [asyncio.create_task(whisper.recognize(b"", "urgent")) for _ in range(MAX_WAITING // 2)]
        await asyncio.sleep(0)
        assert whisper.waiting == MAX_WAITING
        with pytest.raises(RecognizerError, match="RESOURCE_EXHAUSTED"):
            await whisper.recognize(b"", "en-US")
        with pytest.raises(RecognizerError, match="DEADLINE_EXCEEDED"):
            await hanging
        numbers = [int(text.split()[-1]) for text in await asyncio.gather(*urgent, *patient)]
        assert numbers == list(range(1, MAX_WAITING + 1))
        assert whisper.waiting == 0


async def test_who_gives_up_waiting_leaves_the_queue() -> None:
    async with running() as whisper:
        tasks = [asyncio.create_task(whisper.recognize(b"", "hang")) for _ in range(3)]
        await asyncio.sleep(0)
        assert whisper.waiting == 2
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert whisper.waiting == 0


async def test_closing_ends_what_waits_and_leaves_no_process() -> None:
    async with running() as whisper:
        (pid,) = whisper.pids
        asking = [asyncio.create_task(whisper.recognize(b"", "hang")) for _ in range(2)]
        await asyncio.sleep(0)
    for task in asking:
        with pytest.raises(RecognizerError):
            await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RecognizerError, match="closed"):
        await whisper.recognize(b"", "en-US")


@pytest.mark.parametrize(
    ("engine", "language", "message"),
    [
        ("Refusing", "en-US", "no model here: name another"),
        ("Dying", "en-US", "ended with status 3 while it loaded"),
        ("Stub", "xx", "does not support the language xx"),
    ],
)
async def test_a_worker_that_cannot_start_says_why(engine: str, language: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        async with running(engine, language=language):
            pass


LEFT_BEHIND = """
import asyncio, os
from fastcall.whisper.engine import EngineOptions
from fastcall.whisper.pool import WhisperFallback

async def main():
    whisper = WhisperFallback(EngineOptions("stub"), language="en-US", workers=1, engine="stub_engines:Stub")
    await whisper.start()
    os._exit(7)

asyncio.run(main())
"""


def test_a_worker_ends_with_the_server() -> None:
    """However that ends: a worker reads a pipe that only the server holds. As long as there is one, so is its log."""
    ended = subprocess.run([sys.executable, "-c", LEFT_BEHIND], check=False, stderr=subprocess.PIPE, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stderr) == (7, b"")
