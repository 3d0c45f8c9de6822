"""Workers that hang, die oddly, or say what nobody understands: each costs its own calls at most, and is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from forkserver import Popen
from peers import PATIENCE_S, Phone, ask, reading, serve_process, tones
from waiting import until_so
from workers import Records, Workers, serving_workers

HANDLER = ("--handler", "talkers:break_the_process")
# For tests of what comes of a worker that hangs; the product's own is longer.
TIMEOUT_S = "3"
TESTS = str(Path(__file__).parent.parent)


def broken(
    recognizer: str, *arguments: str, popen: type[subprocess.Popen[Any]] = Popen
) -> contextlib.AbstractAsyncContextManager[Workers]:
    """A server with two workers, whose calls may break the worker that they are in."""
    return serving_workers(recognizer, *HANDLER, *arguments, popen=popen, PYTHONPATH=TESTS, WORKER_TIMEOUT_S=TIMEOUT_S)


async def hears(it: Workers, phone: Phone) -> None:
    """The call is served."""
    await phone.say(tones("[300] apple [300]"))
    await phone.stop()
    await asyncio.to_thread(it.process.wait_for, f"(Final|Amended): apple call={phone.call_sid}")


async def replaced(it: Workers, pid: int, calls: str) -> None:
    """Worker 1 has died with its calls, and another is there."""
    await asyncio.to_thread(it.process.wait_for, f"worker 1 was killed by signal 9; {calls}")
    await asyncio.to_thread(it.process.wait_for, f"worker 1 ready, pid (?!{pid}$)")


@contextlib.contextmanager
def out_of_descriptors(pid: int, *, but: int = 0) -> Iterator[None]:
    """Inside, the process may open no more descriptors, or so many more."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = [number for number in range(max(taken) + but + 2) if number not in taken]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[but], hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


async def test_workers_that_do_not_answer_get_no_calls_and_are_replaced(prompt_emulator: str) -> None:
    async with broken(prompt_emulator) as it, Phone(it.url, "spins") as phone:
        pids = it.pids
        await phone.start({"kind": "spin"})  # a handler that never yields
        await asyncio.to_thread(
            it.process.wait_for, r"worker 1 has not responded for .* it gets no calls until it does"
        )
        ready = await ask(it.port, "/readyz")
        assert (ready.status, ready.body) == (200, "ok\nworker 1 does not respond\n")
        for number in range(2):
            async with Phone(it.url, f"other {number}") as other:
                await other.start()
                await hears(it, other)
        await asyncio.to_thread(it.process.wait_for, r"worker 1 has not responded for .* killing it")
        await replaced(it, pids[1], f"1 calls lost: {phone.call_sid}")
        # On a machine that is busy the other one may have been late too.
        assert await it.number("fastcall_worker_stalls_total", 1) >= 1
        async with reading(it.port) as live, Phone(it.url, "one") as one, Phone(it.url, "two") as two:
            await one.start()
            await two.start()
            assert await it.number("fastcall_calls_live", 2) == 2
            os.kill(it.pids[2], signal.SIGSTOP)
            async with Phone(it.url, "second", open_timeout=PATIENCE_S) as second:
                await second.start()
                died = await asyncio.to_thread(
                    it.process.wait_for, r"worker 2 was killed by signal 9; 1 calls lost: (\S+)"
                )
                await hears(it, second)  # whom worker 2 had not received, if it was sent to it
            lost, kept = (one, two) if died[1] == one.call_sid else (two, one)
            assert died[1] == lost.call_sid
            ended = await Records(live).wait_for(lost.stream_sid, "call_ended")
            assert ended["text"] == "the worker process of the call crashed"
            assert (await lost.closed())[0] == 1006
            await hears(it, kept)
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
        await asyncio.to_thread(it.process.wait_for, f"(Final|Amended): arrow call={phone.call_sid}")
        os.kill(pids[1], signal.SIGKILL)
        await replaced(it, pids[1], ".*" + phone.call_sid)
        await phone.closed()  # the fork had it too
        await hears(it, other)


