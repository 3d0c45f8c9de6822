"""The side of the AI in a call, by its runner: what it is told, when it is stopped, what it is measured by."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import threading
import time
from array import array
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from detectors import LoudnessDetector
from fastcall._codec import mulaw_decode, mulaw_encode
from fastcall.agent.blocking import BlockingCall
from fastcall.agent.call import Call
from fastcall.agent.controller import Handler
from fastcall.agent.replies import Turn
from fastcall.events import (
    Amendment,
    BargeIn,
    BeepHeard,
    CallEvent,
    MachineDetected,
    MarkPlayed,
    TranscriptEvent,
    Utterance,
)
from fastcall.metrics import Metrics
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from fastcall.server.call_runner import CallRunner
from fastcall.settings import Settings
from fastcall.simulator.twilio_client import CallerMessages, CallIds, PhoneAudio
from handsets import Twilio
from peers import ScriptedRecognizer, turns

VOICE, SILENCE = b"\x10" * 160, b"\xff" * 160


class Stage:
    """A call whose every frame the test decides."""

    def __init__(
        self, handler: Handler, *, prompt: bytes = b"", parameters: dict[str, str] | None = None, **settings: Any
    ) -> None:
        self.recognizer, self.twilio, self.metrics = ScriptedRecognizer(), Twilio(), Metrics()
        self.events: list[TranscriptEvent] = []
        self.messages = CallerMessages(CallIds("CA1", "MZ1"), 155)
        self.runner = CallRunner(
            self.twilio,
            settings=Settings(**({"language": "en-US"} | settings)),
            recognizer=self.recognizer,
            config=StreamConfig("en-US", "default"),
            voice=LoudnessDetector(),
            sink=lambda event, key, stream_sid: self.events.append(event),
            handler=handler,
            prompt=prompt,
            metrics=self.metrics,
        )
        self._frame = 0
        for message in (self.messages.connected(), self.messages.start(parameters or {})):
            self.runner.message_received(message.encode())

    async def hear(self, *frames: bytes) -> None:
        for frame in frames:
            payload = PhoneAudio(frame, tail_s=0).payload(0)
            self.runner.message_received(self.messages.media(self._frame, payload).encode())
            self._frame += 1
        await self.turn()

    async def recognize(self, text: str, *, is_final: bool, end_ms: int) -> None:
        self.recognizer.streams[0].results(StreamResult(text, is_final, 8 * end_ms))
        await self.turn()

    async def echo(self, *marks: str) -> None:
        for mark in marks:
            self.runner.message_received(self.messages.mark(mark).encode())
        await self.turn()

    @staticmethod
    async def turn() -> None:
        await turns(10)

    def told(self, *names: str) -> list[TranscriptEvent]:
        return [event for event in self.events if event.event in names]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await _tick()

    async def pass_time(self, seconds: float) -> None:
        """Until timers that are due by then have fired."""
        loop = asyncio.get_running_loop()
        until_at = loop.time() + seconds
        await self.until(lambda: loop.time() > until_at)

    async def end(self) -> None:
        self.runner.message_received(self.messages.stop().encode())
        self.runner.socket_closed(1000, "")
        await self.turn()
        over: list[None] = []
        self.runner.on_over(lambda: over.append(None))
        async with asyncio.timeout(5):
            while not over:
                # Where speech had no words it is asked again, once: of another stream, which ends as well.
                for stream in self.recognizer.streams:
                    if stream.half_closed:
                        stream.end(StreamEnd("OK"))
                await _tick()
        await self.turn()


async def _tick() -> None:
    """Let timers fire: until a millisecond has passed."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(0.001, passed.set_result, None)
    await passed


async def speaks(call: Call) -> None:
    """Says ten seconds at once, and keeps what happens."""
    call.state["events"] = events = []
    talkers.append(events)
    call.say(b"\x01" * 80_000, text="one two three four five six seven eight nine ten")
    async for event in call.events():
        events.append(event)


talkers: list[list[CallEvent]] = []


