"""The fallback in a session, in virtual time: against a provider and a fallback that the test plays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from fastcall.call_logger import CallLogger
from fastcall.errors import RecognizerError, UsageError
from fastcall.events import (
    FallbackAsked,
    FallbackSilent,
    RecognitionEvent,
    SessionClosed,
    SessionFailed,
    SessionRotated,
    SessionStarted,
)
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.session import LOG, RecognitionSession, SessionEvent
from fastcall.settings import Settings
from peers import ScriptedFallback, ScriptedRecognizer, ScriptedStream
from sim.clock import elapse, in_virtual_time

S = 8000
FRAME = bytes(range(1, 161))
BATCH = 1200
GONE = StreamEnd("UNAVAILABLE", "gone")


class Stage:
    """A session in an outage from the first second on, unless the provider serves."""

    def __init__(self, *, serves: bool = False, fallback: bool = True, **settings: Any) -> None:
        self.serves = serves
        self.recognizer = ScriptedRecognizer(self.opened)
        self.fallback = ScriptedFallback()
        self.events: list[SessionEvent] = []
        self.session = RecognitionSession(
            self.recognizer if settings.get("enable_streaming_stt", True) else None,
            StreamConfig("he-IL", "default"),
            fallback=self.fallback if fallback else None,
            settings=Settings(**settings),
            on_event=self.events.append,
            rand=lambda: 0.5,
            log=CallLogger(LOG, "call=CA1"),
        )
        self.session.start()
        self.session.note_speech(False, 0)

    def opened(self, stream: ScriptedStream) -> None:
        if not self.serves:
            stream.end(GONE)

    @property
    def stream(self) -> ScriptedStream:
        return self.recognizer.streams[-1]

    async def recover(self) -> None:
        """The provider serves, and has the session's next stream."""
        self.serves = True
        opened = len(self.recognizer.streams)
        await wait_for(lambda: len(self.recognizer.streams) > opened)

    async def hear(self, seconds: float, frame: bytes = FRAME) -> None:
        for _ in range(round(seconds * 50)):
            self.session.push_audio(frame)
            await elapse(0.02)

    async def utterance(self, seconds: float) -> None:
        start = self.session.call_samples
        self.session.note_speech(True, start)
        await self.hear(seconds)
        end = self.session.call_samples
        await self.hear(0.5, bytes([255]) * 160)
        self.session.note_speech(False, end)
        await elapse(0)

    def finals(self) -> list[tuple[str, str, float]]:
        return [
            (e.text, e.source, e.end_sample / S)
            for e in self.events
            if isinstance(e, RecognitionEvent) and e.kind == "final"
        ]

    def asked(self) -> list[tuple[float, float, str]]:
        return [(e.start_sample / S, e.end_sample / S, e.reason) for e in self.events if isinstance(e, FallbackAsked)]

    async def answer(self, text: str, index: int = -1) -> None:
        self.fallback.requests[index].answer.set_result(text)
        await elapse(0)

    async def close(self) -> None:
        await self.session.close(5)
        await elapse(0)


async def wait_for(is_true: Callable[[], bool], within_s: float = 30.0) -> None:
    """Let virtual time pass until it is true."""
    async with asyncio.timeout(within_s):
        while not is_true():
            await elapse(0.02)


@in_virtual_time
async def test_an_utterance_of_an_outage_is_recognized_from_its_own_audio_and_settled() -> None:
    stage = Stage()
    await stage.hear(1.0)
    await stage.utterance(2.0)
    (request,) = stage.fallback.requests
    assert (request.language, request.urgent) == ("he-IL", True)
    assert stage.asked() == [(0.0, 3.0, "outage")]
    assert request.seconds == pytest.approx(3.2)
    await stage.answer("  shalom   olam ")
    assert stage.finals() == [("shalom olam", "whisper", 3.0)]
    await stage.close()


@in_virtual_time
async def test_the_recognizer_that_is_back_hears_only_what_the_fallback_has_not_settled() -> None:
    stage = Stage()
    await stage.utterance(2.0)
    await stage.answer("one")
    await stage.recover()
    await stage.hear(1.0)
    assert 0 <= stage.session.call_samples - 2 * S - stage.stream.samples < BATCH
    stage.stream.results(StreamResult("two", True, S))
    assert SessionRotated("reconnect") in stage.events
    assert stage.finals() == [("one", "whisper", 2.0), ("two", "emulator", 3.0)]
    await stage.utterance(1.0)
    assert len(stage.fallback.requests) == 1  # it serves
    await close_served(stage)


