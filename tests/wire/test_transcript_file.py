"""The file of --transcripts, when its disk is full and when it is rotated."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from peers import PATIENCE_S, Phone, Process, ask, serve_process, tones, values_of
from waiting import until_so

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def serving(recognizer: str, path: Path, workers: str) -> contextlib.AbstractAsyncContextManager[Process]:
    options = ("--workers", workers, "--transcripts", str(path), "--drain-timeout", "0")
    return serve_process(*options, SPEECH_EMULATOR_HOST=recognizer)


async def call(process: Process, name: str) -> str:
    """A call that says a word; its id, when it is over."""
    async with Phone(process.ready[1], name) as phone:
        await phone.start()
        await phone.say(tones("[300] apple [300]"))
        await phone.stop()
        await asyncio.to_thread(process.wait_for, f"Streaming session closed call={phone.call_sid}")
    return phone.call_sid


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def has_all_of(call_sid: str, *paths: Path) -> bool:
    """Whether the last record of the call is in one of the files; all of them hold whole lines only."""
    return any((r["call_sid"], r["event"]) == (call_sid, "call_ended") for path in paths for r in records(path))


async def whole(path: Path, call_sid: str) -> None:
    """All of the call is in the file."""
    await until_so(lambda: has_all_of(call_sid, path))


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
@WORKERS
async def test_a_full_disk_is_told_once_and_nothing_is_lost_when_there_is_room(
    workers: str, prompt_emulator: str, tmp_path: Path
) -> None:
    path = tmp_path / "calls.ndjson"
    async with serving(prompt_emulator, path, workers) as process:
        port = int(process.ready[1].rpartition(":")[2].partition("/")[0])
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))  # as a disk with 100 bytes
        calls = [await call(process, f"full {number}") for number in range(2)]
        await asyncio.to_thread(process.wait_for, "ERROR cannot write transcripts: ")
        assert path.stat().st_size == 100
        ready = await ask(port, "/readyz")
        assert (ready.status, ready.body) == (200, "ok\ntranscripts cannot be written: File too large\n")
        numbers = values_of((await ask(port, "/metrics")).body)
        assert numbers["fastcall_transcript_lines_waiting"] > 0
        assert numbers["fastcall_transcript_lines_dropped_total"] == 0
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await asyncio.to_thread(process.wait_for, "transcripts can be written again; lines dropped so far: 0")
        for call_sid in calls:
            await whole(path, call_sid)
        assert (await ask(port, "/readyz")).body == "ok\n"
    assert sum("cannot write transcripts" in line for line in process.lines) == 1
    assert len({(r["call_sid"], r["event"]) for r in records(path) if r["event"] == "call_ended"}) == 2


@WORKERS
async def test_it_is_rotated_by_renaming_and_by_truncating(workers: str, prompt_emulator: str, tmp_path: Path) -> None:
    path, old = tmp_path / "calls.ndjson", tmp_path / "calls.ndjson.1"
    async with serving(prompt_emulator, path, workers) as process:
        first = await call(process, "first")
        await whole(path, first)
        path.rename(old)
        process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(process.wait_for, "transcripts continue in a new file")
        second = await call(process, "second")
        await whole(path, second)
        assert {record["call_sid"] for record in records(old)} == {first}
        assert {record["call_sid"] for record in records(path)} == {second}
        os.truncate(path, 0)  # what logrotate's copytruncate does, after it has made a copy
        third = await call(process, "third")
        await whole(path, third)
        assert {record["call_sid"] for record in records(path)} == {third}


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
async def test_a_line_that_a_full_disk_has_cut_off_is_whole_in_the_file_that_follows(
    prompt_emulator: str, tmp_path: Path
) -> None:
    path = tmp_path / "calls.ndjson"
    async with serving(prompt_emulator, path, "1") as process:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))  # less than a line
        first = await call(process, "first")
        await asyncio.to_thread(process.wait_for, "ERROR cannot write transcripts: ")
        for number in range(2):  # rotated while there is no room, and the new file has none either
            path.rename(tmp_path / f"calls.ndjson.{number}")
            process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(PATIENCE_S):
                while not path.exists() or path.stat().st_size < 100:
                    await asyncio.to_thread(path.exists)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        path.rename(older := tmp_path / "calls.ndjson.2")
        process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(process.wait_for, "transcripts can be written again; lines dropped so far: 0")
        # It may have tried the older file once more before it saw the signal: then the line is whole in that.
        begins_in = path if older.stat().st_size == 100 else older
        await until_so(lambda: has_all_of(first, begins_in, path))
    assert records(begins_in)[0]["event"] == "call_started"
