"""docs/emulator.md is true: its commands are understood, its examples run, each fault does what it says there, by a
scenario file and by a control call."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml

from fastcall.audio.tones import synthesize
from fastcall.cli.main import build_parser
from fastcall.emulator.faults import Kind, parse_faults
from fastcall.emulator.options import Options
from fastcall.emulator.server import Emulator
from speech_clients import PATIENCE_S, HeldStream

PAGE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    """The fenced blocks of the page that are marked so."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


SHELL = [line for block in blocks("sh") for line in block.splitlines()]
SCRIPT = blocks("yaml script")[0]
FAULTS = {Kind(yaml.safe_load(block)["faults"][0]["fault"]): block for block in blocks("yaml fault")}


# --- commands ----------------------------------------------------------------------------------------------------


def test_its_commands_are_understood() -> None:
    commands = [shlex.split(line) for line in SHELL if line.startswith("fastcall ")]
    assert len(commands) >= 6
    for command in commands:
        build_parser().parse_args(command[1:])


def test_every_option_is_on_the_page_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["emulator", "--help"])
    there_are = set(re.findall(r"--[a-z][a-z0-9-]+", capsys.readouterr().out)) - {"--help", "--host"}
    told = set(re.findall(r"--[a-z][a-z0-9-]+", re.sub(r"^(openssl|fastcall simulate).*$", "", PAGE, flags=re.M)))
    assert told - {"--tones"} == there_are


def test_the_limits_are_those_of_the_page() -> None:
    args = build_parser().parse_args(["emulator"])
    rows = re.findall(r"^\| (`--.*?) \| ([\d, ]+) \|", PAGE, re.MULTILINE)
    told = {
        option.strip("-").replace("-", "_"): float(value)
        for names, values in rows
        for option, value in zip(re.findall(r"--[a-z-]+", names), values.split(","), strict=True)
    }
    assert len(told) == 8
    assert {name: getattr(args, name) for name in told} == told
    assert {name: getattr(Options(), name) for name in told} == told


# --- snippets ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def emulating(**options: Any) -> AsyncIterator[Emulator]:
    options = {"engine": "tones", "end_silence_s": 0.6, **options}
    async with Emulator(Options(port=0, **options)) as emulator:
        yield emulator


async def test_the_python_snippet_prints_the_script(tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text(SCRIPT, encoding="utf-8")
    (snippet,) = blocks("python")
    output = io.StringIO()

    def run(target: str) -> None:
        names: dict[str, Any] = {"print": lambda *texts: print(*texts, file=output)}
        code = snippet.replace("127.0.0.1:50051", target)
        assert code != snippet
        exec(compile(code, "docs/emulator.md", "exec"), names)
        names["channel"].close()

    async with emulating(engine="script", script=str(tmp_path / "script.yaml")) as emulator:
        await asyncio.to_thread(run, emulator.target)
    lines = output.getvalue().splitlines()
    assert [line.removeprefix("final   ") for line in lines if line.startswith("final")] == [
        "I would like to book a table",
        "for two",
    ]
    assert "interim I would" in lines


async def test_the_script_is_told_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "script.yaml").write_text(SCRIPT, encoding="utf-8")
    async with emulating(engine="script", script=str(tmp_path / "script.yaml")) as emulator:
        stream, end = await talk(emulator, bytes(16 * 6000))
    assert end == ("OK", "")
    assert stream.seen.finals == ["I would like to book a table", "for two", "at eight"]