async def close_served(stage: Stage) -> None:
    closing = asyncio.create_task(stage.session.close(5))
    await wait_for(lambda: stage.stream.half_closed)
    stage.stream.end(StreamEnd("OK"))
    await closing


@in_virtual_time
async def test_a_stream_that_heard_the_span_is_replaced_when_the_fallback_settles_it() -> None:
    stage = Stage()
    await stage.utterance(2.0)
    await stage.recover()
    old = stage.stream
    await stage.hear(1.0)
    assert old.samples > 2 * S  # everything again
    await stage.answer("one")
    old.results(StreamResult("one", True, 2 * S))  # too late: it is settled
    await wait_for(lambda: stage.stream is not old)
    await stage.hear(1.0)
    assert 0 <= stage.session.call_samples - 2 * S - stage.stream.samples < BATCH
    assert stage.finals() == [("one", "whisper", 2.0)]
    await close_served(stage)


@in_virtual_time
async def test_a_final_that_comes_first_discards_the_fallbacks_answer() -> None:
    stage = Stage()
    await stage.utterance(2.0)
    await stage.recover()
    await stage.hear(1.0)
    stage.stream.results(StreamResult("one", True, 2 * S))
    await elapse(0)
    assert stage.fallback.requests[0].answer.cancelled()
    assert stage.finals() == [("one", "emulator", 2.0)]
    await close_served(stage)


@in_virtual_time
async def test_an_interim_that_has_the_words_keeps_the_fallbacks_answer_out() -> None:
    stage = Stage()
    await stage.utterance(2.0)
    await stage.recover()
    await stage.hear(1.0)
    stage.stream.results(StreamResult("one", False, 2 * S))
    await stage.answer("won")
    assert stage.finals() == []
    stage.stream.results(StreamResult("one", True, 2 * S))
    assert stage.finals() == [("one", "emulator", 2.0)]
    await close_served(stage)


@in_virtual_time
async def test_after_a_failure_for_good_the_fallback_hears_every_utterance() -> None:
    stage = Stage(serves=True)
    stage.session.note_speech(True, 0)
    await stage.hear(1.0)
    stage.stream.end(StreamEnd("PERMISSION_DENIED", "who?"))
    (failed,) = [e for e in stage.events if isinstance(e, SessionFailed)]
    assert not failed.retrying
    await stage.hear(1.5)
    stage.session.note_speech(False, 2 * S)
    await elapse(0)
    await stage.answer("one two")
    await stage.utterance(1.0)
    await stage.answer("three")
    assert stage.finals() == [("one two", "whisper", 2.0), ("three", "whisper", 3.5)]
    assert [reason for _, _, reason in stage.asked()] == ["failed", "failed"]
    assert len(stage.recognizer.streams) == 1
    await stage.close()


@in_virtual_time
async def test_without_streaming_no_stream_is_opened_and_silence_is_not_kept() -> None:
    stage = Stage(enable_streaming_stt=False)
    assert stage.events == [SessionStarted("whisper")]
    await stage.hear(30.0)
    assert stage.session.replay_buffer.track.memory_bytes <= 6 * S
    await stage.utterance(2.0)
    assert stage.fallback.requests[0].seconds == pytest.approx(2.3)
    await stage.answer("one")
    await stage.utterance(1.0)
    closing = asyncio.create_task(stage.session.close(5))
    await elapse(1.0)
    assert not closing.done()  # the last words still come
    await stage.answer("two")
    await closing
    assert stage.finals() == [("one", "whisper", 32.0), ("two", "whisper", 33.5)]
    assert stage.recognizer.streams == []
    assert stage.session.lost_samples == 0
    assert isinstance(stage.events[-1], SessionClosed)


