"""``fastcall serve`` as a process: how it starts, how it refuses to, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import forkserver
from peers import PATIENCE_S, Phone, serve_environment, serve_process, tones


def run_serve(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return forkserver.run(
        [sys.executable, "-m", "fastcall", "serve", *arguments],
        env=serve_environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    """The one line with which the command refuses."""
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("fastcall serve: ")
    return lines[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_the_last_words_of_live_calls(number: int, emulator: str, tmp_path: Path) -> None:
    path = tmp_path / "transcripts.ndjson"
    said = ["apple arrow autumn", "badge bamboo basket", "beacon blanket bottle"]
    async with (
        serve_process(
            *("--transcripts", str(path), "--drain-timeout", "0"),
            popen=subprocess.Popen,
            SPEECH_EMULATOR_HOST=emulator,
        ) as process,
        contextlib.AsyncExitStack() as stack,
    ):
        phones = [await stack.enter_async_context(Phone(process.ready[1], f"live {n}")) for n in range(3)]

        async def talk(phone: Phone, text: str) -> None:
            await phone.start()
            await phone.speak(tones(f"[300] {text} [200]"))

        await asyncio.gather(*(talk(phone, text) for phone, text in zip(phones, said, strict=True)))
        # All that was sent has arrived when the pings, sent after it, are answered.
        for phone in phones:
            await (await phone.socket.ping())
        process.send_signal(number)
        codes = [await phone.closed() for phone in phones]
        status = await asyncio.to_thread(process.wait)
    assert (status, process.stderr) == (0, "")
    assert [code for code, _ in codes] == [1012] * 3
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for phone, text in zip(phones, said, strict=True):
        mine = [record for record in records if record["call_sid"] == phone.call_sid]
        assert [record["event"] for record in mine][-2:] == ["session_closed", "call_ended"]
        assert [record["text"] for record in mine if record["event"] in ("utterance_end", "amended")][-1] == text
        assert f"[STT] Streaming session closed call={phone.call_sid}" in process.lines
    assert process.lines[0] == "[CFG] ENABLE_STREAMING_STT=True"


async def test_the_log_as_json_is_one_object_a_line(prompt_emulator: str) -> None:
    async with (
        serve_process(*("--log-format", "json", "--stt", "emulator", "--stt-endpoint", prompt_emulator)) as process,
        Phone(process.ready[1], "json") as phone,
    ):
        await phone.start()
        await phone.socket.send("no JSON")
        await phone.stop()
        await asyncio.to_thread(process.wait_for, "Streaming session closed")
    lines = [json.loads(line) for line in process.lines]
    assert {tuple(line) for line in lines} == {("at", "level", "logger", "call", "message")}
    assert [line["level"] for line in lines].count("WARNING") == 1
    assert {line["call"] for line in lines if "call=" in line["message"]} == {phone.call_sid}
    assert {line["call"] for line in lines if "call=" not in line["message"]} == {None}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_hangup_of_the_terminal_ends_no_call(workers: str, prompt_emulator: str) -> None:
    """To the process and to all that it has started, as a shell sends it."""
    options = ("--workers", workers, "--stt-endpoint", prompt_emulator)
    async with serve_process(*options, popen=subprocess.Popen) as process:
        async with Phone(process.ready[1], "hung up") as phone:
            await phone.start()
            await phone.say(tones("[300] apple"))
            for pid in [process.pid, *children_of(process.pid)]:
                os.kill(pid, signal.SIGHUP)
            await phone.say(tones("arrow [300]"))
            await phone.stop()
            await asyncio.to_thread(process.wait_for, "(Final|Amended): apple arrow")
        async with Phone(process.ready[1], "after it") as phone:
            await phone.start()


def children_of(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_without_a_recognizer_other_than_loopback_is_refused() -> None:
    line = refusal(run_serve("--host", "0.0.0.0"))
    assert "set GOOGLE_APPLICATION_CREDENTIALS" in line
    assert "SPEECH_EMULATOR_HOST" in line


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refusal(run_serve("--port", str(port), SPEECH_EMULATOR_HOST="127.0.0.1:1"))
    assert f"cannot listen on 127.0.0.1:{port}" in line
    assert "--port" in line


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["--stt", "emulator"], {}, "--stt-endpoint HOST:PORT"),
        (["--stt-endpoint", "nowhere"], {}, "HOST:PORT"),
        (["--port", "65536"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "--port"),
        (["--port", "-1"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "--port"),
        (["--host", "no.such.host.invalid", "--insecure"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "--host"),
        (["--handler", "no_such_module:handler"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "no_such_module"),
        (["--handler", "json"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "module:callable"),
        (["--handler", "operator:add"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "one argument"),
        (["--handler", "json:nothing"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "nothing"),
        (["--transcripts", "/no/such/folder/file"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "/no/such/folder/file"),
        ([], {"GOOGLE_APPLICATION_CREDENTIALS": "/no/such/key.json"}, "GOOGLE_APPLICATION_CREDENTIALS"),
        ([], {"STT_BATCH_MS": "soon"}, "STT_BATCH_MS"),
        ([], {"VAD_MODE": "4"}, "VAD_MODE"),
        ([], {"ENABLE_STREAMING_STT": "false", "SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "ENABLE_STREAMING_STT"),
        (["--whisper-model", "/no/such/model"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "/no/such/model"),
        (["--fallback", "no_such_module:x"], {"SPEECH_EMULATOR_HOST": "127.0.0.1:1"}, "--fallback"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(arguments: list[str], variables: dict[str, str], says: str) -> None:
    assert says in refusal(run_serve(*(["--port", "0"] if "--port" not in arguments else []), *arguments, **variables))


async def test_a_handler_is_given_the_utterances_and_its_defects_hurt_nobody(prompt_emulator: str) -> None:
    tests = str(Path(__file__).parents[1])
    async with (
        serve_process(
            *("--handler", "talkers:echo_texts", "--stt-endpoint", prompt_emulator), PYTHONPATH=tests
        ) as process,
        Phone(process.ready[1], "handled") as phone,
    ):
        await phone.start()
        await phone.speak(tones("[300] apple arrow [700]"))
        async with asyncio.timeout(PATIENCE_S):
            mark = json.loads(await phone.socket.recv())
        await phone.stop()
    assert mark == {"event": "mark", "streamSid": phone.ids.stream_sid, "mark": {"name": "apple arrow"}}
    async with (
        serve_process(*("--handler", "talkers:fail", "--stt-endpoint", prompt_emulator), PYTHONPATH=tests) as process,
        Phone(process.ready[1], "unhandled") as phone,
    ):
        await phone.start()
        await phone.speak(tones("[300] apple arrow [700]"))
        await asyncio.to_thread(process.wait_for_words, "apple arrow", phone.call_sid)
        await phone.stop()
    told = [line for line in process.lines if "the handler failed" in line]
    assert told == [f"ERROR the handler failed; the call continues without it call={phone.call_sid}"]
