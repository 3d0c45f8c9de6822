"""One stream after the other: rotation, failure, stall, the end. In virtual time, against a provider by script."""

from __future__ import annotations

import asyncio

import pytest

from fastcall import g711
from fastcall.events import NoWords, RecognitionEvent, SessionClosed, SessionFailed, SessionRotated
from fastcall.ports import RecognizerStream, StreamConfig, StreamEnd, StreamListener, StreamResult, StreamWord
from fastcall.recognition.session import RecognitionSession, SessionEvent
from fastcall.recognition.stall import STALL_S
from fastcall.settings import Settings
from peers import ScriptedRecognizer, ScriptedStream
from sim.clock import VirtualLoop, elapse, in_virtual_time

GONE = StreamEnd("UNAVAILABLE", "gone")


class Call:
    """A session whose audio is one value a frame, so that what a stream heard tells when it was said."""

    def __init__(self, **settings: float) -> None:
        self.recognizer = ScriptedRecognizer()
        self.events: list[SessionEvent] = []
        self.session = RecognitionSession(
            self.recognizer,
            StreamConfig("en-US", "default"),
            settings=Settings(**settings),  # type: ignore[arg-type]
            on_event=self.events.append,
            rand=lambda: 0.5,
        )
        self.session.start()
        self.session.note_speech(False, 0)
        self.said = b""

    @classmethod
    async def speaking(cls, seconds: float, **settings: float) -> Call:
        """One in which somebody has spoken from the beginning, for so long."""
        call = cls(**settings)
        call.session.note_speech(True, 0)
        await call.go_on(seconds)
        return call

    @property
    def streams(self) -> list[ScriptedStream]:
        return self.recognizer.streams

    async def closing(self) -> asyncio.Task[None]:
        """It has just begun to close."""
        task = asyncio.create_task(self.session.close(5))
        await elapse(0)
        return task

    async def go_on(self, seconds: float) -> None:
        """Audio in real time."""
        for _ in range(round(seconds * 50)):
            frame = bytes([16 + len(self.said) // 160 % 97]) * 160
            self.said += frame
            self.session.push_audio(frame)
            await elapse(0.02)

    def heard_by(self, number: int) -> bytes:
        return b"".join(self.streams[number].written)

    def pcm(self, start_s: float) -> bytes:
        return g711.ulaw2lin(self.said[int(start_s * 8000) :], 2)

    def interims(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, RecognitionEvent) and e.kind == "interim"]

    def finals(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, RecognitionEvent) and e.kind == "final"]

    def news(self) -> list[str]:
        """Rotations by reason, failures by status."""
        return [
            e.reason if isinstance(e, SessionRotated) else e.code
            for e in self.events
            if isinstance(e, SessionRotated | SessionFailed)
        ]


def interim(text: str, end_s: float) -> StreamResult:
    return StreamResult(text, False, int(end_s * 8000))


def final(text: str, end_s: float, *words_s: tuple[float, float]) -> StreamResult:
    """With the times of its words, if it has them."""
    spans = zip(text.split(), words_s, strict=False)
    words = tuple(StreamWord(word, int(start_s * 8000), int(end_s * 8000)) for word, (start_s, end_s) in spans)
    return StreamResult(text, True, int(end_s * 8000), words)


@in_virtual_time
async def test_mid_speech_the_old_stream_serves_until_the_new_one_knows_as_much() -> None:
    call = await Call.speaking(5, stt_rotate_after_s=10, stt_rotate_by_s=10)
    call.streams[0].results(final("a", 4.0), interim(" b", 5.0))
    await call.go_on(5.2)
    assert call.news() == ["age"]
    old, new = call.streams
    await call.go_on(0.5)
    assert call.pcm(4.0).startswith(call.heard_by(1))
    old.results(interim(" b c", 9.0))
    new.results(interim("b", 1.0))  # 5 s of the call: no more than what is known
    assert call.interims()[-1] == "b c"
    old.results(final(" b c", 9.0))  # not the owner's any more
    assert call.finals() == ["a"]
    await call.go_on(3)
    assert not old.ended
    new.results(interim("b c", 5.0))
    await elapse(0)
    assert old.ended
    new.results(final("b c", 5.0))
    assert call.finals() == ["a", "b c"]
    call.session.push_audio(b"")


