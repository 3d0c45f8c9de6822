"""What the service manager is told."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from fastcall.errors import UsageError
from fastcall.server.systemd import ServiceManager
from peers import PATIENCE_S, Phone, serve_process

TESTS = str(Path(__file__).parent.parent)


def listening(address: str) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.settimeout(PATIENCE_S)
    channel.bind(f"\0{address[1:]}" if address.startswith("@") else address)
    return channel


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_says_that_it_is_ready_alive_and_stopping(
    workers: str, prompt_emulator: str, tmp_path: Path
) -> None:
    address = str(tmp_path / "notify")
    with listening(address) as channel:
        async with serve_process(
            *("--workers", workers, "--drain-timeout", "0"),
            SPEECH_EMULATOR_HOST=prompt_emulator,
            NOTIFY_SOCKET=address,
            WATCHDOG_USEC="30000000",
        ) as process:
            told = set()
            while "READY=1" not in told:
                told.add((await asyncio.to_thread(channel.recv, 100)).decode())
            assert told == {"READY=1", "WATCHDOG=1"}
            process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in told:
                told.add((await asyncio.to_thread(channel.recv, 100)).decode())
            assert await asyncio.to_thread(process.wait) == 0
    assert told == {"READY=1", "WATCHDOG=1", "STOPPING=1"}


async def test_it_is_silent_while_the_loop_stands_still(prompt_emulator: str, tmp_path: Path) -> None:
    """For as long as the manager waits before it ends the process; until then it has heard three times as often."""
    address = str(tmp_path / "notify")
    with listening(address) as channel:
        async with serve_process(
            *("--handler", "talkers:break_the_process"),
            SPEECH_EMULATOR_HOST=prompt_emulator,
            NOTIFY_SOCKET=address,
            WATCHDOG_USEC="600000",
            PYTHONPATH=TESTS,
        ) as process:
            for _ in range(3):
                await asyncio.to_thread(channel.recv, 100)
            async with Phone(process.ready[1], "stands") as phone:
                await phone.start({"kind": "stand"})
                channel.settimeout(0.6)
                try:
                    for _ in range(20):  # what it had said, or says until the call begins
                        await asyncio.to_thread(channel.recv, 100)
                except TimeoutError:
                    return
                finally:
                    process.send_signal(signal.SIGKILL)
    pytest.fail("it says that it is alive")


def test_an_abstract_name_is_one() -> None:
    address = f"@fastcall-test-{os.getpid()}"
    with listening(address) as channel:
        ServiceManager(address).tell("READY=1")
        assert channel.recv(100) == b"READY=1"


def test_one_that_is_not_there_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager(str(tmp_path / "nobody"))
    with caplog.at_level(logging.WARNING, "fastcall"):
        manager.tell("READY=1")
        manager.tell("STOPPING=1")
    assert [record.message for record in caplog.records] == [
        "cannot notify the service manager of READY=1: [Errno 2] No such file or directory"
    ]


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({}, 0.0),
        ({"NOTIFY_SOCKET": "/x"}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 0.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000"}, 30.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
    ],
)
def test_who_wants_to_hear_how_often(environ: dict[str, str], watchdog_s: float) -> None:
    assert ServiceManager.from_environ(environ).watchdog_s == watchdog_s


def test_what_cannot_be_read_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="WATCHDOG_USEC"):
        ServiceManager.from_environ({"WATCHDOG_USEC": "soon"})
