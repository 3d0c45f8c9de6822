"""`fastcall simulate` as a person runs it, against a real server on the loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import socket
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from fastcall import g711
from fastcall.audio.tones import ToneRecognizer
from fastcall.audio.wav import write_wav
from forkserver import Popen
from peers import serving


@dataclass
class Listener:
    """Keeps the audio and the parameters of each call."""

    audio: dict[str, bytes] = field(default_factory=lambda: defaultdict(bytes))
    parameters: list[dict[str, str]] = field(default_factory=list)
    call_sids: set[str] = field(default_factory=set)
    stopped: int = 0
    answer: bytes | None = None
    answers: Callable[[str], list[str]] = lambda sid: []
    refuse_second: bool = False
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = json.loads(await connection.recv())
                if message["event"] == "start":
                    if self.refuse_second and message["start"]["callSid"] in self.call_sids:
                        await connection.close(1008, "this call has a socket")
                        return
                    for answer in self.answers(message["streamSid"]):
                        await connection.send(answer)
                    self.parameters.append(message["start"]["customParameters"])
                    self.call_sids.add(message["start"]["callSid"])
                    if self.answer is not None:
                        await connection.send(self.answer)
                elif message["event"] == "media":
                    self.audio[message["streamSid"]] += base64.b64decode(message["media"]["payload"])
                    self.heard.set()
                self.stopped += message["event"] == "stop"

    @property
    def texts(self) -> list[str]:
        """What each call said, in tones."""
        texts = []
        for mulaw in self.audio.values():
            recognizer = ToneRecognizer()
            words = recognizer.accept(g711.ulaw2lin(mulaw, 2)) + recognizer.finish()
            texts.append(" ".join(word.text for word in words))
        return texts


@contextlib.asynccontextmanager
async def listening(listener: Listener) -> AsyncIterator[str]:
    async with serve(listener, "127.0.0.1", 0, compression=None) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/media"


async def begin(*arguments: str) -> Popen:
    command = [sys.executable, "-m", "fastcall", "simulate", *arguments]
    return await asyncio.to_thread(Popen, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def end(process: Popen) -> tuple[int, str, str]:
    with process:
        out, err = await asyncio.to_thread(process.communicate, timeout=240)
    return process.returncode, out, err


async def simulate(*arguments: str) -> tuple[int, str, str]:
    return await end(await begin(*arguments))


async def test_calls_in_tones_arrive_word_for_word() -> None:
    listener = Listener()
    async with listening(listener) as url:
        status, out, err = await simulate(
            *(url, "--calls", "3", "--ramp-s", "0.1", "--tones", "apple [300] arrow badge", "--word-ms", "100"),
            *("--repeat", "2", "--tail-s", "0.1", "--param", "name=Jane", "--param", "eq=a=b"),
        )
    assert status == 0, out + err
    assert listener.texts == ["apple arrow badge apple arrow badge"] * 3
    assert {len(mulaw) for mulaw in listener.audio.values()} == {2 * 8 * 600 + 800}
    assert listener.parameters == [{"name": "Jane", "eq": "a=b"}] * 3
    assert (len(listener.call_sids), listener.stopped) == (3, 3)
    assert "calls: 3 succeeded, 0 failed" in out
    assert f"messages: {3 * (3 + 65)} sent, 0 back" in out
    assert "close codes: 1000 (3 x)" in out
    assert "frames sent late by: p50 " in out
    assert "messages that Twilio would refuse: 0" in out
    assert err == ""


async def test_audio_of_a_file(tmp_path: Path) -> None:
    said = bytes(range(160)) * 2
    (tmp_path / "hello.wav").write_bytes(write_wav(said))
    listener = Listener()
    async with listening(listener) as url:
        status, out, err = await simulate(url, "--audio", str(tmp_path / "hello.wav"), "--tail-s", "0")
    assert status == 0, out + err
    assert list(listener.audio.values()) == [said]


async def test_what_twilio_would_refuse_fails_the_run() -> None:
    async with listening(Listener(answer=b"binary")) as url:
        status, out, _ = await simulate(url, "--tones", "apple", "--tail-s", "0")
    assert status == 1
    assert "1 x 31950: a binary frame" in out
    assert "messages that Twilio would refuse: 1" in out


async def test_calls_take_the_audio_in_turn_and_only_some_misbehave(tmp_path: Path) -> None:
    said = b"\x01" * 160 * 5
    (tmp_path / "five.wav").write_bytes(write_wav(said))
    listener = Listener()
    async with listening(listener) as url:
        status, out, err = await simulate(
            *(url, "--calls", "4", "--audio", str(tmp_path / "five.wav"), "--tones", "apple", "--tail-s", "0"),
            *("--faulty", "0.5", "--no-stop", "--json"),
        )
    assert status == 0, out + err
    assert sorted(map(len, listener.audio.values())) == [800, 800, 1600, 1600]
    assert listener.stopped == 2
    report = json.loads(out)
    assert (report["went_through"], report["did_not"], len(report["calls"])) == (4, 0, 4)
    assert [call["frames_sent"] for call in report["calls"]] == [5, 10, 5, 10]
    assert {call["call_sid"] for call in report["calls"]} == listener.call_sids


async def test_a_bad_line_loses_what_it_says_it_loses() -> None:
    listener = Listener()
    async with listening(listener) as url:
        status, out, err = await simulate(
            *(
                url,
                "--tones",
                "[2000] apple",
                "--tail-s",
                "0",
                "--jitter-ms",
                "30",
                "--gap-ms",
                "200",
                "--every-s",
                "1",
            ),
            *("--duplicates", "0.2", "--reorder", "0.2", "--json"),
        )
    assert status == 0, out + err
    [call] = json.loads(out)["calls"]
    [audio] = listener.audio.values()
    assert call["frames_sent"] == len(audio) // 160
    assert 80 <= call["frames_sent"] <= 120, "110 less 20 in gaps, and 20 % twice"


async def test_a_second_socket_is_told_of(tmp_path: Path) -> None:
    listener = Listener(refuse_second=True)
    async with listening(listener) as url:
        status, out, _ = await simulate(url, "--tones", "[1500] apple", "--second-socket")
    assert status == 0, out
    assert "second sockets: closed with 1008 (1 x)" in out
    assert "ok; second socket: closed with 1008" in out


async def test_the_table_says_what_each_call_got_back() -> None:
    mulaw = base64.b64encode(b"\x00" * 800).decode()

    def answers(sid: str) -> list[str]:
        media = {"event": "media", "streamSid": sid, "media": {"payload": mulaw}}
        mark = {"event": "mark", "streamSid": sid, "mark": {"name": "said"}}
        return [json.dumps(message) for message in (media, mark, {"event": "clear", "streamSid": sid})]

    async with listening(Listener(answers=answers)) as url:
        status, out, _ = await simulate(url, "--tones", "apple", "--tail-s", "0.2", "--calls", "3", "--rows", "2")
    assert status == 0, out
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:2] == ["call", "said"]
    for row in rows[1:3]:
        assert row[0].startswith("CA")
        assert (row[1], row[2], row[3], row[4]) == ("0.4", "0", "3", "0.1")
        assert row[6:] == ["1/1", "1", "1000", "ok"]
    assert "and 1 more calls" in out


async def test_interrupted_it_hangs_up_and_sums_up() -> None:
    listener = Listener()
    async with listening(listener) as url:
        process = await begin(url, "--tones", "apple", "--repeat", "0", "--calls", "2")
        async with asyncio.timeout(120):
            while len(listener.audio) < 2:
                listener.heard.clear()
                await listener.heard.wait()
        process.send_signal(signal.SIGINT)
        status, out, err = await end(process)
    assert status == 0, out + err
    assert listener.stopped == 2
    assert "calls: 2 succeeded, 0 failed" in out


async def test_a_server_that_is_down() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/media"
        status, out, _ = await simulate(url, "--tones", "apple", "--calls", "2")
    assert status == 1
    assert "calls: 0 succeeded, 2 failed" in out
    assert "2 x 31902: nothing listens at 127.0.0.1:" in out
    assert "start the server first" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://localhost/media"], "is not a WebSocket URL"),
        (["ws://localhost/media?a=b"], "no query string"),
        (["ws://localhost/", "--audio", "/nowhere/hello.wav"], "cannot read /nowhere/hello.wav: No such file"),
        (["ws://localhost/", "--tones", "hello"], "--tones: not a word of the tones vocabulary: 'hello'"),
        (["ws://localhost/", "--tones", ""], "it contains no words"),
        (["ws://localhost/", "--tones", "apple", "--word-ms", "5"], "word_ms must be at least"),
        (["ws://localhost/", "--param", "name"], "must be NAME=VALUE"),
        (["ws://localhost/", "--calls", "0"], "--calls must be from 1"),
        (["ws://localhost/", "--tail-s", "-1"], "must not be negative"),
        (["ws://localhost/", "--ramp-s", "nan"], "must not be negative"),
        (["ws://localhost/", "--jitter-ms", "-3"], "invalid faults: jitter_ms must be from 0"),
        (["ws://localhost/", "--faulty", "2"], "is a share"),
    ],
)
async def test_wrong_use_is_told_in_one_line(arguments: list[str], said: str) -> None:
    status, out, err = await simulate(*arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.startswith("fastcall simulate: ")
    assert err.count("\n") == 1


async def test_a_wav_of_another_rate_is_told_how_to_be_converted(tmp_path: Path) -> None:
    form = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data\x02\0\0\0\0\0"
    path = tmp_path / "wide.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    status, _, err = await simulate("ws://localhost/", "--audio", str(path))
    assert status == 2
    assert "16000 Hz" in err
    assert "ffmpeg" in err


async def test_an_agent_that_hangs_up_ends_the_call_in_order() -> None:
    async def hang_up(connection: ServerConnection) -> None:
        async for raw in connection:
            if json.loads(raw)["event"] == "media":
                await connection.close(1000)

    async with serve(hang_up, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/media"
        status, out, _ = await simulate(url, "--tones", "apple", "--repeat", "0")
    assert status == 0, out
    assert "calls: 1 succeeded, 0 failed" in out
    assert "ok; the agent hung up after " in out
    assert "31921" not in out


async def test_a_call_in_which_words_were_said_and_none_was_recognized_did_not_go_through() -> None:
    """The recognizer's address has nobody."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with serving(f"127.0.0.1:{unused.getsockname()[1]}") as served:
            status, out, _ = await simulate(
                served.url, "--tones", "apple [300] arrow", "--calls", "2", "--tail-s", "0.6"
            )
    assert status == 1, out
    assert "calls: 0 succeeded, 2 failed" in out
    assert "2 x words were spoken, but none was recognized (UNAVAILABLE: " in out
    assert "words recognized: in 0 of 2 calls with speech" in out


async def test_a_call_whose_words_were_recognized_went_through(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, language="he-IL", model="phone_call") as served:
        status, out, _ = await simulate(served.url, "--tones", "apple [300] arrow", "--calls", "5", "--tail-s", "0.6")
    assert status == 0, out
    assert "words recognized: in 5 of 5 calls with speech" in out


async def test_where_the_transcript_cannot_be_read_nobody_knows() -> None:
    async with listening(Listener()) as url:
        status, out, _ = await simulate(url, "--tones", "apple", "--tail-s", "0")
    assert status == 0, out
    assert "words recognized: unknown: the transcript stream cannot be read: " in out