async def test_a_pause_is_published_and_what_was_heard_until_then() -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        await call.say(b"\x01" * 8000, text="one two three four", word_ends_ms=[250, 500, 750, 1000])

    stage = Stage(handler)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10)
    await stage.echo(*stage.twilio.marks[:3])
    calls[0].player.pause()
    await stage.hear(*[SILENCE] * 10)
    calls[0].player.resume()
    await stage.echo(*stage.twilio.marks[3:])
    events = stage.told("agent_audio")
    assert [event.details["state"] for event in events if event.details] == ["begin", "paused", "resumed", "played"]
    _, paused, resumed, played = events
    assert paused.details is not None
    assert paused.details["heard_text"] == "one two"
    assert 600 <= paused.details["heard_ms"] <= 800
    assert resumed.details == {"speech_id": 1, "state": "resumed"}
    assert [event.end_sample for event in (paused, resumed)] == [1600, 3200]
    assert played.details is not None
    assert played.details["heard_ms"] == 1000
    await stage.end()


async def test_a_caller_who_speaks_stops_the_handler_and_it_is_told_what_was_heard() -> None:
    stage = Stage(speaks)
    await stage.turn()
    assert stage.twilio.events.count("media") == 10
    await stage.hear(*[SILENCE] * 10)
    await stage.echo(*stage.twilio.marks[:9])
    await stage.hear(*[VOICE] * 14)
    assert "clear" not in stage.twilio.events
    await stage.hear(VOICE)
    assert stage.twilio.events[-1] == "clear"
    (barge_in,) = stage.told("barge_in")
    assert (barge_in.utterance_id, barge_in.text) == (1, "one two")
    assert barge_in.details is not None
    assert 1800 <= barge_in.details["heard_ms"] <= 2000
    # The handler is told when words show that it is an interruption.
    assert [e for e in talkers[-1] if isinstance(e, BargeIn)] == []
    await stage.echo(*stage.twilio.marks[9:])
    await stage.recognize("hold on", is_final=False, end_ms=400)
    assert [e.heard_text for e in talkers[-1] if isinstance(e, BargeIn)] == ["one two"]
    begin, paused, cut = stage.told("agent_audio")
    assert begin.details == {"speech_id": 1, "state": "begin"}
    assert paused.details is not None
    assert (paused.details["state"], paused.details["heard_text"]) == ("paused", "one two")
    assert cut.details is not None
    assert (cut.details["state"], cut.details["heard_text"]) == ("cut", "one two")
    # Nobody speaks any more: the rest of the caller's sentence interrupts nothing.
    await stage.hear(*[VOICE] * 50)
    assert stage.metrics.barge_ins == 1
    assert sum(stage.metrics.barge_in_seconds.counts) == 1
    await stage.end()


async def test_an_interruption_is_of_the_turn_that_made_it_and_not_of_late_words() -> None:
    stage = Stage(speaks)
    await stage.turn()
    await stage.hear(*[SILENCE] * 150, *[VOICE] * 16)
    assert stage.told("barge_in")[0].utterance_id == 1
    await stage.recognize("hello", is_final=True, end_ms=1000)  # an utterance in which nobody was heard
    assert [event.utterance_id for event in stage.told("utterance_begin")] == [1, 2]
    await stage.recognize("hold on", is_final=False, end_ms=3300)
    assert [event.id for event in talkers[-1] if isinstance(event, BargeIn)] == [1]
    await stage.end()


async def test_an_interruption_without_words_is_taken_back() -> None:
    stage = Stage(speaks, barge_in_resume_ms=20)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10)
    await stage.echo(*stage.twilio.marks[:9])
    await stage.hear(*[VOICE] * 15, *[SILENCE] * 10)
    await stage.until(lambda: stage.told("agent_audio")[-1].details["state"] == "resumed")  # type: ignore[index]
    assert stage.twilio.events.index("clear") < len(stage.twilio.events) - 1
    assert [e for e in talkers[-1] if isinstance(e, BargeIn)] == []
    assert (stage.metrics.barge_ins, stage.metrics.barge_ins_taken_back) == (1, 1)
    await stage.end()


