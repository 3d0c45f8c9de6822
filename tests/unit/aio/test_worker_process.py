"""Worker processes that answer, refuse, die, hang or babble, and what their owner gets to know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastcall.aio import child_process
from fastcall.aio.worker_process import WorkerProcess
from fastcall.errors import UsageError
from peers import PATIENCE_S

BEGIN = "import os, threading\nfrom fastcall.aio.frames import ParentPipe\nparent = ParentPipe.of_stdio()\n"
READY = BEGIN + "parent.send(ready=os.getpid())\n"
ECHO = READY + "for head, payload in parent:\n    print('no frame', flush=True)\n    parent.send(payload, **head)\n"
STAYS = READY + "threading.Event().wait()\n"
STOPPED = READY + "import signal; os.kill(os.getpid(), signal.SIGSTOP)\n"


class Owner:
    """What a worker's owner has been told."""

    def __init__(self, code: str, start_timeout_s: float = PATIENCE_S) -> None:
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        self.process = WorkerProcess(
            "the worker", ["-c", code], start_timeout_s=start_timeout_s, on_message=self._message, on_exit=self._exit
        )

    def _message(self, head: dict[str, Any], payload: bytes) -> None:
        if head.get("raise"):
            raise LookupError("no such thing")
        self.told.put_nowait((head, payload))

    def _exit(self, was_ready: bool) -> None:
        self.told.put_nowait(was_ready)

    async def ready(self) -> int:
        """Its process, when it has become ready."""
        head, _ = await self.told.get()
        pid: int = head["ready"]
        return pid


@contextlib.asynccontextmanager
async def owning(code: str, **options: Any) -> AsyncIterator[Owner]:
    owner = Owner(code, **options)
    try:
        async with asyncio.timeout(PATIENCE_S):
            owner.process.begin()
            yield owner
    finally:
        await owner.process.stop(PATIENCE_S)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_it_answers_and_ends_when_it_is_told_to() -> None:
    async with owning(ECHO) as owner:
        pid = await owner.process.wait_ready()
        assert await owner.ready() == pid == owner.process.pid
        assert owner.process.is_ready
        owner.process.send({"number": 1}, bytes(1_000_000))
        assert await owner.told.get() == ({"number": 1}, bytes(1_000_000))
        await owner.process.stop(PATIENCE_S)
        assert is_gone(pid)
        assert not owner.process.is_ready
        assert await owner.told.get() is True
        owner.process.send({"number": 2})  # to nobody


async def test_one_that_dies_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastcall")
    async with owning(ECHO) as owner:
        first = await owner.ready()
        os.kill(first, signal.SIGKILL)
        assert await owner.told.get() is True
        assert not owner.process.is_ready
        assert await owner.ready() == owner.process.pid != first
        owner.process.send({"number": 1})
        assert await owner.told.get() == ({"number": 1}, b"")
    assert "the worker died of signal 9; starting another" in caplog.text
    assert f"the worker is ready again, pid {owner.process.pid}" in caplog.text


async def test_a_fork_that_holds_its_pipes_delays_nothing() -> None:
    async with owning(READY + "os.fork()\nthreading.Event().wait()\n") as owner:
        first = await owner.ready()
        owner.process.kill()
        assert not owner.process.is_ready
        assert await owner.told.get() is True
        assert await owner.ready() != first


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (BEGIN + "parent.send(refused='no model here')", "no model here"),
        ("raise SystemExit(3)", "the worker ended with status 3 while it loaded"),
        ("import os; os.kill(os.getpid(), 9)", "the worker died of signal 9 while it loaded"),
    ],
)
async def test_who_waits_for_the_start_is_told_why_there_is_none(
    code: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with owning(code) as owner:
        with pytest.raises(UsageError, match=f"^{why}$"):
            await owner.process.wait_ready()
        assert await owner.told.get() is False
        assert caplog.text == ""  # it has been told
        assert await owner.told.get() is False  # of the next attempt
        assert f"{why}; starting another" in caplog.text


async def test_one_that_is_not_ready_in_time_is_killed() -> None:
    async with owning("import signal; signal.pause()", start_timeout_s=0.01) as owner:
        with pytest.raises(UsageError, match=r"^the worker was not ready within 0\.01 s$"):
            await owner.process.wait_ready()
        assert await owner.told.get() is False


async def test_what_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(11, "no more processes")

    with monkeypatch.context() as full:
        full.setattr(child_process.subprocess, "Popen", refuse)
        owner = Owner(ECHO)
        owner.process.begin()
        with pytest.raises(UsageError, match=r"could not be started \(no more processes\)"):
            await owner.process.wait_ready()
        assert await owner.told.get() is False
    assert await owner.ready() == owner.process.pid
    await owner.process.stop(PATIENCE_S)


@pytest.mark.parametrize(
    "babble", ["os.write(parent._sink.fileno(), b'GET / HTTP/1.1')", "parent.send(**{'raise': True})"]
)
async def test_one_that_cannot_be_understood_is_killed(babble: str, caplog: pytest.LogCaptureFixture) -> None:
    async with owning(f"{READY}{babble}\nthreading.Event().wait()\n") as owner:
        await owner.ready()
        assert await owner.told.get() is True
    assert "the worker sent an invalid message; killing it" in caplog.text


async def test_one_that_is_at_work_ends_with_its_parent() -> None:
    """Its pipe is closed, as if this process were gone."""
    async with owning(STAYS) as owner:
        await owner.ready()
        assert owner.process.status is None
        await owner.process.stop(grace_s=PATIENCE_S)
        assert owner.process.status == 0  # not killed


async def test_one_that_does_not_end_is_killed() -> None:
    async with owning(STOPPED) as owner:
        pid = await owner.ready()
        await owner.process.stop(grace_s=0.01)
        assert is_gone(pid)


async def test_a_stop_while_it_starts_leaves_no_process() -> None:
    async with owning(STAYS) as owner:
        await asyncio.sleep(0)  # the process is begun, and not spoken with
        pid = owner.process.pid
        await owner.process.stop(grace_s=0.01)
        assert pid is not None
        assert is_gone(pid)
        with pytest.raises(UsageError):
            await owner.process.wait_ready()


async def test_what_was_never_begun_may_be_stopped() -> None:
    owner = Owner(ECHO)
    await owner.process.stop(PATIENCE_S)
    assert owner.process.pid is None
    owner.process.kill()
