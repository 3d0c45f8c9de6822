"""Where the supervisor brings connections, where that needs no process."""

from __future__ import annotations

import os
from typing import cast

import pytest

from fastcall.events import CallStarted
from fastcall.server.workers.fd_forwarder import moved_message
from fastcall.server.workers.handle import RemoteCall, WorkerHandle
from fastcall.server.workers.supervisor import Supervisor
from fastcall.twilio.stream_key import StreamKey
from supervising import ScriptedWorker, supervising

KEY = StreamKey("CA1", "monitor")
MESSAGE = moved_message({"key": KEY.words(), "target": "/media"}, b"frames")


def enter(supervisor: Supervisor, worker: ScriptedWorker) -> RemoteCall:
    call = CallStarted("MZ1", "CA1", "AC", custom_parameters={"fastcall_stream": "monitor"})
    holder = RemoteCall(cast(WorkerHandle, worker), call)
    supervisor.on_call_entered(call, holder)
    return holder


def give_away(supervisor: Supervisor) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    supervisor.redirect(descriptor, MESSAGE)
    with pytest.raises(OSError):
        os.fstat(descriptor)


@pytest.mark.parametrize(
    ("of_the_call", "taken"),
    [
        (ScriptedWorker(load=9), [0, 1]),
        (ScriptedWorker(load=9, has_room=False), [0, 1]),
        (ScriptedWorker(load=9, takes=False), [1, 0]),
        (ScriptedWorker(load=9, is_full=True), [1, 0]),
        (ScriptedWorker(load=9, is_ready=False), [1, 0]),
    ],
    ids=["it takes it", "it has no room for new calls", "its way is full", "no descriptors", "it does not answer"],
)
async def test_a_stream_that_comes_back_is_brought_to_the_worker_of_its_call_or_else_to_another(
    of_the_call: ScriptedWorker, taken: list[int]
) -> None:
    other = ScriptedWorker(load=0)
    async with supervising(other, of_the_call) as supervisor:
        enter(supervisor, of_the_call)
        give_away(supervisor)
        assert [len(each.taken) for each in (other, of_the_call)] == taken


async def test_a_stream_whose_call_has_ended_meanwhile_is_brought_to_the_worker_with_the_fewest() -> None:
    busy, idle = ScriptedWorker(load=9), ScriptedWorker(load=0)
    async with supervising(busy, idle) as supervisor:
        supervisor.on_call_left(enter(supervisor, busy))
        give_away(supervisor)
        assert (busy.taken, idle.taken) == ([], [MESSAGE])


async def test_a_stream_that_no_worker_takes_is_closed_and_counted() -> None:
    async with supervising(ScriptedWorker(load=0, takes=False)) as supervisor:
        give_away(supervisor)
        assert supervisor.metrics.calls_refused == {"no_worker": 1}


async def test_workers_are_told_which_calls_are_elsewhere() -> None:
    first, second = ScriptedWorker(load=0), ScriptedWorker(load=0)
    async with supervising(first, second) as supervisor:
        holder = enter(supervisor, first)
        assert [each.told[-1]["is_live"] for each in (first, second)] == [False, True]
        assert supervisor.remote_calls(cast(WorkerHandle, first)) == []
        assert supervisor.remote_calls(cast(WorkerHandle, second)) == [KEY]
        double = enter(supervisor, second)  # at the same moment: it had not been told yet
        assert [len(each.told) for each in (first, second)] == [1, 1]
        supervisor.on_call_left(holder)  # and so the other one stays
        assert [each.told[-1]["is_live"] for each in (first, second)] == [True, False]
        assert second.told[-1] == {"type": "remote", "key": KEY.words(), "is_live": False}
        supervisor.on_call_left(double)
        assert [each.told[-1]["is_live"] for each in (first, second)] == [False, False]