@in_virtual_time
async def test_a_close_waits_for_the_fallback_no_longer_than_it_is_told() -> None:
    stage = Stage()
    await stage.utterance(1.0)
    began = asyncio.get_running_loop().time()
    await stage.session.close(2.0)
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.1)
    (silent,) = [e for e in stage.events if isinstance(e, FallbackSilent)]
    assert (silent.end_sample, silent.error) == (S, "no response before the end of the call")
    await elapse(0)
    assert stage.fallback.requests[0].answer.cancelled()


@in_virtual_time
async def test_a_close_in_an_outage_ends_as_soon_as_the_fallback_has_settled_all() -> None:
    stage = Stage()
    await stage.utterance(1.0)
    closing = asyncio.create_task(stage.session.close(5))
    await elapse(0.5)
    await stage.answer("bye")
    async with asyncio.timeout(0.5):
        await closing
    assert stage.finals() == [("bye", "whisper", 1.0)]


@in_virtual_time
async def test_audio_that_outgrows_the_bound_is_asked_for_in_time_and_nothing_is_lost() -> None:
    stage = Stage(stt_replay_s=10)
    stage.session.note_speech(True, 0)
    for _ in range(4):
        known = len(stage.fallback.requests)
        while len(stage.fallback.requests) == known:
            await stage.hear(0.2)
        assert not stage.fallback.requests[-1].urgent
        await stage.hear(1.0)
        await stage.answer("piece")
    assert stage.session.lost_samples == 0
    ends = [end for _, _, end in stage.finals()]
    assert len(ends) == 4
    assert sum(request.seconds for request in stage.fallback.requests) == pytest.approx(ends[-1])
    assert {reason for _, _, reason in stage.asked()} == {"bound"}
    await stage.close()


@in_virtual_time
async def test_what_outgrows_the_bound_without_an_answer_is_counted() -> None:
    stage = Stage(stt_replay_s=10)
    stage.session.note_speech(True, 0)
    await stage.hear(15.0)
    assert stage.session.lost_samples == pytest.approx(5 * S, abs=2000)
    await stage.close()


@pytest.mark.parametrize("error", [RecognizerError("RESOURCE_EXHAUSTED", "busy"), ValueError("a defect"), None])
def test_a_failure_is_asked_once_more_and_then_told(error: Exception | None, caplog: pytest.LogCaptureFixture) -> None:
    @in_virtual_time
    async def play() -> None:
        caplog.set_level(logging.INFO)
        stage = Stage(stt_fallback_limit_s=3)
        await stage.utterance(1.0)
        for count in (1, 2):
            await wait_for(lambda count=count: len(stage.fallback.requests) == count)  # type: ignore[misc]
            if error is not None:
                stage.fallback.requests[-1].answer.set_exception(error)
            await elapse(3.5)
        (silent,) = [e for e in stage.events if isinstance(e, FallbackSilent)]
        assert silent.end_sample == S
        assert ("busy" if isinstance(error, RecognizerError) else "defect" if error else "in 3 s") in silent.error
        assert len(stage.fallback.requests) == 2
        assert stage.finals() == []
        (asking,) = [line for line in caplog.messages if "trying once more" in line]
        assert asking.endswith("call=CA1")
        await stage.close()

    play()


@in_virtual_time
async def test_words_before_the_outage_and_a_fallback_without_an_answer_leave_what_was_heard() -> None:
    stage = Stage(serves=True)
    stage.session.note_speech(True, 0)
    await stage.hear(1.0)
    stage.stream.results(StreamResult("hello", False, S))
    stage.serves = False
    stage.stream.end(GONE)
    await stage.hear(1.0)
    stage.session.note_speech(False, 2 * S)
    await stage.close()
    assert [final[:2] for final in stage.finals()] == [("hello", "emulator")]


@in_virtual_time
async def test_a_session_without_a_fallback_is_as_it_was() -> None:
    stage = Stage(fallback=False)
    await stage.utterance(1.0)
    assert stage.asked() == []
    await stage.close()


@in_virtual_time
async def test_nothing_is_left_on_the_loop() -> None:
    before = asyncio.all_tasks()
    for _ in range(50):
        stage = Stage()
        await stage.utterance(0.5)
        await stage.session.close(0.1)
    await elapse(0)
    assert asyncio.all_tasks() == before