@in_virtual_time
async def test_a_new_stream_that_fails_costs_nothing_while_the_old_one_lives() -> None:
    call = await Call.speaking(5, stt_rotate_after_s=10, stt_rotate_by_s=10)
    call.streams[0].results(final("a", 4.0), interim(" b", 5.0))
    await call.go_on(5.2)
    call.streams[1].end(GONE)
    assert call.news() == ["age", "UNAVAILABLE"]
    call.streams[0].results(interim(" b c", 10.0))
    assert call.interims()[-1] == "b c"
    await call.go_on(8)
    assert len(call.streams) == 3
    assert call.pcm(4.0).startswith(call.heard_by(2))
    assert len(call.heard_by(2)) > 2 * 8000 * 13.5
    call.streams[2].results(final("b c", 10.0))
    assert call.news() == ["age", "UNAVAILABLE", "reconnect"]


@in_virtual_time
async def test_a_silent_call_is_rotated_too_and_kept_alive() -> None:
    call = Call(stt_rotate_after_s=20, stt_rotate_by_s=30)
    await elapse(40)
    assert call.news() == ["pause"]
    old = call.streams[0]
    assert old.ended
    assert 14 < old.samples / 8000 < 23
    assert not any(b"".join(old.written))
    await call.session.close(0)


@in_virtual_time
async def test_nothing_is_forgotten_before_the_recognizer_had_time_to_tell_of_it() -> None:
    call = await Call.speaking(3)
    call.streams[0].end(GONE)
    call.session.note_speech(False, 3 * 8000)
    for _ in range(15):  # quiet for long, and nobody heard what was said before
        if not call.streams[-1].ended:
            call.streams[-1].end(GONE)
        await call.go_on(1)
    await call.go_on(5)
    assert call.heard_by(-1)[: 2 * 8000 * 3] == call.pcm(0)[: 2 * 8000 * 3]
    call.streams[-1].end(GONE)
    await call.go_on(5)
    assert call.heard_by(-1)[: 2 * 8000 * 3] == call.pcm(0)[: 2 * 8000 * 3]


@in_virtual_time
async def test_a_stream_that_takes_no_audio_is_given_up() -> None:
    call = Call()
    call.streams[0].writable = False
    await call.go_on(12)
    assert call.news() == ["DEADLINE_EXCEEDED"]
    assert call.streams[0].ended
    await call.go_on(6)
    assert call.pcm(0).startswith(call.heard_by(1))
    assert len(call.heard_by(1)) > 2 * 8000 * 17


@in_virtual_time
async def test_a_stream_that_says_nothing_about_speech_is_given_up_and_then_with_more_patience() -> None:
    call = await Call.speaking(STALL_S + 1.5)
    assert call.news() == ["DEADLINE_EXCEEDED"]
    await call.go_on(STALL_S + 2)
    assert len(call.streams) == 2
    call.streams[1].results(interim("hello", 1.0))
    assert call.news() == ["DEADLINE_EXCEEDED", "reconnect"]


