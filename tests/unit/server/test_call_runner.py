"""One call by its runner: messages in, commands carried out in order."""

from __future__ import annotations

import asyncio
import base64
import json
import logging

import pytest
import uvloop

from detectors import LoudnessDetector
from fastcall.agent.call import Call
from fastcall.events import TranscriptEvent
from fastcall.g711 import ulaw2lin
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from fastcall.server.call_runner import CallRunner, Handler
from fastcall.server.rate_limit import BURST, RATE_PER_S
from fastcall.settings import Settings
from fastcall.simulator.twilio_client import CallerMessages, CallIds, PhoneAudio
from fastcall.twilio.stream_key import StreamKey
from peers import ScriptedRecognizer, media_message_of, messages_of, turns


class Socket:
    def __init__(self) -> None:
        self.closed: list[tuple[int, str]] = []
        self.sent: list[str] = []

    def send_soon(self, frames: bytes) -> None:
        self.sent += messages_of(frames)

    def close_soon(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


class Stage:
    def __init__(self, handler: Handler | None = None, settings: Settings | None = None) -> None:
        self.recognizer, self.socket, self.events = ScriptedRecognizer(), Socket(), list[TranscriptEvent]()
        self.messages, self.detector = CallerMessages(CallIds("CA1", "MZ1"), 155), LoudnessDetector()
        self.runner = CallRunner(
            self.socket,
            settings=settings or Settings(),
            recognizer=self.recognizer,
            config=StreamConfig("en-US", "default"),
            voice=self.detector,
            sink=self.take,
            handler=handler,
        )
        self.frame = 0

    def take(self, event: TranscriptEvent, *, key: StreamKey, stream_sid: str) -> None:
        assert (key, stream_sid) == (StreamKey("CA1"), "MZ1")
        self.events.append(event)

    def start(self) -> None:
        self.runner.message_received(self.messages.connected().encode())
        self.runner.message_received(self.messages.start({}).encode())

    def say(self, mulaw: bytes) -> None:
        audio = PhoneAudio(mulaw, tail_s=0)
        assert audio.frames is not None
        for index in range(audio.frames):
            self.runner.message_received(self.messages.media(self.frame, audio.payload(index)).encode())
            self.frame += 1

    def names(self) -> list[str]:
        return [event.event for event in self.events]

    async def hang_up(self, *last: StreamResult) -> None:
        self.runner.message_received(self.messages.stop().encode())
        self.runner.socket_closed(1000, "")
        await asyncio.sleep(0)
        for stream in self.recognizer.streams:
            if last:
                stream.results(*last)
            stream.end(StreamEnd("OK"))
        await asyncio.wait_for(self.runner.wait_over(), 60)


VOICE, SILENCE = b"\x10" * 8000, b"\xff" * 8000


async def test_a_call_from_start_to_end() -> None:
    stage = Stage()
    stage.start()
    stage.say(SILENCE[:1600] + VOICE + SILENCE)
    stage.recognizer.streams[0].results(StreamResult("hello", True, 9600))
    await stage.hang_up()
    assert stage.names() == [
        "call_started", "session_started", "utterance_begin", "final", "utterance_end", "session_closed", "call_ended",
    ]  # fmt: skip
    end = stage.events[4]
    assert (end.text, end.start_sample, end.end_sample) == ("hello", 0, 9600)
    assert stage.recognizer.streams[0].samples == 17600


async def test_a_gap_in_the_timestamps_is_silence_for_recognizer_and_vad_framer() -> None:
    stage = Stage()
    stage.start()
    stage.say(SILENCE[:1600])
    stage.frame += 10
    stage.say(VOICE[:1600])
    await stage.hang_up()
    assert stage.recognizer.streams[0].samples == 1600 + 1600 + 1600
    (begin,) = [event for event in stage.events if event.event == "utterance_begin"]
    assert begin.start_sample == 3200 - 2400


@pytest.mark.parametrize("gap_s", [5, 50, 3500])
async def test_a_long_gap_costs_a_few_frames_and_ends_the_utterance(gap_s: int) -> None:
    stage = Stage()
    stage.start()
    stage.say(SILENCE[:1600] + VOICE)
    before = len(stage.detector.heard)
    stage.frame += 50 * gap_s
    stage.say(VOICE[:1600])
    assert len(stage.detector.heard) == before + 25 + 10
    begins = [event.start_sample for event in stage.events if event.event == "utterance_begin"]
    assert begins == [0, pytest.approx(1600 + len(VOICE) + 8000 * gap_s - 2400, abs=80)]


async def test_frames_of_any_size_reach_the_vad_framer_in_20_ms() -> None:
    stage = Stage()
    stage.start()
    data = SILENCE[:1600] + VOICE[:4000]
    position = 0
    for size in (8, 152, 168, 80, 320, 1000, 3872):  # whole milliseconds, as their timestamps are
        payload = base64.b64encode(data[position : position + size]).decode()
        stage.runner.message_received(media_message_of("MZ1", payload, 155 + position // 8).encode())
        position += size
    await stage.hang_up()
    assert b"".join(stage.detector.heard) == ulaw2lin(data, 2)
    assert "utterance_begin" in stage.names()


async def test_text_that_is_not_utf8_closes_with_1007() -> None:
    stage = Stage()
    stage.start()
    stage.runner.message_received(b"\xff")
    assert [code for code, _ in stage.socket.closed] == [1007]
    await stage.hang_up()


async def test_a_handler_hears_utterances_and_its_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    async def handler(call: Call) -> None:
        async for utterance in call.utterances():
            heard.append(utterance.text)
            call.say(b"\xff" * 160)
            raise RuntimeError("no more")

    stage = Stage(handler)
    stage.start()
    stage.say(SILENCE[:1600] + VOICE + SILENCE)
    stage.recognizer.streams[0].results(StreamResult("hello", True, 9600))
    with caplog.at_level(logging.ERROR, logger="fastcall"):
        await turns(10)
        await stage.hang_up()
    assert heard == ["hello"]
    assert [json.loads(message)["event"] for message in stage.socket.sent] == ["media", "mark"]
    assert stage.names()[-1] == "call_ended"
    assert "the handler failed" in caplog.text


async def test_a_socket_that_closes_before_its_start_is_over_at_once() -> None:
    stage = Stage()
    stage.runner.socket_closed(1006, "")
    await asyncio.wait_for(stage.runner.wait_over(), 60)
    assert stage.events == []


def test_a_deadline_that_is_now_does_not_trip_over_uvloops_handle() -> None:
    async def meet_it() -> list[tuple[int, str]]:
        stage = Stage(settings=Settings(start_timeout_s=0.0))
        stage.runner.message_received(stage.messages.connected().encode())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return stage.socket.closed

    ((code, reason),) = uvloop.run(meet_it())
    assert code == 1008
    assert "no start" in reason


def test_a_deadline_that_has_come_already_on_uvloop() -> None:
    """Its handle of what is due at once is no timer's: what was armed is known without asking it."""

    async def play() -> None:
        stage = Stage()
        stage.start()
        due_at = asyncio.get_running_loop().time() - 1.0
        stage.runner.machine.next_deadline = lambda: due_at  # type: ignore[method-assign]
        for _ in range(2):  # it looks at its timer after each message
            stage.runner.message_received(b"{}")
        del stage.runner.machine.next_deadline  # type: ignore[misc]
        stage.runner.socket_closed(1000, "")
        await asyncio.sleep(0)
        stage.recognizer.streams[0].end(StreamEnd("OK"))
        await stage.runner.wait_over()

    uvloop.run(play())


@pytest.mark.parametrize("is_live", [False, True])
async def test_binary_messages_count_as_messages(is_live: bool) -> None:
    stage = Stage()
    if is_live:
        stage.start()
    sent, began_at = 0, asyncio.get_running_loop().time()
    while not stage.socket.closed:
        stage.runner.binary_received()
        sent += 1
        assert sent <= BURST + RATE_PER_S * (1 + asyncio.get_running_loop().time() - began_at)
    assert stage.socket.closed == [(1008, "far more messages than a call sends")]
    if is_live:
        await stage.hang_up()
    else:
        stage.runner.socket_closed(1008, "")