async def test_an_interruption_is_told_before_the_utterance_also_if_the_words_come_with_its_commit() -> None:
    """Some recognizers, and the fallback, have no interims. What the handler answers must be heard."""
    events: list[CallEvent] = []

    async def handler(call: Call) -> None:
        call.say(b"\x01" * 80_000, text="one two three")
        async for event in call.events():
            events.append(event)
            if isinstance(event, Utterance):
                call.say(b"\x01" * 1600, text="very well")

    stage = Stage(handler)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20, *[SILENCE] * 45)
    assert stage.twilio.events[-1] == "clear"
    await stage.recognize("hold on please", is_final=True, end_ms=1500)
    assert [type(event) for event in events] == [BargeIn, Utterance]
    assert stage.told("agent_audio")[-1].text == "very well"
    await stage.end()


async def test_what_the_handler_says_after_its_own_clear_can_be_interrupted() -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        call.say(b"\x01" * 80_000)
        await asyncio.Event().wait()

    stage = Stage(handler, barge_in_resume_ms=20)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 16)
    assert stage.twilio.events[-1] == "clear"
    calls[0].clear()
    calls[0].say(b"\x01" * 80_000)
    await stage.hear(*[SILENCE] * 60)
    await stage.pass_time(0.05)  # when the stopped speech would have been resumed
    cleared = stage.twilio.events.count("clear")
    await stage.hear(*[VOICE] * 16)
    assert stage.twilio.events.count("clear") == cleared + 1
    await stage.end()


async def test_what_goes_on_after_a_mark_can_be_interrupted_again() -> None:
    async def handler(call: Call) -> None:
        call.say(b"\x01" * 1600)
        call.mark("then")
        call.say(b"\x01" * 80_000)
        await asyncio.Event().wait()

    stage = Stage(handler, barge_in_resume_ms=20)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10)
    await stage.pass_time(0.22)  # the first was heard, and its mark is on its way back
    await stage.hear(*[VOICE] * 16, *[SILENCE] * 60)
    await stage.until(lambda: stage.told("agent_audio")[-1].details["state"] == "resumed")  # type: ignore[index]
    await stage.hear(*[VOICE] * 16)
    assert stage.twilio.events.count("clear") == 2
    await stage.end()


async def test_a_backchannel_is_told_and_needs_no_answer() -> None:
    stage = Stage(speaks)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 10)
    await stage.recognize("mhm", is_final=False, end_ms=350)
    await stage.hear(*[VOICE] * 10, *[SILENCE] * 50)
    await stage.recognize("mhm", is_final=True, end_ms=600)
    assert "clear" not in stage.twilio.events
    (ignored,) = stage.told("not_interrupted")
    assert ignored.details == {"reason": "backchannel"}
    (utterance,) = [e for e in talkers[-1] if isinstance(e, Utterance)]
    assert (utterance.text, utterance.is_backchannel) == ("mhm", True)
    await stage.end()


@pytest.mark.parametrize(("final", "answered"), [("Mhm.", []), ("Mhm wait", ["Mhm wait"])])
async def test_the_final_of_a_backchannel_is_one_too_if_it_says_no_more(final: str, answered: list[str]) -> None:
    texts: list[str] = []

    async def handler(call: Call) -> None:
        call.say(b"\x01" * 80_000)
        async for utterance in call.utterances():
            texts.append(utterance.text)

    stage = Stage(handler, utterance_commit_ms=0)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 10)
    await stage.recognize("mhm", is_final=False, end_ms=400)
    await stage.hear(*[SILENCE] * 60)
    await stage.until(lambda: stage.told("utterance_end"))
    await stage.recognize(final, is_final=True, end_ms=600)
    (amended,) = stage.told("amended")
    assert amended.text == final
    await stage.end()
    assert texts == answered


