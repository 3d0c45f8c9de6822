"""A worker as its supervisor has it, where that needs no process."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastcall.events import CallStarted
from fastcall.metrics import Metrics
from fastcall.server.admission import CallAdmission
from fastcall.server.options import ServeOptions
from fastcall.server.workers import handle
from fastcall.server.workers.handle import RemoteCall, WorkerHandle
from fastcall.twilio.stream_key import StreamKey

MAIN = {"call_sid": "CA1", "stream": "", "tracks": ("inbound",)}
FORK = {"call_sid": "CA1", "stream": "monitor", "tracks": ("inbound",)}


class Owner:
    """A supervisor that has one worker and a gate. Fulfils ``WorkerOwner``."""

    worker_options = ServeOptions()
    worker_timeout_s = 15.0

    def __init__(self, *, is_stopping: bool) -> None:
        self.is_stopping = is_stopping
        self.worker_arguments: list[str] = []
        self.watched: list[str] = []
        self.gate = CallAdmission(max_calls=9)
        self.metrics = Metrics()

    def on_call_entered(self, call: CallStarted, holder: RemoteCall) -> None:
        refusal = self.gate.enter(call, holder, now=0, unix_now=0)
        if refusal is not None:
            holder.revoke(refusal.code, refusal.text)

    def on_call_left(self, holder: RemoteCall) -> None:
        self.gate.leave(holder.key, holder)

    def remote_calls(self, worker: WorkerHandle) -> list[StreamKey]:
        return []

    def publish(self, line: str) -> None:
        pass

    def publish_batch(self, call_sid: str, line: str) -> None:
        pass

    def retain_counters(self, numbers: dict[str, Any]) -> None:
        pass

    def redirect(self, descriptor: int, message: bytes) -> None:
        pass


@pytest.fixture
async def idle() -> AsyncIterator[tuple[WorkerHandle, Owner]]:
    """A worker without a process."""
    owner = Owner(is_stopping=True)
    member = WorkerHandle(1, owner)
    yield member, owner
    await member.stop()


@pytest.mark.parametrize("is_known_to_be_silent", [True, False], ids=["told", "not told yet"])
async def test_a_call_that_came_back_to_its_worker_is_let_alone(
    idle: tuple[WorkerHandle, Owner], is_known_to_be_silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, owner = idle
    said: list[str] = []
    monkeypatch.setattr(member, "send", lambda what, **fields: said.append(what))
    enter = {"type": "enter", "key": MAIN, "stream_sid": "MZ1", "tokens": {}}
    member.on_message(enter)
    if is_known_to_be_silent:
        member.on_message({"type": "silent", "key": MAIN})
    member.on_message({**enter, "stream_sid": "MZ2"})  # the worker has seen that the first socket is dead
    assert (said, owner.gate.live) == ([], 1)
    member.on_message({"type": "leave", "key": MAIN})
    assert owner.gate.live == 0


async def test_what_a_worker_tells_of_one_stream_of_a_call_is_not_of_the_other(
    idle: tuple[WorkerHandle, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    member, owner = idle
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(member, "send", lambda what, **fields: said.append((what, fields)))
    for stream_sid, key in (("MZ1", MAIN), ("MZ2", FORK)):
        member.on_message({"type": "enter", "key": key, "stream_sid": stream_sid, "tokens": {}})
    main, fork = (owner.gate.holder(StreamKey.of_words(key)) for key in (MAIN, FORK))
    assert isinstance(main, RemoteCall)
    assert isinstance(fork, RemoteCall)
    member.on_message({"type": "silent", "key": FORK})
    assert (main.silent_s(), fork.silent_s()) == (0.0, float("inf"))
    member.on_message({"type": "heard", "key": FORK})
    assert (main.silent_s(), fork.silent_s()) == (0.0, 0.0)
    fork.revoke(1008, "why")
    assert said == [("revoke", {"key": FORK, "code": 1008, "text": "why"})]
    member.on_message({"type": "leave", "key": FORK})
    member.on_message({"type": "silent", "key": FORK})  # of a call that has left meanwhile
    assert (main.is_live, fork.is_live, owner.gate.streams) == (True, False, ((main.key, "MZ1"),))


async def test_a_worker_that_could_not_be_started_is_told_of_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owner = Owner(is_stopping=False)
    attempts: list[tuple[int, ...]] = []

    def refuse(*_: str, pass_fds: tuple[int, ...], **__: Any) -> None:
        attempts.append(pass_fds)
        owner.is_stopping = len(attempts) == 3
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(handle, "ChildProcess", refuse)
    monkeypatch.setattr("fastcall.aio.restarts.FIRST_PAUSE_S", 0.0)
    await WorkerHandle(1, owner).stop()
    assert len(attempts) == 3
    assert attempts[0] == attempts[2]  # nothing was left open
    assert "worker 1 cannot be started: no more processes" in caplog.text
