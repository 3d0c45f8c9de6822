"""The command as users start it: files, TLS, records, status, its end, and its return after a kill under load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import wave
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import forkserver
from fastcall.audio.tones import VOCABULARY, synthesize
from peers import Process, start_emulator
from speech_clients import PATIENCE_S, HeldStream
from thoroughness import amount

DATA = Path(__file__).parent.parent / "data"


def start(*arguments: str) -> Process:
    return Process(["emulator", "--port", "0", *arguments], ready=r"emulator listening on (\S+) engine=(\w+)")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastcall", "emulator", *arguments]
    return forkserver.run(command, capture_output=True, text=True, timeout=120, check=False)


async def transcript(channel: grpc.aio.Channel, pcm: bytes) -> list[str]:
    async with HeldStream(channel) as stream:
        await stream.say(pcm)
        await stream.half_close()
        assert await stream.end() == ("OK", "")
        return stream.seen.finals


async def test_the_script_engine_tells_the_file(tmp_path: Path) -> None:
    file = tmp_path / "script.yaml"
    file.write_text("- {at_s: 0.5, text: book a table}\n- {at_s: 3, text: for two}\n")
    process = start("--engine", "script", "--script", str(file), "--end-silence-s", "0.3")
    try:
        assert process.ready[2] == "script"
        async with grpc.aio.insecure_channel(process.ready[1]) as channel:
            assert await transcript(channel, bytes(16_000 * 5)) == ["book a table", "for two"]
    finally:
        process.stop()


async def test_tls(tmp_path: Path) -> None:
    certificate, key = DATA / "localhost.pem", DATA / "localhost-key.pem"
    process = start("--engine", "tones", "--tls-cert", str(certificate), "--tls-key", str(key))
    try:
        port = process.ready[1].rpartition(":")[2]
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            assert await transcript(channel, synthesize("apple arrow [700]")) == ["apple arrow"]
        status = run("--status", "--port", port, "--tls-cert", str(certificate))
        assert "1 opened, ended: 1 OK" in status.stdout
        async with grpc.aio.insecure_channel(f"localhost:{port}") as channel, HeldStream(channel) as stream:
            assert (await stream.end())[0] == "UNAVAILABLE"  # plaintext to a TLS port
    finally:
        process.stop()


async def test_a_record_holds_the_audio_and_every_message(tmp_path: Path) -> None:
    process = start("--engine", "tones", "--record", str(tmp_path / "kept"), "--rewrite-rate", "0")
    pcm = synthesize("apple arrow [700]")
    try:
        async with grpc.aio.insecure_channel(process.ready[1]) as channel:
            await transcript(channel, pcm)
    finally:
        process.stop()
    (sound,) = (tmp_path / "kept").glob("*-000001-v1p1beta1.wav")
    with wave.open(str(sound)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        assert file.readframes(file.getnframes()) == pcm
    lines = [json.loads(line) for line in sound.with_suffix(".jsonl").read_text().splitlines()]
    for path in (sound, sound.with_suffix(".jsonl")):
        assert path.stat().st_mode & 0o077 == 0  # people's words
    assert lines[0]["config"]["languages"] == ["en-US"]
    assert sum(line.get("audio_bytes", 0) for line in lines) == len(pcm)
    finals = [r for line in lines for r in line.get("response", {}).get("results", ()) if r["is_final"]]
    assert [final["transcript"] for final in finals] == ["apple arrow"]
    assert lines[-1]["status"] == {"code": "OK", "message": ""}
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)


async def test_a_scenario_file_and_the_status(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text("faults:\n  - fault: status\n    stream: 1\n    code: UNAVAILABLE\n    message: Gone fishing.\n")
    process = start("--engine", "tones", "--scenario", str(file))
    try:
        port = process.ready[1].rpartition(":")[2]
        async with grpc.aio.insecure_channel(process.ready[1]) as channel:
            async with HeldStream(channel) as stream:
                assert await stream.end() == ("UNAVAILABLE", "Gone fishing.")
            await transcript(channel, bytes(16_000))
        status = run("--status", "--port", port)
        assert status.returncode == 0
        assert status.stdout == (
            "fastcall emulator, engine tones\n"
            "streams  0 open, 2 opened, ended: 1 OK, 1 UNAVAILABLE\n"
            "audio    1.0 s\n"
            "faults   1 armed, fired: 1 status\n"
        )
        taken = run("--engine", "tones", "--port", port)
        assert (taken.returncode, taken.stdout) == (2, "")
        assert taken.stderr == (
            f"fastcall emulator: cannot listen on 127.0.0.1:{port}: Address already in use; "
            "choose another with --port\n"
        )
    finally:
        process.stop()
    nobody = run("--status", "--port", port)
    assert nobody.returncode == 2
    assert f"no emulator answers at 127.0.0.1:{port}" in nobody.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("faults: [{fault: status}]", "fault 1 (status): needs 'code'"),
        ("a: [", "is not valid YAML"),
        (None, "cannot read"),
    ],
)
def test_a_wrong_scenario_is_one_line_and_status_2(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "scenario.yaml"
    if text is not None:
        file.write_text(text)
    done = run("--engine", "tones", "--port", "0", "--scenario", str(file))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_starts_without_googles_client() -> None:
    """Which takes a second and 40 MiB, and of which it needs the messages alone."""
    code = (
        "import sys\n"
        "from fastcall.cli.emulator import _import_no_client\n"
        "_import_no_client()\n"
        "from fastcall.emulator.codec import codec_for\n"
        "codecs = [codec_for(version) for version in ('v1', 'v1p1beta1', 'v2')]\n"
        "print(sorted({'grpc', 'google.api_core', 'google.auth'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_it_ends_with_its_parent() -> None:
    command = [sys.executable, "-m", "fastcall", "emulator", "--engine", "tones", "--port", "0", "--exit-with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline().startswith("emulator listening on 127.0.0.1:")
        child.stdin.close()
        assert child.wait(PATIENCE_S) == 0


def is_gone(code: str, text: str) -> bool:
    """There is no server any more. The second is what gRPC's client says when that happens while it writes."""
    return code == "UNAVAILABLE" or (code, text) == ("INTERNAL", "Internal error from Core")


