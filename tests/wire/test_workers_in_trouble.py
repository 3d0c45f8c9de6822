"""Workers that hang, die oddly, or say what nobody understands: each costs its own calls at most, and is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forkserver import Popen
from peers import PATIENCE_S, Phone, ask, tones
from waiting import until_so
from wire.test_supervisor import Crew, crew

HANDLER = ("--handler", "talkers:break_the_process")
# For tests of what comes of a worker that hangs; the product's own is longer.
TIMEOUT_S = "3"
TESTS = str(Path(__file__).parent.parent)


def broken(
    recognizer: str, *arguments: str, popen: type[subprocess.Popen[Any]] = Popen
) -> contextlib.AbstractAsyncContextManager[Crew]:
    """A server with two workers, whose calls may break the worker that they are in."""
    return crew(recognizer, *HANDLER, *arguments, popen=popen, PYTHONPATH=TESTS, WORKER_TIMEOUT_S=TIMEOUT_S)


async def hears(it: Crew, phone: Phone) -> None:
    """The call is served."""
    await phone.say(tones("[300] apple [300]"))
    await phone.stop()
    await asyncio.to_thread(it.process.wait_for, f"Final: apple call={phone.call_sid}")


async def replaced(it: Crew, pid: int, calls: str) -> None:
    """Worker 1 has died with its calls, and another is there."""
    await asyncio.to_thread(it.process.wait_for, f"worker 1 died of signal 9; lost are {calls}")
    await asyncio.to_thread(it.process.wait_for, f"worker 1 is there, pid (?!{pid}$)")


async def test_workers_that_do_not_answer_get_no_calls_and_are_replaced(prompt_emulator: str) -> None:
    async with broken(prompt_emulator) as it, Phone(it.url, "spins") as phone:
        pids = it.pids
        await phone.start({"kind": "spin"})  # a handler that never yields
        await asyncio.to_thread(it.process.wait_for, r"worker 1 has not answered for .* it gets no calls until it does")
        ready = await ask(it.port, "/readyz")
        assert (ready.status, ready.body) == (200, "ok\nworker 1 does not answer\n")
        for number in range(2):
            async with Phone(it.url, f"other {number}") as other:
                await other.start()
                await hears(it, other)
        await asyncio.to_thread(it.process.wait_for, r"worker 1 has not answered for .* killing it")
        await replaced(it, pids[1], f"1 calls: {phone.call_sid}")
        # On a machine that is busy the other one may have been late too.
        assert await it.number("fastcall_worker_stalls_total", 1) >= 1
        async with Phone(it.url, "first") as first:
            await first.start()
            assert await it.number("fastcall_calls_live", 1) == 1
            os.kill(it.pids[2], signal.SIGSTOP)  # the one without calls: it gets the next
            async with Phone(it.url, "second", open_timeout=PATIENCE_S) as second:
                await second.start()
                await asyncio.to_thread(it.process.wait_for, r"worker 2 died of signal 9; lost are 0 calls")
                await hears(it, second)  # whom worker 2 had not received
            await hears(it, first)
        assert await it.number("fastcall_worker_deaths_total", 2) == 2
        it.process.stop()
        assert "in break_the_process" in it.process.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_what_handlers_start_holds_no_sockets_and_hides_no_death(prompt_emulator: str) -> None:
    async with (
        broken(prompt_emulator, popen=subprocess.Popen) as it,
        Phone(it.url, "forks") as phone,
        Phone(it.url, "other") as other,
        Phone(it.url, "lists") as lists,
    ):
        pids = it.pids
        await lists.start({"kind": "list"})
        await asyncio.to_thread(it.process.wait_for, "^has .* 2 -> ")
        assert not [line for line in tuple(it.process.lines) if line.startswith("has ") and "socket:" in line]
        await other.start()
        await phone.start({"kind": "fork"})
        await phone.say(tones("[300] arrow [300]"))
        await asyncio.to_thread(it.process.wait_for, f"Final: arrow call={phone.call_sid}")
        os.kill(pids[1], signal.SIGKILL)
        await replaced(it, pids[1], ".*" + phone.call_sid)
        await phone.closed()  # the fork had it too
        await hears(it, other)


async def test_what_nobody_understands_ends_the_worker_that_says_it(prompt_emulator: str) -> None:
    async with broken(prompt_emulator) as it, Phone(it.url, "junk") as phone, Phone(it.url, "other") as other:
        pid = it.pids[1]
        await other.start()
        await phone.start({"kind": "junk"})
        line = await asyncio.to_thread(it.process.wait_for, r"worker 1 says what cannot be understood; killing it")
        assert "ERROR" in line.string
        await replaced(it, pid, "1 calls")
        await hears(it, other)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
async def test_a_worker_out_of_descriptors_gets_no_calls_and_loses_none(prompt_emulator: str) -> None:
    async with broken(prompt_emulator) as it, contextlib.AsyncExitStack() as stack:
        taken = max(int(name) for name in os.listdir(f"/proc/{it.pids[1]}/fd")) + 1
        resource.prlimit(it.pids[1], resource.RLIMIT_NOFILE, (taken, taken))
        phones = [await stack.enter_async_context(Phone(it.url, f"full {n}")) for n in range(20)]
        for phone in phones:
            await phone.start()
        assert await it.number("fastcall_calls_live", 20) == 20
        for phone in phones:
            await (await phone.socket.ping())


async def test_a_worker_that_hangs_does_not_outlive_its_parent(prompt_emulator: str) -> None:
    async with broken(prompt_emulator, popen=subprocess.Popen) as it, Phone(it.url, "orphan") as phone:
        await phone.start({"kind": "spin"})
        await asyncio.to_thread(it.process.wait_for, r"worker 1 has not answered")
        os.kill(it.process.pid, signal.SIGKILL)
        await until_so(it.is_gone)
