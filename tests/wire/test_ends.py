"""A process ends when it is asked to, and never because a call's code would like it to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forkserver import Popen
from peers import PATIENCE_S, Phone, serve_environment, serve_process, tones
from waiting import until_so
from workers import serving_workers

TESTS = str(Path(__file__).parent.parent)
HANDLER = "talkers:break_the_process"


@pytest.mark.parametrize(
    ("handler", "kinds"),
    [(HANDLER, ["exit", "interrupt", "task", "callback"]), (f"{HANDLER}_from_a_thread", ["exit", "interrupt"])],
)
async def test_no_handler_ends_the_process(handler: str, kinds: list[str], prompt_emulator: str) -> None:
    options = ("--handler", handler, "--drain-timeout", "0")
    async with serve_process(*options, SPEECH_EMULATOR_HOST=prompt_emulator, PYTHONPATH=TESTS) as process:
        for kind in kinds:
            async with Phone(process.ready[1], kind) as phone:
                await phone.start({"kind": kind})
                await phone.say(tones("[300] apple [300]"))
                await phone.stop()
                await asyncio.to_thread(process.wait_for, f"(Final|Amended): apple call={phone.call_sid}")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0
    told = [line for line in process.lines if "the handler failed" in line or "tried to end the process" in line]
    assert len(told) == len(kinds), process.lines


@pytest.mark.parametrize("kind", ["swallow", "thread", "spin"])
async def test_sigterm_ends_it_whatever_a_handler_does(kind: str, prompt_emulator: str) -> None:
    options = ("--handler", f"impatient:{HANDLER.partition(':')[2]}", "--drain-timeout", "0")
    async with (
        serve_process(*options, SPEECH_EMULATOR_HOST=prompt_emulator, PYTHONPATH=TESTS) as process,
        Phone(process.ready[1], kind) as phone,
    ):
        await phone.start({"kind": kind})
        await asyncio.to_thread(process.wait_for, "handler begins")
        process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(process.wait)
    # Where the loop turns, all calls were closed, and what is left behind is no failure.
    assert status == (1 if kind == "spin" else 0)
    assert any("exiting by force" in line for line in process.lines) is (kind != "swallow")
    assert any("abandoning it" in line for line in process.lines) is (kind == "swallow")


def test_sigterm_ends_it_though_nobody_reads_its_log(prompt_emulator: str) -> None:
    reading, writing = os.pipe()
    size = os.pathconf(writing, "PC_PIPE_BUF")
    child = Popen(
        [sys.executable, "-m", "fastcall", "serve", "--port", "0", "--workers", "2", "--drain-timeout", "0"],
        env=serve_environment(SPEECH_EMULATOR_HOST=prompt_emulator),
        stdout=writing,
    )
    with child, open(reading, "rb", buffering=0) as log, open(writing, "wb", buffering=0) as filler:
        while b"listening on" not in log.read(size):
            pass
        os.set_blocking(writing, False)
        while filler.write(bytes(size)):  # as full as it can be: the child's end is the same pipe
            pass
        os.set_blocking(writing, True)
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 0


async def test_orphans_end_though_a_handler_will_not_be_cancelled(prompt_emulator: str) -> None:
    options = ("--handler", f"impatient:{HANDLER.partition(':')[2]}")
    orphans = serving_workers(prompt_emulator, *options, popen=subprocess.Popen, PYTHONPATH=TESTS)
    async with orphans as it, Phone(it.url, "orphan") as phone:
        await phone.start({"kind": "swallow"})
        await asyncio.to_thread(it.process.wait_for, "handler begins")
        os.kill(it.process.pid, signal.SIGKILL)
        await until_so(it.is_gone)