async def test_speech_waits_for_the_end_of_the_caller_s_turn_and_new_words_supersede_it() -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        async for _ in call.utterances():
            pass

    stage = Stage(handler)
    await stage.turn()
    for text in ("yes", "no wait"):
        await stage.hear(*[SILENCE] * 10, *[VOICE] * 10)
        speech = calls[0].say(b"\x01" * 1600, text="very well")
        assert "media" not in stage.twilio.events
        await stage.hear(*[VOICE] * 10, *[SILENCE] * 60)
        await stage.recognize(text, is_final=True, end_ms=len(stage.told("utterance_begin")) * 1800)
        assert len(stage.told("utterance_end")) == len(stage.told("utterance_begin"))
        if text == "yes":
            # Before the caller has said anything, it is no answer that could be out of date.
            assert stage.twilio.events[:2] == ["media", "mark"]
            await stage.echo(*stage.twilio.marks)
            stage.twilio.sent.clear()
    assert (await speech).ms == 0
    assert stage.twilio.events == []
    states = [event.details["state"] for event in stage.told("agent_audio") if event.details]
    assert states == ["held", "begin", "played", "held", "dropped"]
    await stage.end()


async def test_an_interruption_that_stops_nothing_is_none() -> None:
    """All of the talk was sent, and what comes next is not interruptible, but its audio is still to be made."""
    events: list[CallEvent] = []

    async def notice() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def handler(call: Call) -> None:
        call.say(b"\x01" * 8000, text="the talk")
        call.say(notice(), text="by law", interruptible=False)
        async for event in call.events():
            events.append(event)

    stage = Stage(handler)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20)
    await stage.recognize("hold on", is_final=False, end_ms=600)
    assert "clear" not in stage.twilio.events
    assert [event.details for event in stage.told("not_interrupted")] == [{"reason": "uninterruptible"}]
    assert stage.told("barge_in") == []
    assert [event for event in events if isinstance(event, BargeIn)] == []
    assert stage.metrics.barge_ins == 0
    # The agent is still heard: what the caller says next is no turn in its silence, either.
    await stage.hear(*[SILENCE] * 100, *[VOICE] * 20)
    assert [event.utterance_id for event in stage.told("not_interrupted")] == [1, 2]
    await stage.end()


@pytest.mark.parametrize("interruptible", [True, False])
async def test_a_legal_notice_is_said_to_its_end(interruptible: bool) -> None:
    async def handler(call: Call) -> None:
        await call.say(b"\x01" * 16_000, text="this call is recorded", interruptible=interruptible)

    stage = Stage(handler)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 30)
    await stage.recognize("stop that now", is_final=False, end_ms=700)
    assert ("clear" in stage.twilio.events) == interruptible
    assert [event.details for event in stage.told("not_interrupted")] == (
        [] if interruptible else [{"reason": "uninterruptible"}]
    )
    await stage.end()


@pytest.mark.parametrize("settings", [{"barge_in": False}, {"barge_in_min_ms": 400}, {"barge_in_min_words": 2}])
async def test_a_cough_does_not_stop_it_where_that_is_set(settings: dict[str, Any]) -> None:
    stage = Stage(speaks, **settings)
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 5, *[SILENCE] * 50)
    await stage.recognize("uh", is_final=True, end_ms=300)
    assert stage.told("utterance_end")
    assert "clear" not in stage.twilio.events
    await stage.end()


async def test_so_much_voice_stops_it() -> None:
    stage = Stage(speaks, barge_in_min_ms=200)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 9)
    assert "clear" not in stage.twilio.events
    await stage.hear(*[VOICE] * 3)
    await stage.until(lambda: "clear" in stage.twilio.events)
    await stage.end()


async def test_so_many_words_stop_it() -> None:
    stage = Stage(speaks, barge_in_min_words=2)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 10)
    await stage.recognize("stop", is_final=False, end_ms=500)
    assert "clear" not in stage.twilio.events
    await stage.recognize("stop it", is_final=False, end_ms=600)
    await stage.until(lambda: "clear" in stage.twilio.events)
    await stage.end()


async def answers(call: Call) -> None:
    async for utterance in call.utterances():
        call.say(b"\x01" * 320, text=f"you said {utterance.text}")
        call.say(b"\x01" * 320, text="and that is no first response")


