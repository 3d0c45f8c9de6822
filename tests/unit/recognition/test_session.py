"""One session of many streams, against a provider that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fastcall import g711
from fastcall.call_logger import CallLogger
from fastcall.errors import ClosedError
from fastcall.events import RecognitionEvent, SessionClosed, SessionFailed, SessionRotated, SessionStarted, Word
from fastcall.ports import StreamConfig, StreamEnd, StreamResult, StreamWord
from fastcall.recognition.session import LOG, RecognitionSession, SessionEvent
from fastcall.settings import Settings
from peers import ScriptedRecognizer, ScriptedStream
from sim.clock import elapse, in_virtual_time

CONFIG = StreamConfig("en-US", "default")
FRAME = bytes(range(160))
OK = StreamEnd("OK")


def interim(text: str, end_s: float) -> StreamResult:
    return StreamResult(text, False, int(end_s * 8000))


def final(text: str, end_s: float, words: tuple[StreamWord, ...] = ()) -> StreamResult:
    return StreamResult(text, True, int(end_s * 8000), words)


class Stage:
    """A started session and all that it told."""

    def __init__(self, settings: Settings | None = None, config: StreamConfig = CONFIG, **options: Any) -> None:
        self.recognizer = ScriptedRecognizer()
        self.events: list[SessionEvent] = []
        self.partials: list[str] = []
        self.finals: list[str] = []
        self.session = RecognitionSession(
            self.recognizer,
            config,
            settings=settings,
            on_event=self.events.append,
            on_partial=self.partials.append,
            on_final=self.finals.append,
            rand=lambda: 0.5,
            **options,
        )
        self.session.start()

    @property
    def stream(self) -> ScriptedStream:
        return self.recognizer.streams[-1]

    def say(self, frames: int) -> None:
        for _ in range(frames):
            self.session.push_audio(FRAME)

    def results(self) -> list[tuple[str, str]]:
        return [(e.kind, e.text) for e in self.events if isinstance(e, RecognitionEvent)]

    async def close(self, *last: StreamResult) -> None:
        closing = asyncio.create_task(self.session.close(5))
        stream = self.stream
        await until(lambda: stream.half_closed or stream.ended)
        if last:
            stream.results(*last)
        stream.end(OK)
        await closing


async def until(is_true: Callable[[], bool]) -> None:
    """Let virtual time pass until it is true."""
    async with asyncio.timeout(30):
        while not is_true():
            await elapse(0.02)


@in_virtual_time
async def test_a_batch_goes_out_with_the_frame_that_completes_it_decoded() -> None:
    stage = Stage()
    stage.say(7)
    assert stage.stream.written == []
    stage.say(1)
    assert stage.stream.written == [g711.ulaw2lin(FRAME * 8, 2)]
    await stage.close()


@in_virtual_time
async def test_when_an_utterance_ends_what_is_less_than_a_batch_goes_out_too() -> None:
    stage = Stage()
    stage.say(11)
    assert stage.stream.samples == 8 * 160
    stage.session.note_utterance(True, 0)
    assert stage.stream.samples == 8 * 160
    stage.session.note_speech(False, 1600)
    assert stage.stream.samples == 11 * 160
    stage.say(7)
    assert stage.stream.samples == 11 * 160  # then batches again
    await stage.close()


@in_virtual_time
async def test_an_utterance_that_begins_delays_no_batch() -> None:
    stage = Stage()
    stage.say(7)
    stage.session.note_speech(True, 0)
    stage.say(1)
    assert stage.stream.samples == 8 * 160
    await stage.close()


@in_virtual_time
async def test_the_rest_of_an_utterance_goes_out_when_back_pressure_is_over() -> None:
    stage = Stage()
    stage.say(11)
    stage.stream.writable = False
    stage.session.note_speech(False, 1600)
    stage.stream.writable = True
    stage.session.pump()
    assert stage.stream.samples == 11 * 160
    await stage.close()


@in_virtual_time
async def test_back_pressure_leaves_audio_and_it_goes_out_in_pieces_under_15000_bytes() -> None:
    stage = Stage()
    stage.stream.writable = False
    stage.say(49)
    assert stage.stream.written == []
    stage.stream.writable = True
    stage.session.pump()
    assert b"".join(stage.stream.written) == g711.ulaw2lin(FRAME * 49, 2)
    assert max(map(len, stage.stream.written)) < 15_000
    await stage.close()


@in_virtual_time
async def test_the_hypothesis_is_all_results_together_and_finals_are_stripped() -> None:
    stage = Stage()
    stage.say(80)
    stage.stream.results(interim("hello", 0.5), interim(" wor", 0.6))
    stage.stream.results(final(" hello world ", 0.8), interim(" and", 1.0))
    assert stage.results() == [("interim", "hello wor"), ("final", "hello world"), ("interim", "and")]
    assert stage.finals == ["hello world"]
    assert stage.partials[0] == "hello wor"
    await stage.close()


@in_virtual_time
async def test_close_flushes_the_rest_half_closes_and_takes_the_last_final() -> None:
    stage = Stage()
    stage.say(3)
    await stage.close(final("bye", 0.06))
    assert stage.stream.samples == 480
    assert stage.finals == ["bye"]
    assert isinstance(stage.events[-1], SessionClosed)
    with pytest.raises(ClosedError):
        stage.session.push_audio(FRAME)
    await stage.session.close()  # twice is once
    assert sum(isinstance(e, SessionClosed) for e in stage.events) == 1


@in_virtual_time
async def test_an_interim_that_no_final_came_for_is_committed_at_the_end() -> None:
    stage = Stage()
    stage.say(16)
    stage.stream.results(interim("good bye", 0.3))
    await stage.close()
    assert stage.finals == ["good bye"]


@in_virtual_time
async def test_a_provider_that_never_ends_is_given_up_in_time() -> None:
    stage = Stage()
    stage.say(8)
    stage.stream.results(interim("hm", 0.1))
    await asyncio.wait_for(stage.session.close(0.05), 5)
    assert stage.finals == ["hm"]


@in_virtual_time
async def test_a_limit_opens_the_next_stream_with_everything_after_the_last_final() -> None:
    stage = Stage(Settings(stt_rotate_after_s=2, stt_rotate_by_s=2))
    loop = asyncio.get_running_loop()
    stage.say(104)
    words = (StreamWord("one", 0, 4000), StreamWord("two", 4000, 8000))
    stage.stream.results(final("one two", 1.0, words), interim(" three", 1.5))
    first = stage.stream
    began = loop.time()
    await asyncio.wait_for(_next_stream(stage, 2), 10)
    assert loop.time() - began > 1.5
    second = stage.stream
    await until(lambda: second.samples > 8640 - 1200)  # all but what is less than a batch
    assert g711.ulaw2lin((FRAME * 104)[8000:], 2).startswith(b"".join(second.written))
    first.results(final(" three", 2.0))  # not the owner any more
    second.results(final("three", 0.75, (StreamWord("three", 0, 6000),)))
    event, rest = stage.events[-2:]
    assert isinstance(event, RecognitionEvent)
    assert rest == RecognitionEvent("interim", "", 14000, "emulator")  # nothing is left of what was known
    assert (event.text, event.end_sample, event.words) == ("three", 14000, (Word("three", 8000, 14000),))
    assert stage.finals == ["one two", "three"]
    assert SessionRotated("age") in stage.events
    await stage.close()


async def _next_stream(stage: Stage, count: int) -> None:
    opened = asyncio.Event()
    real = stage.recognizer.open

    def open_(*args: Any) -> Any:
        stream = real(*args)
        if len(stage.recognizer.streams) >= count:
            opened.set()
        return stream

    stage.recognizer.open = open_  # type: ignore[method-assign]
    await opened.wait()
    await asyncio.sleep(0)


@in_virtual_time
async def test_a_broken_stream_is_told_once_and_replayed_into_the_next() -> None:
    stage = Stage()
    stage.say(16)
    stage.stream.results(interim("hel", 0.2))
    stage.stream.end(StreamEnd("UNAVAILABLE", "gone"))
    stage.say(16)
    (failed,) = [e for e in stage.events if isinstance(e, SessionFailed)]
    assert failed.retrying
    assert stage.session.failure == failed
    await asyncio.wait_for(_next_stream(stage, 2), 10)
    await until(lambda: stage.stream.samples == 32 * 160)
    stage.stream.results(final("hello", 0.5))
    assert stage.finals == ["hello"]
    assert stage.session.failure is None
    assert SessionRotated("reconnect") in stage.events
    await stage.close()


@in_virtual_time
async def test_a_refused_model_is_replaced_and_nothing_of_the_audio_is_missing() -> None:
    stage = Stage(config=StreamConfig("he-IL", "phone_call"))
    refused: list[StreamConfig] = []
    stage.recognizer.model_refused = refused.append  # type: ignore[method-assign]
    stage.say(16)
    stage.stream.end(StreamEnd("INVALID_ARGUMENT", "The phone_call model is currently not supported for language : x"))
    assert [c.model for c in refused] == ["phone_call"]
    assert stage.stream.config.model == "default"
    assert stage.stream.samples == 16 * 160
    assert SessionRotated("model") in stage.events
    await stage.close()


@in_virtual_time
async def test_what_cannot_be_mended_fails_loudly_and_keeps_the_words() -> None:
    stage = Stage()
    stage.say(16)
    stage.stream.results(interim("hello", 0.2))
    stage.stream.end(StreamEnd("UNAUTHENTICATED", "who?"))  # it had worked: another is asked
    assert stage.session.failure is not None
    assert stage.session.failure.retrying
    await asyncio.wait_for(_next_stream(stage, 2), 10)
    stage.stream.end(StreamEnd("UNAUTHENTICATED", "who?"))
    assert stage.finals == ["hello"]
    assert isinstance(stage.events[-1], SessionFailed)
    assert not stage.events[-1].retrying
    stage.say(16)  # taken, and of no use
    await asyncio.wait_for(stage.session.close(5), 5)
    assert len(stage.recognizer.streams) == 2


@in_virtual_time
async def test_the_first_event_is_the_start() -> None:
    stage = Stage()
    assert stage.events == [SessionStarted("emulator")]
    await stage.close()


@in_virtual_time
async def test_nothing_is_left_on_the_loop_after_many_sessions() -> None:
    before = asyncio.all_tasks()
    for _ in range(200):
        stage = Stage()
        stage.say(9)
        await stage.close(final("a", 0.1))
    assert asyncio.all_tasks() == before


# --- providers that repeat themselves, and leave times out -------------------------------------------------------


def timed(text: str, start_s: float) -> tuple[StreamWord, ...]:
    """Words of 0.3 s each."""
    starts = [int((start_s + index * 0.3) * 8000) for index in range(len(text.split()))]
    return tuple(StreamWord(word, at, at + 2400) for word, at in zip(text.split(), starts, strict=True))


@pytest.mark.parametrize("has_times", [True, False])
@in_virtual_time
async def test_a_final_that_comes_again_and_goes_on_settles_only_what_is_new(has_times: bool) -> None:
    stage = Stage()
    stage.say(200)
    stage.stream.results(final("tell me a", 1.0, timed("tell me a", 0.1) if has_times else ()))
    for _ in range(2):
        stage.stream.results(interim("tell me a jo", 1.3))
    for _ in range(2):
        stage.stream.results(final("tell me a joke", 1.5, timed("tell me a joke", 0.1) if has_times else ()))
    assert stage.finals == ["tell me a", "joke"]
    assert stage.partials == ["jo"]
    finals = [event for event in stage.events if isinstance(event, RecognitionEvent) and event.kind == "final"]
    assert [[word.text for word in event.words] for event in finals] == (
        [["tell", "me", "a"], ["joke"]] if has_times else [[], []]
    )
    await stage.close()


@in_virtual_time
async def test_the_stream_that_is_replaced_repeats_itself_as_well() -> None:
    stage = Stage(Settings(stt_rotate_after_s=2.0, stt_rotate_by_s=3.0))
    stage.say(200)
    stage.stream.results(interim("tell me", 0.9))
    await elapse(3.5)
    assert len(stage.recognizer.streams) == 2
    old = stage.recognizer.streams[0]
    for _ in range(2):
        old.results(final("tell me a", 1.0))
    old.results(interim("joke", 1.5))
    assert stage.results()[-1] == ("interim", "tell me a joke")
    await stage.session.close(0.5)


@in_virtual_time
async def test_finals_without_ends_settle_what_was_heard_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(log=CallLogger(LOG, "call=CA1"))
    stage.say(48)
    stage.stream.results(interim("one", 0))
    stage.say(48)
    stage.stream.results(final("one", 0), interim("two", 0))
    stage.say(48)
    stage.stream.results(final("two", 0))
    ends = [(e.kind, e.text, e.end_sample) for e in stage.events if isinstance(e, RecognitionEvent) and e.text]
    batches = 48 * 160
    assert ends == [
        ("interim", "one", batches),
        ("final", "one", batches),
        ("interim", "two", 2 * batches),
        ("final", "two", 2 * batches),
    ]
    stage.stream.end(StreamEnd("UNAVAILABLE"))
    await until(lambda: len(stage.recognizer.streams) == 2)
    assert stage.stream.samples == batches  # only what follows the last final is heard again
    stage.stream.results(final("three", 0))
    assert [record.getMessage() for record in caplog.records if "end time" in record.getMessage()] == [
        "the recognizer's results have no end time: their end is estimated call=CA1"
    ]
    await stage.close()


@in_virtual_time
async def test_ends_beyond_the_audio_do_not_settle_what_was_not_said() -> None:
    stage = Stage()
    stage.say(48)
    stage.stream.results(final("one", 900, (StreamWord("one", 899 * 8000, 900 * 8000),)))
    stage.say(48)
    stage.stream.results(final("two", 1.9, timed("two", 1.5)))
    ends = [(e.text, e.end_sample, len(e.words)) for e in stage.events if isinstance(e, RecognitionEvent) and e.text]
    assert ends == [("one", 48 * 160, 0), ("two", int(1.9 * 8000), 1)]
    await stage.close()
