"""A child process, seen to end though others hold what it held."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from fastcall.aio.child_process import ChildProcess
from peers import PATIENCE_S

# Another process of its group has its pipe, and says so.
FORKS = "import os, sys, threading\nif not os.fork():\n    threading.Event().wait()\nprint(1, flush=True)\n"
BOTH_WAYS = pytest.mark.parametrize("has_pidfd", [True, False], ids=["pidfd", "thread"])


@pytest.fixture
def way(has_pidfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old kernel has no pidfd."""

    def refuse(*_: int) -> int:
        raise OSError("there is no such call")

    if not has_pidfd:
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)


def start(code: str, *more: str) -> ChildProcess:
    return ChildProcess(sys.executable, "-c", code + "".join(more), stdout=subprocess.PIPE)


async def line_of(child: ChildProcess) -> bytes:
    assert child.stdout is not None
    return await asyncio.to_thread(child.stdout.readline)


@BOTH_WAYS
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("act", "status"), [(ChildProcess.kill, -signal.SIGKILL), (lambda child: child.send_signal(15), -signal.SIGTERM)]
)
async def test_its_end_is_seen_and_that_of_its_group_comes(act: Callable[[ChildProcess], None], status: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        child = start(FORKS, "threading.Event().wait()")
        assert await line_of(child) == b"1\n"
        assert child.status is None
        act(child)
        assert await child.wait() == status
        assert child.status == status
        # The fork had the pipe as well: it ends only with the fork.
        assert await line_of(child) == b""
    assert child.stdout is not None
    child.stdout.close()


@BOTH_WAYS
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("code", "understood", "status"),
    [("", True, 0), ("threading.Event().wait()", False, -signal.SIGKILL)],
    ids=["it ends by itself", "it cannot be understood"],
)
async def test_who_listens_is_told_how_it_ended(code: str, understood: bool, status: int) -> None:
    async def listen() -> bool:
        assert await line_of(child) == b"1\n"
        return understood

    async with asyncio.timeout(PATIENCE_S):
        child = start(FORKS, code)
        assert await child.wait_listening(listen()) == status
        child.send_signal(signal.SIGTERM)  # to nobody
        child.kill()
    assert child.stdout is not None
    child.stdout.close()


async def test_what_is_not_there_cannot_be_started() -> None:
    with pytest.raises(OSError):
        ChildProcess("/no/such/program")