def test_the_javascript_snippet_is_javascript(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here to read JavaScript")
    (snippet,) = blocks("js")
    (tmp_path / "snippet.js").write_text(snippet, encoding="utf-8")
    done = subprocess.run([node, "--check", str(tmp_path / "snippet.js")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- faults ------------------------------------------------------------------------------------------------------

TWO = synthesize("apple arrow [700] badge bamboo [700]")


def connect(emulator: Emulator) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    return grpc.aio.insecure_channel(emulator.target, options=[("grpc.use_local_subchannel_pool", 1)])


async def talk(emulator: Emulator, pcm: bytes = TWO) -> tuple[HeldStream, tuple[str, str]]:
    """A stream from its beginning to its end. The audio goes out in one piece: gRPC's client hides the status of a
    stream that ends while it writes."""
    async with connect(emulator) as channel, HeldStream(channel) as stream:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await stream.say(pcm, piece_ms=1500)
            await stream.half_close()
        return stream, await stream.end()


async def status(emulator: Emulator) -> None:
    assert (await talk(emulator))[1] == ("OK", "")
    async with connect(emulator) as channel, HeldStream(channel) as stream:
        await stream.say(TWO[: 16 * 1500], piece_ms=1500)
        assert await stream.end() == ("UNAVAILABLE", "The service is currently unavailable.")
    assert (await talk(emulator))[1] == ("OK", "")


async def quota(emulator: Emulator) -> None:
    async with connect(emulator) as channel, HeldStream(channel) as stream:
        code, text = await stream.end()
    assert code == "RESOURCE_EXHAUSTED"
    assert text.startswith("Quota exceeded for quota metric 'speech.googleapis.com/default_requests' and limit ")
    assert (await talk(emulator))[1] == ("OK", "")


async def reset(emulator: Emulator) -> None:
    async with connect(emulator) as channel, HeldStream(channel) as stream, HeldStream(channel) as beside:
        await beside.say(synthesize("apple [100]"))
        await beside.read()
        await stream.say(TWO[: 16 * 500], piece_ms=500)
        for each in (stream, beside):
            code, text = await each.end()
            assert code == "UNAVAILABLE"
            assert "reset" in text.lower()


async def goaway(emulator: Emulator) -> None:
    async with connect(emulator) as channel, HeldStream(channel) as first:
        await first.say(synthesize("apple [100]"))
        await first.read()
        async with HeldStream(channel) as second:  # the client makes a connection for it
            await second.half_close()
            assert await second.end() == ("OK", "")
        await first.half_close()
        assert await first.end() == ("OK", "")
        assert first.seen.finals == ["apple"]


async def stall(emulator: Emulator) -> None:
    begin = asyncio.get_running_loop().time()
    stream, end = await talk(emulator)
    assert end == ("OK", "")
    assert stream.seen.finals == ["apple arrow", "badge bamboo"]
    assert asyncio.get_running_loop().time() - begin >= 0.5


async def slow_accept(emulator: Emulator) -> None:
    begin = asyncio.get_running_loop().time()
    async with connect(emulator) as channel, HeldStream(channel) as stream:
        await asyncio.wait_for(stream.call.initial_metadata(), PATIENCE_S)
        assert asyncio.get_running_loop().time() - begin >= 0.5


async def refuse_connections(emulator: Emulator) -> None:
    code, text = "", ""
    while "refused" not in text.lower():  # until it is in force
        async with connect(emulator) as channel, HeldStream(channel) as stream:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await stream.half_close()
            code, text = await stream.end()
    assert code == "UNAVAILABLE"
    async with connect(emulator) as channel:
        await asyncio.wait_for(channel.channel_ready(), PATIENCE_S)


async def no_final(emulator: Emulator) -> None:
    stream, end = await talk(emulator)
    assert end == ("OK", "")
    assert stream.seen.finals == ["badge bamboo"]


async def late_final(emulator: Emulator) -> None:
    stream, end = await talk(emulator)
    assert end == ("OK", "")
    first = next(r for r in stream.seen.responses if r.results and r.results[0].is_final)
    final, following = (result.alternatives[0].transcript for result in first.results)
    assert final == "apple arrow"
    assert following.startswith(" badge")
    assert stream.seen.finals == ["apple arrow", "badge bamboo"]


async def duplicate(emulator: Emulator) -> None:
    stream, _ = await talk(emulator)
    results = [response for response in stream.seen.responses if response.results]
    assert results[0::2] == results[1::2]


JUDGES: dict[Kind, Callable[[Emulator], Awaitable[None]]] = {
    Kind(judge.__name__): judge
    for judge in (
        *(status, quota, reset, goaway, stall, slow_accept, refuse_connections, no_final, late_final, duplicate),
    )
}


def call(emulator: Emulator, method: str, path: str, body: Any = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(emulator.options.host, emulator.port, timeout=PATIENCE_S)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_the_page_has_an_example_of_each_fault() -> None:
    assert set(FAULTS) == set(Kind) == set(JUDGES)


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_fault_by_a_scenario_file(kind: Kind, tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text(FAULTS[kind], encoding="utf-8")
    async with emulating(scenario=str(tmp_path / "scenario.yaml")) as emulator:
        await JUDGES[kind](emulator)
        assert emulator.state.faults.fired[kind] >= 1


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_fault_by_a_control_call(kind: Kind) -> None:
    async with emulating() as emulator:
        assert (await talk(emulator))[1] == ("OK", "")  # streams are counted from the call on
        armed = await asyncio.to_thread(call, emulator, "POST", "/faults", yaml.safe_load(FAULTS[kind]))
        assert armed == (200, '{"armed": 1}\n')
        await JUDGES[kind](emulator)
        assert emulator.state.faults.fired[kind] >= 1


async def test_faults_at_once() -> None:
    for fault, code in [({"fault": "reset"}, "UNAVAILABLE"), ({"fault": "status", "code": "ABORTED"}, "ABORTED")]:
        async with emulating() as emulator, connect(emulator) as channel, HeldStream(channel) as stream:
            await stream.say(synthesize("apple [100]"))
            await stream.read()
            assert await asyncio.to_thread(call, emulator, "POST", "/faults/now", fault) == (200, '{"streams": 1}\n')
            assert (await stream.end())[0] == code


async def test_goaway_and_a_stall_at_once() -> None:
    async with emulating() as emulator, connect(emulator) as channel, HeldStream(channel) as stream:
        await stream.say(synthesize("apple [100]"))
        await stream.read()
        assert (await asyncio.to_thread(call, emulator, "POST", "/faults/now", {"fault": "goaway"}))[0] == 200
        async with HeldStream(channel) as second:
            await second.half_close()
            assert await second.end() == ("OK", "")
        fault = {"fault": "stall", "for_s": 0.5}
        begin = asyncio.get_running_loop().time()
        assert (await asyncio.to_thread(call, emulator, "POST", "/faults/now", fault))[0] == 200
        await stream.say(synthesize("arrow [700]"))
        await stream.half_close()
        assert await stream.end() == ("OK", "")
        assert stream.seen.finals == ["apple arrow"]
        assert asyncio.get_running_loop().time() - begin >= 0.5


async def test_the_control_calls_of_the_page() -> None:
    calls = [shlex.split(line) for line in SHELL if line.startswith("curl ")]
    assert len(calls) == 5
    async with emulating() as emulator:
        for arguments in calls:
            path = arguments[-1].removeprefix("http://127.0.0.1:50051")
            body = json.loads(arguments[arguments.index("-d") + 1]) if "-d" in arguments else None
            method = arguments[arguments.index("-X") + 1] if "-X" in arguments else "POST" if body else "GET"
            assert (await asyncio.to_thread(call, emulator, method, path, body))[0] == 200
            if body is not None:
                parse_faults(body)