class Caller:
    """A client that opens stream after stream, and another at once when one has failed."""

    RECONNECT = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100))

    def __init__(self, target: str, number: int, load: Load) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.min_reconnect_backoff_ms", 50), *self.RECONNECT]
        self._channel = grpc.aio.insecure_channel(target, options=options)
        self._text = " ".join(VOCABULARY[number + word] for word in range(3))
        self._pcm = synthesize(f"{self._text} [700]")
        self._load = load
        self.done = 0
        """Streams that began since the last kill and ended well."""

    async def run(self) -> None:
        async with self._channel:
            while not self._load.is_over:
                await self._channel.channel_ready()
                await self._one()

    async def _one(self) -> None:
        load, kills, was_up = self._load, self._load.kills, self._load.is_up
        async with HeldStream(self._channel) as stream:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # `end` tells it
                await stream.say(self._pcm)
                await stream.half_close()
            end = await stream.end()
        if end == ("OK", "") and stream.seen.finals == [self._text]:
            self.done += kills == load.kills
            load.news.set()
        elif is_gone(*end) and not (was_up and kills == load.kills):
            load.failed += 1
        else:
            load.refused.append((end, stream.seen.finals))


class Load:
    """Callers without a pause, while the server is killed and started."""

    def __init__(self, target: str, callers: int) -> None:
        self.callers = [Caller(target, number, self) for number in range(callers)]
        self.kills = 0
        self.is_up = True
        self.is_over = False
        self.failed = 0
        """Streams that a kill ended, or that found no server."""
        self.refused: list[Any] = []
        """Streams that a running server should have served, and what they got."""
        self.news = asyncio.Event()

    async def until_all_are_served(self) -> None:
        """Each caller has been served since the last kill."""
        async with asyncio.timeout(4 * PATIENCE_S):  # a process that has just started imports a lot
            while not all(caller.done for caller in self.callers):
                self.news.clear()
                await self.news.wait()


def cpu_s(pid: int) -> float:
    """The time for which the process has run."""
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


async def test_killed_under_load_it_comes_back_within_a_second_and_takes_everything() -> None:
    options = ("--final-delay-s", "0", "--rewrite-rate", "0")
    process = start_emulator(*options, popen=subprocess.Popen)
    target, ups = process.ready[1], []
    load = Load(target, callers=amount(12, thorough=40))
    running = [asyncio.ensure_future(caller.run()) for caller in load.callers]
    try:
        for _ in range(3):
            await load.until_all_are_served()
            process.send_signal(signal.SIGKILL)
            load.kills, load.is_up = load.kills + 1, False
            for caller in load.callers:
                caller.done = 0
            await asyncio.to_thread(process.stop)
            again = partial(start_emulator, *options, port=int(target.rpartition(":")[2]), popen=subprocess.Popen)
            process = await asyncio.to_thread(again)
            if sys.platform == "linux":
                ups.append(cpu_s(process.pid))
            load.is_up = True
        await load.until_all_are_served()
        load.is_over = True
        await asyncio.wait_for(asyncio.gather(*running), PATIENCE_S)
    finally:
        for task in running:
            task.cancel()
        await asyncio.to_thread(process.stop)
    assert load.refused == []
    assert load.failed > 0  # the kills met streams
    assert min(ups, default=0.0) < 1.0, ups  # of a CPU: the machine may be busy with other work