async def test_what_nobody_understands_ends_the_worker_that_says_it(prompt_emulator: str) -> None:
    async with broken(prompt_emulator) as it, Phone(it.url, "junk") as phone, Phone(it.url, "other") as other:
        pid = it.pids[1]
        await other.start()
        await phone.start({"kind": "junk"})
        line = await asyncio.to_thread(it.process.wait_for, r"worker 1 sent an invalid message; killing it")
        assert "ERROR" in line.string
        await replaced(it, pid, "1 calls lost")
        await hears(it, other)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
async def test_a_worker_out_of_descriptors_gets_no_calls_and_loses_none(prompt_emulator: str) -> None:
    async with broken(prompt_emulator) as it, contextlib.AsyncExitStack() as stack:
        with out_of_descriptors(it.pids[1]):
            phones = [await stack.enter_async_context(Phone(it.url, f"full {n}")) for n in range(20)]
            for phone in phones:
                await phone.start()
            assert await it.number("fastcall_calls_live", 20) == 20
            for phone in phones:
                await (await phone.socket.ping())
            await asyncio.to_thread(
                it.process.wait_for, "ERROR .*worker 1 is out of file descriptors; it gets no calls"
            )
            ready = await ask(it.port, "/readyz")
            assert (ready.status, ready.body) == (200, "ok\nworker 1 is out of file descriptors\n")
        await asyncio.to_thread(it.process.wait_for, "worker 1 has file descriptors again")
        ready = await ask(it.port, "/readyz")
        assert (ready.status, ready.body) == (200, "ok\n")
        async with Phone(it.url, "to the one that has fewer") as phone:
            await phone.start()
            assert await it.number("fastcall_calls_live", 21) == 21
            await until_so(lambda: it.has_sockets([1, 20]))


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
async def test_a_server_out_of_descriptors_says_so_and_takes_calls_when_it_has_some(prompt_emulator: str) -> None:
    async with (
        serve_process(SPEECH_EMULATOR_HOST=prompt_emulator) as process,
        Phone(process.ready[1], "before") as before,
    ):
        it = Workers(process)
        await before.start()
        await asyncio.to_thread(process.wait_for, f"Streaming session started call={before.call_sid}")
        with out_of_descriptors(process.pid, but=8):
            ready = await ask(it.port, "/readyz")
            assert ready.status == 503
            await asyncio.to_thread(process.wait_for, "ERROR .*nearly out of file descriptors")
            assert "nearly out of file descriptors: raise the limit (ulimit -n, LimitNOFILE)\n" in ready.body
            with pytest.raises(InvalidStatus, match="503"):
                async with Phone(it.url, "refused"):
                    pass

        async def is_cut_off() -> bool:
            """Whoever comes while there are none; those that were used just now may still be closed."""
            with out_of_descriptors(process.pid):
                try:
                    await ask(it.port, "/healthz")
                except ConnectionError:
                    return True
                return False

        await until_so(is_cut_off)
        with out_of_descriptors(process.pid):
            await before.say(tones("[300] apple [300]"))
            await asyncio.to_thread(process.wait_for, f"Partial: apple call={before.call_sid}")
        await asyncio.to_thread(process.wait_for, "file descriptors are available again")
        ready = await ask(it.port, "/readyz")
        assert (ready.status, ready.body) == (200, "ok\n")
        async with Phone(it.url, "after") as after:
            await after.start()
            await hears(it, after)
        await before.stop()
        await asyncio.to_thread(process.wait_for, f"(Final|Amended): apple call={before.call_sid}")


async def test_a_worker_that_hangs_does_not_outlive_its_parent(prompt_emulator: str) -> None:
    async with broken(prompt_emulator, popen=subprocess.Popen) as it, Phone(it.url, "orphan") as phone:
        await phone.start({"kind": "spin"})
        await asyncio.to_thread(it.process.wait_for, r"worker 1 has not responded")
        os.kill(it.process.pid, signal.SIGKILL)
        await until_so(it.is_gone)