async def test_each_turn_is_measured_with_its_parts() -> None:
    stage = Stage(answers)
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20, *[SILENCE] * 50)
    await stage.recognize("hello", is_final=True, end_ms=600)
    (response,) = stage.told("first_response")
    assert response.utterance_id == 1
    assert response.details is not None
    parts = [response.details[f"{part}_ms"] for part in ("endpointing", "commit", "agent", "first_audio")]
    assert sum(parts) == pytest.approx(response.details["total_ms"], abs=0.5)
    for name in ("first_response", "turn_endpointing", "turn_commit", "turn_agent", "turn_first_audio"):
        assert sum(getattr(stage.metrics, f"{name}_seconds").counts) == 1
    assert len(stage.told("agent_audio")) == 2
    await stage.end()
    assert [e.details["state"] for e in stage.told("agent_audio") if e.details] == ["begin", "begin", "cut", "cut"]


async def iterates(call: Call) -> None:
    async for utterance in call.utterances():
        given.append((utterance.text, utterance.is_correction))


async def replies(call: Call) -> None:
    async def reply(turn: Turn) -> None:
        given.append((turn.text, False))
        try:
            async for text in turn.corrections():
                given.append((text, True))
        except asyncio.CancelledError:
            given.append((turn.corrected_text or "", True))
            raise

    await call.answer(reply)


async def reads_events(call: Call) -> None:
    async for event in call.events():
        if isinstance(event, Utterance | Amendment) and event.text:
            given.append((event.text, isinstance(event, Amendment)))


def iterates_in_a_thread(call: BlockingCall) -> None:
    for utterance in call.utterances():
        given.append((utterance.text, utterance.is_correction))


given: list[tuple[str, bool]] = []
LOOPS = [iterates, replies, reads_events, iterates_in_a_thread]


@pytest.mark.parametrize("handler", LOOPS)
async def test_words_that_come_after_the_commit_reach_every_loop_once(handler: Handler) -> None:
    given.clear()
    stage = Stage(handler, utterance_commit_ms=0)
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20, *[SILENCE] * 50)
    await stage.until(lambda: stage.told("utterance_end"))
    assert [event.text for event in stage.told("utterance_end")] == [""]
    assert given == []
    await stage.recognize("hello", is_final=True, end_ms=600)
    await stage.until(lambda: given)
    assert [event.text for event in stage.told("amended")] == ["hello"]
    await stage.end()
    assert given == [("hello", False)]


@pytest.mark.parametrize("handler", LOOPS)
async def test_a_correction_reaches_every_loop_once(handler: Handler) -> None:
    given.clear()
    stage = Stage(handler, utterance_commit_ms=0)
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20)
    await stage.recognize("hallo", is_final=False, end_ms=500)
    await stage.hear(*[SILENCE] * 50)
    await stage.until(lambda: given)
    await stage.recognize("hello", is_final=True, end_ms=600)
    await stage.until(lambda: len(given) > 1)
    await stage.end()
    expected = [("hallo", False), ("hello", True)]
    # The reply had said nothing, and was started anew.
    assert given == (expected if handler is not replies else [*expected, ("hello", False)])


async def test_the_response_to_late_words_is_measured_once_they_are_there() -> None:
    stage = Stage(answers, utterance_commit_ms=0)
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20, *[SILENCE] * 50)
    await stage.until(lambda: stage.told("utterance_end"))
    waited_from = time.monotonic()
    for _ in range(20):
        await _tick()
    waited_ms = 1000 * (time.monotonic() - waited_from)
    assert stage.told("first_response") == []
    await stage.recognize("hello", is_final=True, end_ms=600)
    (response,) = stage.told("first_response")
    assert response.utterance_id == 1
    assert response.details is not None
    # What the recognizer was late is not the agent's time; clocks may tick in whole milliseconds.
    assert response.details["commit_ms"] >= waited_ms / 2
    await stage.end()


async def test_a_correction_is_no_turn_to_measure() -> None:
    stage = Stage(answers, utterance_commit_ms=0)
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20)
    await stage.recognize("hallo", is_final=False, end_ms=500)
    await stage.hear(*[SILENCE] * 50)
    await stage.until(lambda: stage.told("first_response"))
    await stage.recognize("hello", is_final=True, end_ms=600)
    assert [event.text for event in stage.told("amended")] == ["hello"]
    assert [event.text for event in stage.told("agent_audio")][-2:] == [
        "you said hello",
        "and that is no first response",
    ]
    assert len(stage.told("first_response")) == 1
    await stage.end()


