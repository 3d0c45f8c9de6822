"""Fifty calls that meet one decision at the same moment: what they share must not cost any of them its recognition.

In virtual time, against a provider by script that they share as the calls of a server share theirs.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from fastcall.events import RecognitionEvent, SessionFailed, SessionRotated
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.session import RecognitionSession, SessionEvent
from fastcall.settings import Settings
from peers import ScriptedRecognizer, ScriptedStream
from sim.clock import elapse, in_virtual_time

CALLS = 50
CONFIG = StreamConfig("he-IL", "phone_call")
REFUSED = StreamEnd(
    "INVALID_ARGUMENT", "Invalid recognition 'config': The phone_call model is currently not supported for language : x"
)
GONE = StreamEnd("UNAVAILABLE", "gone")
QUOTA = StreamEnd("RESOURCE_EXHAUSTED", "Quota exceeded for quota metric")
TOKEN = StreamEnd("UNAVAILABLE", "the access token was not accepted: token revoked")


class Provider(ScriptedRecognizer):
    """One that remembers which models it refused, as Google's adapter does."""

    def __init__(self, on_open: Callable[[ScriptedStream], None] | None = None) -> None:
        super().__init__(on_open)
        self.refused: set[tuple[str, str]] = set()

    def model_for(self, config: StreamConfig) -> StreamConfig:
        is_refused = (config.model, config.language) in self.refused
        return replace(config, model="default") if is_refused else config

    def model_refused(self, config: StreamConfig) -> None:
        self.refused.add((config.model, config.language))

    @property
    def live(self) -> list[ScriptedStream]:
        return [stream for stream in self.streams if not stream.ended]

    def answer(self) -> None:
        for stream in self.live:
            stream.results(StreamResult("word", False, 800))


class Crowd:
    """The calls, and what each is told."""

    def __init__(self, provider: Provider, **settings: float) -> None:
        self.provider = provider
        self.events: list[list[SessionEvent]] = [[] for _ in range(CALLS)]
        rand = random.Random(1).random
        self.sessions = [
            RecognitionSession(
                provider,
                CONFIG,
                settings=Settings(**settings),
                on_event=events.append,
                rand=rand,  # type: ignore[arg-type]
            )
            for events in self.events
        ]
        for session in self.sessions:
            session.start()
            session.note_speech(True, 0)

    async def speak(self, seconds: float) -> None:
        for _ in range(round(seconds * 5)):
            for session in self.sessions:
                session.push_audio(bytes(1600))
            await elapse(0.2)

    def told(self, kind: type) -> list[SessionEvent]:
        return [event for events in self.events for event in events if isinstance(event, kind)]

    async def all_hear(self) -> None:
        """Each call has one stream, and the words of that stream reach it."""
        assert len(self.provider.live) == CALLS
        for number, stream in enumerate(self.provider.live):
            stream.results(StreamResult(f"word {number}", True, 800))
        texts = [{e.text for e in events if isinstance(e, RecognitionEvent) and e.text} for events in self.events]
        assert {text for each in texts for text in each} == {f"word {number}" for number in range(CALLS)}
        assert all(len(each) == 1 for each in texts)
        assert [session.failure for session in self.sessions] == [None] * CALLS
        for session in self.sessions:
            await session.close(0)


