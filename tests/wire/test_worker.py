"""A worker whose parent is gone."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
import uvloop

from fastcall.server.call_manager import CallManager
from fastcall.server.options import ServeOptions
from fastcall.server.workers.fd_forwarder import handover_pair
from fastcall.server.workers.worker import LINE_LIMIT_BYTES, Worker
from fastcall.settings import Settings
from peers import PATIENCE_S, Phone, tones
from waiting import until_so
from workers import serving_workers


async def test_a_worker_whose_parent_was_killed_closes_its_calls_and_ends(prompt_emulator: str) -> None:
    async with serving_workers(prompt_emulator, popen=subprocess.Popen) as it, Phone(it.url, "orphan") as phone:
        await phone.start()
        await phone.say(tones("[300] apple arrow [400]"))
        await asyncio.to_thread(it.process.wait_for, "Streaming session started")
        await (await phone.socket.ping())
        os.kill(it.process.pid, signal.SIGKILL)
        assert (await phone.closed())[0] == 1012
        # Its output is read to the end: the workers held it too, and so they are about to be gone.
        await asyncio.to_thread(it.process.wait)
        await until_so(it.is_gone)
    assert any(re.search("(Final|Amended): apple arrow", line) for line in it.process.lines)


async def test_workers_write_the_log_in_the_same_form(prompt_emulator: str) -> None:
    async with serving_workers(prompt_emulator, "--log-format", "json") as it, Phone(it.url, "json") as phone:
        await phone.start()
        await asyncio.to_thread(it.process.wait_for, "Streaming session started")
        lines = [json.loads(line) for line in tuple(it.process.lines)]
    assert phone.call_sid in [line["call"] for line in lines]


def test_a_worker_ends_no_sooner_than_its_last_word_is_out(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_word = {"counted": "x" * (LINE_LIMIT_BYTES // 4)}  # far more than the way holds
    ours, control = socket.socketpair()
    ours.settimeout(PATIENCE_S)
    connections, their_connections = handover_pair()
    worker = Worker(Settings(speech_emulator_host=prompt_emulator), control, their_connections)
    monkeypatch.setattr(CallManager, "snapshot", lambda _: last_word)

    def parent() -> list[bytes]:
        ours.sendall(json.dumps(asdict(ServeOptions())).encode() + b'\n{"type": "stop"}\n')
        with ours.makefile("rb") as lines:
            return list(lines)

    with ours, connections, ThreadPoolExecutor(1) as pool:
        heard = pool.submit(parent)
        uvloop.run(worker.run())
        assert json.loads(heard.result()[-1]) == {"type": "numbers", "numbers": last_word}