async def test_what_the_caller_said_can_be_had_if_it_is_kept() -> None:
    kept: list[bytes] = []

    async def keeps(call: Call) -> None:
        call.keep_audio(5)
        async for utterance in call.utterances():
            kept.append(call.audio(utterance.start_ms, utterance.end_ms))

    stage = Stage(keeps)
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20, *[SILENCE] * 50)
    await stage.recognize("hello", is_final=True, end_ms=600)
    assert kept == [mulaw_decode(SILENCE * 10 + VOICE * 20)]
    await stage.end()


async def test_keys_and_marks_reach_the_handler_and_our_own_marks_do_not() -> None:
    stage = Stage(speaks)
    await stage.turn()
    stage.runner.message_received(stage.messages.dtmf("7").encode())
    await stage.echo("mine", "fastcall:1")
    assert [type(event).__name__ for event in talkers[-1]] == ["DtmfPressed", "MarkPlayed"]
    await stage.end()


async def marks_and_stops(call: Call) -> None:
    talkers.append([])
    events = call.events()
    call.say(bytes(80_000))
    call.mark("behind")
    call.clear()
    talkers[-1] += [event async for event in events]


async def test_a_mark_that_was_not_sent_yet_when_all_was_cleared_is_told_once_it_is_back() -> None:
    stage = Stage(marks_and_stops)
    await stage.turn()
    await stage.echo(*stage.twilio.marks)
    await stage.end()
    assert [event.name for event in talkers[-1] if isinstance(event, MarkPlayed)] == ["behind"]


async def fails(call: Call) -> None:
    raise RuntimeError("no answer")


async def ends_the_process(call: Call) -> None:
    sys.exit("no answer")


async def has_a_reply_that_ends_the_process(call: Call) -> None:
    await call.answer(ends_the_process)  # type: ignore[arg-type]


@pytest.mark.parametrize("handler", [ends_the_process, has_a_reply_that_ends_the_process])
async def test_a_handler_that_would_end_the_process_ends_alone(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(handler)
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20, *[SILENCE] * 50)
    await stage.recognize("hello", is_final=True, end_ms=600)
    assert "SystemExit('no answer')" in caplog.text
    assert stage.metrics.agent_failures == 1
    await stage.end()


@pytest.mark.parametrize(("prompt", "audio"), [(b"", b""), (b"\x07" * 400, b"\x07" * 400)])
async def test_when_it_fails_the_caller_hears_the_prompt_or_silence(
    prompt: bytes, audio: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(fails, prompt=prompt)
    await stage.turn()
    assert stage.twilio.audio == audio
    assert "the handler failed; the call continues without it call=CA1" in caplog.text
    assert "RuntimeError: no answer" in caplog.text
    assert stage.metrics.agent_failures == 1
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 20, *[SILENCE] * 50)
    assert stage.told("utterance_begin")
    await stage.end()


async def test_a_plain_function_gets_a_thread() -> None:
    threads: list[int] = []

    def handler(call: BlockingCall) -> None:
        threads.append(threading.get_ident())

    stage = Stage(handler)
    await stage.until(lambda: threads)
    assert threads != [threading.get_ident()]
    await stage.end()


async def test_a_handler_that_keeps_the_loop_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fastcall.aio.stall_monitor.STALL_S", 0.01)

    async def keeps(call: Call) -> None:
        for _ in range(2):
            until = time.monotonic() + 0.015
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING, "fastcall"):
        stage = Stage(keeps)
        await stage.turn()
    assert stage.metrics.agent_stalls == 2
    assert caplog.text.count("blocked the event loop") == 1
    await stage.end()