@pytest.mark.parametrize("seed", range(3))
@in_virtual_time
async def test_a_model_that_is_refused_to_all_of_them_at_once(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    provider = Provider()
    crowd = Crowd(provider)
    await crowd.speak(0.4)
    first = list(provider.streams)
    random.Random(seed).shuffle(first)
    for stream in first:
        stream.end(REFUSED)
    await crowd.speak(0.4)
    assert crowd.told(SessionFailed) == []
    assert [stream.config.model for stream in provider.live] == ["default"] * CALLS
    assert sum("does not support language" in line for line in caplog.messages) == 1
    await crowd.all_hear()


@in_virtual_time
async def test_a_model_that_is_refused_while_streams_are_replaced() -> None:
    """Some were refused, some were lost, some are old: each is judged by what it was opened with."""
    provider = Provider()
    crowd = Crowd(provider, stt_rotate_after_s=2, stt_rotate_by_s=4)
    await crowd.speak(1)
    old = list(provider.streams)
    for stream in old[::3]:
        stream.end(GONE)
    await crowd.speak(0.2)
    old[1].end(REFUSED)
    for stream in old[2::3]:
        stream.end(REFUSED)
    await crowd.speak(4)  # the rest are rotated by age, and refused after it
    for stream in provider.streams:
        if stream.config == CONFIG:
            stream.end(REFUSED)
    for _ in range(4):
        await crowd.speak(1)
        provider.answer()
    assert all(event.retrying for event in crowd.told(SessionFailed) if isinstance(event, SessionFailed))
    assert len(provider.streams) < 6 * CALLS
    assert [session.failure for session in crowd.sessions] == [None] * CALLS
    for session in crowd.sessions:
        await session.close(0)


@in_virtual_time
async def test_no_model_is_asked_for_again_and_again() -> None:
    """`default` is refused too, or the refusal is not remembered: each call is told, once, and what to do."""
    for remembers in (True, False):
        provider = Provider(on_open=lambda stream: stream.end(REFUSED))
        if not remembers:
            provider.model_refused = lambda config: None  # type: ignore[method-assign]
        crowd = Crowd(provider)
        await crowd.speak(2)
        assert len(provider.streams) <= 2 * CALLS
        failures = crowd.told(SessionFailed)
        assert len(failures) == CALLS
        assert all("GCP_STT_LANGUAGE" in event.advice for event in failures if isinstance(event, SessionFailed))
        for session in crowd.sessions:
            await session.close(0)


@pytest.mark.parametrize("end", [GONE, QUOTA])
@in_virtual_time
async def test_a_recognizer_that_turns_all_of_them_away_and_comes_back(end: StreamEnd) -> None:
    """The breaker lets few attempts through, and none of the calls stays without a stream."""
    is_down = True

    def open_(stream: ScriptedStream) -> None:
        if is_down:
            stream.end(end)
        else:
            stream.results(StreamResult("", False, 1))

    provider = Provider(open_)
    crowd = Crowd(provider)
    await crowd.speak(8)
    assert len(provider.streams) < 2 * CALLS, "fifty attempts, and then about one a second"
    is_down = False
    for _ in range(6):
        await crowd.speak(2)
        provider.answer()
    assert len(crowd.told(SessionFailed)) == CALLS
    assert len(crowd.told(SessionRotated)) == CALLS
    assert len(provider.live) == CALLS
    for session in crowd.sessions:
        assert session.failure is None
        await session.close(0)


@in_virtual_time
async def test_streams_that_all_break_while_they_are_replaced() -> None:
    """A restart of the provider in the moment in which each call has two streams."""
    provider = Provider()
    crowd = Crowd(provider, stt_rotate_after_s=2, stt_rotate_by_s=2)
    await crowd.speak(2.2)
    assert len(provider.live) > CALLS
    for stream in list(provider.live):
        stream.end(GONE)
    for _ in range(6):
        await crowd.speak(1)
        provider.answer()
    assert [session.failure for session in crowd.sessions] == [None] * CALLS
    for session in crowd.sessions:
        await session.close(0)


@pytest.mark.parametrize("end", [QUOTA, TOKEN], ids=["quota", "token"])
@in_virtual_time
async def test_streams_that_are_refused_when_they_are_to_replace_others(end: StreamEnd) -> None:
    """The quota is used up, or the token renewed, while each call's stream is old."""
    is_refusing = False

    def open_(stream: ScriptedStream) -> None:
        if is_refusing:
            stream.end(end)

    provider = Provider(open_)
    crowd = Crowd(provider, stt_rotate_after_s=2, stt_rotate_by_s=4)
    await crowd.speak(1)
    provider.answer()
    is_refusing = True
    await crowd.speak(6)
    assert len(provider.streams) < 4 * CALLS, "one replacement each, and then few attempts"
    is_refusing = False
    for _ in range(6):
        await crowd.speak(2)
        provider.answer()
    failures = [event for event in crowd.told(SessionFailed) if isinstance(event, SessionFailed)]
    assert [(event.code, event.retrying) for event in failures] == [(end.code, True)] * CALLS
    assert crowd.told(SessionRotated).count(SessionRotated("reconnect")) == CALLS
    assert len(provider.live) >= CALLS
    for session in crowd.sessions:
        assert session.failure is None
        await session.close(0)