@in_virtual_time
async def test_a_word_that_a_stream_says_nothing_of_is_heard_by_another_before_it_is_forgotten() -> None:
    """It is too short to call it a failure."""
    call = await Call.speaking(0.5)
    call.session.note_speech(False, 4000)
    await call.go_on(12)
    assert call.news() == ["unanswered"]
    assert call.heard_by(1)[: len(call.pcm(0)) // 2] == call.pcm(0)[: len(call.pcm(0)) // 2]
    call.streams[1].results(final("yes", 0.5))
    assert call.finals() == ["yes"]
    await end_of(call)


@in_virtual_time
async def test_in_an_outage_another_stream_is_no_news() -> None:
    call = await Call.speaking(1, stt_rotate_after_s=2, stt_rotate_by_s=2)
    call.streams[0].end(GONE)
    await call.go_on(6)
    assert len(call.streams) > 2
    assert call.news() == ["UNAVAILABLE"]


@in_virtual_time
async def test_close_in_an_outage_tries_at_once_and_the_last_words_come() -> None:
    call = await Call.speaking(2)
    call.streams[0].end(GONE)
    closing = await call.closing()
    call.streams[1].end(GONE)
    await elapse(1)
    assert call.heard_by(2) == call.pcm(0)
    assert call.streams[2].half_closed
    call.streams[2].results(final("good bye", 2.0))
    call.streams[2].end(StreamEnd("OK"))
    await closing
    assert call.finals() == ["good bye"]
    assert call.news() == ["UNAVAILABLE", "reconnect"]


@in_virtual_time
async def test_an_end_without_the_last_final_is_asked_again_once() -> None:
    call = Call()
    await call.go_on(2)
    call.streams[0].results(interim("good", 1.0))
    closing = await call.closing()
    call.streams[0].end(StreamEnd("OK"))
    await elapse(1)
    assert call.heard_by(1) == call.pcm(0)
    call.streams[1].results(interim("good bye", 2.0))
    call.streams[1].end(StreamEnd("OK"))
    await closing
    assert call.finals() == ["good bye"]
    assert len(call.streams) == 2


@in_virtual_time
async def test_an_end_without_a_word_of_the_last_speech_is_asked_again_once() -> None:
    call = await Call.speaking(2)
    call.session.note_speech(False, 2 * 8000)
    closing = await call.closing()
    call.streams[0].end(StreamEnd("OK"))  # as if it had heard nothing
    await elapse(1)
    assert call.heard_by(1) == call.pcm(0)
    call.streams[1].end(StreamEnd("OK"))
    await closing
    assert len(call.streams) == 2


@in_virtual_time
async def test_an_end_after_all_is_settled_is_the_end() -> None:
    call = await Call.speaking(2)
    call.session.note_speech(False, 2 * 8000)
    call.streams[0].results(final("good bye", 1.8))
    closing = await call.closing()
    call.streams[0].end(StreamEnd("OK"))
    await closing
    assert len(call.streams) == 1


@pytest.mark.parametrize("speaks", [True, False])
@in_virtual_time
async def test_a_close_that_cannot_settle_what_was_said_says_so(speaks: bool) -> None:
    call = Call()
    call.session.note_speech(speaks, 0)
    await call.go_on(2)
    began = asyncio.get_running_loop().time()
    await call.session.close(5)
    assert asyncio.get_running_loop().time() - began == pytest.approx(5)
    assert call.news() == (["DEADLINE_EXCEEDED"] if speaks else [])
    assert isinstance(call.events[-1], SessionClosed)


@in_virtual_time
async def test_nothing_is_left_on_the_loop_whenever_it_is_closed() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    for ends in ([], [GONE], [GONE, StreamEnd("OUT_OF_RANGE", "maximum allowed stream duration")]):
        call = Call()
        await call.go_on(1)
        for end in ends:
            call.streams[-1].end(end)
            await call.go_on(1.5)
        await call.session.close(0.5)
        await elapse(0)
        assert loop.timers() == []
        assert len(asyncio.all_tasks()) == 1


@in_virtual_time
async def test_words_that_the_stream_told_of_and_goes_on_without_are_asked_of_another() -> None:
    call = await Call.speaking(4)
    first = call.streams[0]
    first.results(interim("a b c", 1.0))
    first.results(interim("d", 3.0))
    first.results(final("d e", 4.0, (2.75, 3.0), (3.0, 3.25)))
    assert call.finals() == []
    assert call.news() == ["words without a final"]
    assert call.interims()[-1] == "a b c d e"  # what was told stays known while another is asked
    second = call.streams[1]
    await call.go_on(3)
    assert call.heard_by(1) == call.pcm(0)[: len(call.heard_by(1))]
    second.results(final("a b c d e", 4.0, *((at / 4, at / 4 + 0.25) for at in range(5))))
    assert call.finals() == ["a b c d e"]


@in_virtual_time
async def test_words_that_no_stream_settles_count_as_they_were_told() -> None:
    call = await Call.speaking(4)
    for _ in range(3):
        stream = call.streams[-1]
        stream.results(interim("a b c", 1.0))
        stream.results(interim("d", 3.0))
        stream.results(final("d", 4.0, (2.75, 3.0)))
        await call.go_on(1)
    assert len(call.streams) == 3
    assert call.finals() == ["a b c", "d"]


@in_virtual_time
async def test_at_the_end_of_the_call_another_stream_is_asked_when_the_owner_tells_nothing() -> None:
    call = await Call.speaking(4)
    call.streams[0].results(interim("a b", 1.0))
    closing = asyncio.create_task(call.session.close(5))
    await elapse(1.4)
    assert len(call.streams) == 1
    await elapse(1.2)
    second = call.streams[1]
    assert second.half_closed
    assert call.heard_by(1) == call.pcm(0)
    second.results(final("a b c", 4.0))
    second.end(StreamEnd("OK"))
    await closing
    assert call.finals() == ["a b c"]
    assert call.news() == []


@in_virtual_time
async def test_words_whose_audio_outgrew_the_bound_stay_said() -> None:
    call = await Call.speaking(3, stt_replay_s=5)
    call.streams[0].results(final("a", 1.0), interim(" b c", 3.0))
    while call.session.lost_samples == 0 or not call.streams[-1].ended:
        call.streams[-1].end(GONE)
        await call.go_on(0.1)
    while call.streams[-1].ended:
        await call.go_on(0.1)
    assert call.finals() == ["a", "b c"]
    await call.go_on(4)
    call.streams[-1].results(interim("d", 1.0), interim("", 4.0))
    assert call.finals() == ["a", "b c"]
    assert call.interims()[-1] == "d"


@in_virtual_time
async def test_words_whose_audio_outgrew_the_bound_while_a_stream_connects_stay_said() -> None:
    call = await Call.speaking(3, stt_replay_s=5)
    call.streams[0].results(final("a", 1.0), interim(" b c", 2.88))
    open_now = call.recognizer.open

    def open_busy(config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        stream = open_now(config, listener)
        stream.writable = False  # type: ignore[misc]
        return stream

    call.recognizer.open = open_busy  # type: ignore[method-assign]
    call.streams[0].end(GONE)
    await call.go_on(4)
    assert call.finals() == ["a"]
    stream = call.streams[1]
    stream.writable = True
    stream.listener.stream_writable()
    await call.go_on(3)
    assert call.finals() == ["a", "b c"]
    assert call.pcm(2.88).startswith(call.heard_by(1))
    assert len(call.heard_by(1)) > 2 * 8000 * 6


@in_virtual_time
async def test_a_pause_that_was_forgotten_is_no_loss() -> None:
    call = await Call.speaking(1, stt_rotate_after_s=15, stt_rotate_by_s=15)
    call.streams[0].results(final("a", 1.0))
    call.session.note_speech(False, 8000)
    await call.go_on(12)
    call.session.note_speech(True, 13 * 8000)
    call.streams[0].results(interim("b", 13.0))
    await call.go_on(3)
    assert call.news() == ["age"]
    assert call.finals() == ["a"]


@in_virtual_time
async def test_what_the_draining_stream_told_just_now_outlives_an_owner_that_falls_silent() -> None:
    call = await Call.speaking(5, stt_rotate_after_s=10, stt_rotate_by_s=10)
    call.streams[0].results(final("a", 5.0), interim(" b", 5.0))
    await call.go_on(5.2)
    old, new = call.streams
    new.results(interim("b", 5.0))  # and nothing more
    for second in range(4):
        await call.go_on(1)
        old.results(interim(" b" + " c" * (second + 1), 11.0 + second))
    assert not old.ended
    assert call.interims()[-1] == "b c c c c"
    await call.go_on(4.5)
    assert old.ended
    assert call.interims()[-1] == "b c c c c"  # an owner that tells of nothing cannot say that they were not said
    new.results(interim("b c", 8.0))
    await call.go_on(1.5)
    assert call.interims()[-1] == "b c"  # one that does can


@in_virtual_time
async def test_words_whose_audio_is_not_kept_are_not_asked_of_another() -> None:
    """It could not hear them; and what is known would be committed as if it could not be settled any more."""
    call = await Call.speaking(3, stt_replay_s=5)
    call.streams[0].results(interim("a b", 2.5))
    await call.go_on(5)
    assert call.session.lost_samples > 0
    call.streams[0].results(interim("c d", 8.0))
    call.streams[0].results(final("c d", 8.0, (6.5, 7.0), (7.0, 7.875)))
    assert call.finals() == ["a b", "c d"]
    assert len(call.streams) == 1
    await end_of(call)


@in_virtual_time
async def test_a_word_that_a_final_left_out_is_not_missed_when_nobody_spoke_after_it() -> None:
    call = await Call.speaking(3)
    call.streams[0].results(interim("a b uh", 3.0))
    call.session.note_speech(False, 16_000)
    call.streams[0].results(final("a b", 2.0, (0.0, 1.0), (1.0, 2.0)))
    await call.go_on(5)
    call.session.note_speech(True, 48_000)
    call.streams[0].results(interim("c d", 8.0))
    call.streams[0].results(final("c d", 8.0, (6.0, 7.0), (7.0, 7.875)))
    assert call.finals() == ["a b", "c d"]
    assert len(call.streams) == 1
    await end_of(call)


async def end_of(call: Call) -> None:
    closing = await call.closing()
    call.streams[-1].end(StreamEnd("OK"))
    await closing


@in_virtual_time
async def test_a_word_that_the_draining_stream_told_where_nobody_spoke_is_given_up() -> None:
    """The owner, which has had the audio, says nothing of it, as there is nothing to say."""
    call = await Call.speaking(5, stt_rotate_after_s=10, stt_rotate_by_s=10)
    call.streams[0].results(interim("a", 5.0))
    await call.go_on(5.2)
    old, new = call.streams
    await call.go_on(2)
    call.session.note_speech(False, 4 * 8000)
    new.results(final("a", 4.0))
    old.results(interim("a uh", 12.0))
    assert call.interims()[-1] == "uh"
    await call.go_on(10)
    assert call.interims()[-1] == ""
    await end_of(call)
    assert call.finals() == ["a"]


@in_virtual_time
async def test_speech_without_words_is_told_once_whatever_else_the_stream_returns() -> None:
    call = Call()
    call.session.note_speech(True, 0)
    for second in range(20):
        await call.go_on(1)
        call.streams[-1].results(interim("", second + 1.0))
    told = [event for event in call.events if isinstance(event, NoWords)]
    assert [event.start_sample for event in told] == [0]
    assert 5 * 8000 <= told[0].end_sample < 7 * 8000
    call.streams[-1].results(interim("hello", 20.0))
    for second in range(20, 30):
        await call.go_on(1)
        call.streams[-1].results(interim("", second + 1.0))
    assert len([event for event in call.events if isinstance(event, NoWords)]) == 2
    await call.session.close(0)


@in_virtual_time
async def test_words_that_come_are_not_missed_nor_those_of_an_outage() -> None:
    call = Call()
    call.session.note_speech(True, 0)
    for second in range(8):
        await call.go_on(1)
        call.streams[-1].results(interim("hello", second + 1.0))
    for _ in range(5):
        call.streams[-1].end(GONE)
        await call.go_on(2)
    assert not [event for event in call.events if isinstance(event, NoWords)]
    await call.session.close(0)