async def test_a_peer_that_confirms_no_clear_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fastcall.agent.player.CLEAR_TIMEOUT_S", 0.01)
    done: list[object] = []

    async def clears(call: Call) -> None:
        call.say(b"\x01" * 1600)
        done.append(await call.clear())

    stage = Stage(clears)
    await stage.until(lambda: done)
    assert "did not come back within 1 s of clear" in caplog.text
    assert stage.metrics.clears_overdue == 1
    await stage.end()


async def test_audio_that_cannot_be_made_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def broken():  # type: ignore[no-untyped-def]
        yield b"\x01" * 160
        raise OSError("no voice")

    async def tries(call: Call) -> None:
        call.say(broken())

    stage = Stage(tries)
    await stage.turn()
    assert "the audio of a say() failed" in caplog.text
    assert stage.twilio.audio == b"\x01" * 160
    await stage.end()


BEEP = mulaw_encode(array("h", [round(8000 * math.sin(2 * math.pi * n / 8)) for n in range(4000)]).tobytes())
BEEP_FRAMES = [BEEP[at : at + 160] for at in range(0, 4000, 160)]
OUTBOUND = {"Direction": "outbound-api"}


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, []),
        (OUTBOUND, [MachineDetected("words"), BeepHeard()]),
        ({"AnsweredBy": "unknown"}, [MachineDetected("words"), BeepHeard()]),
        ({"AnsweredBy": "machine_start"}, [BeepHeard()]),  # the handler began with the verdict
        ({"AnsweredBy": "human"} | OUTBOUND, []),
    ],
)
async def test_a_machine_is_told_from_its_words_to_its_beep(parameters: dict[str, str], told: list[CallEvent]) -> None:
    seen: list[CallEvent] = []
    at_first: list[str | None] = []

    async def handler(call: Call) -> None:
        at_first.append(call.machine_detected)
        seen.extend([event async for event in call.events() if isinstance(event, MachineDetected | BeepHeard)])

    stage = Stage(handler, parameters=parameters)
    await stage.turn()
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 100)
    await stage.recognize("leave a message after the tone", is_final=False, end_ms=2000)
    await stage.hear(*[SILENCE] * 25, *BEEP_FRAMES, *[SILENCE] * 10)
    await stage.end()
    assert seen == told
    assert at_first == ["twilio" if parameters.get("AnsweredBy") == "machine_start" else None]
    beeps = [(event.start_sample, event.end_sample) for event in stage.told("beep")]
    assert beeps == ([(21_600, 25_600)] if told else [])
    reasons = [event.details for event in stage.told("machine_detected")]
    assert reasons == [{"reason": reason} for reason in (["twilio"] if at_first[0] else ["words"] if told else [])]


async def test_a_beep_after_a_voice_is_a_machine_s_and_a_thread_knows_it() -> None:
    known: list[tuple[str | None, bool]] = []

    listens = threading.Event()

    def handler(call: BlockingCall) -> None:
        events = call.events()
        listens.set()
        for event in events:
            if isinstance(event, BeepHeard):
                known.append((call.machine_detected, call.beep_heard))

    stage = Stage(handler, parameters=OUTBOUND)
    await stage.until(listens.is_set)
    await stage.hear(*[SILENCE] * 10, *[VOICE] * 50, *[SILENCE] * 25, *BEEP_FRAMES, *[SILENCE] * 10)
    await stage.until(lambda: known)
    assert known == [("beep", True)]
    await stage.end()


async def test_the_agent_s_greeting_makes_a_long_answer_of_a_monologue() -> None:
    found = []
    for greets in (False, True):

        async def handler(call: Call, greets: bool = greets) -> None:
            if greets:
                call.say(b"\x01" * 1600)
            async for _ in call.utterances():
                pass

        stage = Stage(handler, parameters=OUTBOUND)
        await stage.turn()
        await stage.hear(*[SILENCE] * 50)
        await stage.echo(*stage.twilio.marks)
        await stage.hear(*([VOICE] * 40 + [SILENCE] * 10) * 9)
        await stage.recognize("word " * 20, is_final=False, end_ms=9000)
        found.append([event.details for event in stage.told("machine_detected")])
        await stage.end()
    assert found == [[{"reason": "monologue"}], []]