def test_a_session_needs_one_of_the_two() -> None:
    with pytest.raises(UsageError, match="fallback"):
        RecognitionSession(None, StreamConfig("en-US", "default"))


@in_virtual_time
async def test_a_text_that_waited_for_the_one_before_is_handed_out_at_the_end() -> None:
    stage = Stage()
    await stage.utterance(1.0)
    await stage.utterance(1.0)
    await stage.answer("two")
    assert stage.finals() == []
    await stage.session.close(0.5)
    assert stage.finals() == [("two", "whisper", 2.5)]
    (silent,) = [e for e in stage.events if isinstance(e, FallbackSilent)]
    assert silent.end_sample == S


@in_virtual_time
async def test_a_text_that_is_handed_out_at_the_beginning_of_an_outage_opens_no_second_stream() -> None:
    """It waited for the one before it, which the recognizer settled before it broke again."""
    stage = Stage()
    await stage.utterance(1.0)
    await stage.utterance(1.0)
    await stage.answer("two")
    await stage.recover()
    await stage.hear(0.5)
    stage.stream.results(StreamResult("one", True, S))
    assert stage.finals() == [("one", "emulator", 1.0)]
    stage.serves = False
    stage.stream.end(GONE)
    await elapse(0)
    assert stage.finals() == [("one", "emulator", 1.0), ("two", "whisper", 2.5)]
    stage.serves = True
    await stage.hear(3.0)
    assert [stream.ended for stream in stage.recognizer.streams].count(False) == 1
    await close_served(stage)


@in_virtual_time
async def test_the_last_audio_before_the_telephone_fell_silent_is_heard_too() -> None:
    """It is less than a batch, and nothing comes after it to complete one: it goes out with the utterance's end."""
    stage = Stage(serves=True)
    stage.session.note_speech(True, 0)
    await stage.hear(1.24)
    stage.session.note_speech(False, int(1.12 * S))
    assert stage.stream.samples == 1.24 * S
    stage.serves = False
    stage.stream.end(GONE)
    await elapse(2.5)
    (request,) = stage.fallback.requests
    assert request.seconds == pytest.approx(1.24)
    await stage.close()


@pytest.mark.parametrize("by_fallback", [True, False])
@in_virtual_time
async def test_a_word_that_a_cut_went_through_stays_said(by_fallback: bool) -> None:
    """It was told of before the outage; neither side of the cut has the whole of it."""
    stage = Stage(serves=True)
    stage.session.note_speech(True, 0)
    await stage.hear(2.0)
    await stage.hear(0.02, bytes([255]) * 160)  # the quietest moment, and yet in a word
    await stage.hear(0.98)
    stage.stream.results(StreamResult("one two three four", False, 3 * S))
    stage.serves = False
    stage.stream.end(GONE)
    stage.session.note_speech(False, 3 * S)  # it was long, and is ended while somebody speaks
    stage.session.note_speech(True, 3 * S)
    await elapse(2.1)
    await stage.answer("one two")
    if by_fallback:
        await stage.hear(1.5)
        stage.session.note_speech(False, 4 * S)
        await elapse(0)
        await stage.answer("four five")
    else:
        await stage.recover()
        await stage.hear(1.0)
        stage.stream.results(StreamResult("four", False, S // 2))
        stage.stream.results(StreamResult("four five", True, S))
    assert [text for text, _, _ in stage.finals()] == ["one two", "three four five"]
    await (stage.close() if by_fallback else close_served(stage))


@in_virtual_time
async def test_a_text_whose_words_were_committed_meanwhile_is_not_given_as_well() -> None:
    """What is known when its audio outgrew the bound counts as said, up to where it was told."""
    stage = Stage(serves=True, stt_replay_s=5)
    stage.session.note_speech(True, 0)
    await stage.hear(3.0)
    stage.stream.results(StreamResult("one two three", False, 3 * S))
    stage.serves = False
    stage.stream.end(GONE)
    await stage.hear(1.9)
    assert [start for start, _, _ in stage.asked()] == [0.0]
    await stage.recover()
    await stage.hear(1.2)
    assert stage.session.lost_samples > S
    await stage.answer("one two three", 0)
    assert [text for text, _, _ in stage.finals()] == ["one two three"]
    await close_served(stage)
