"""Partials and finals at the utterance that is being spoken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastcall.drivers.dispatcher import UtteranceDispatcher
from fastcall.events import FallbackAsked, FallbackSilent, RecognitionEvent, SessionClosed, Word


class Source:
    """A session by hand."""

    def __init__(self) -> None:
        self.call_samples = 0
        self.listeners: list[Callable[[Any], None]] = []

    def add_listener(self, listener: Callable[[Any], None]) -> None:
        self.listeners.append(listener)

    def tell(self, event: Any) -> None:
        for listener in self.listeners:
            listener(event)


def words(text: str, begin: int) -> tuple[Word, ...]:
    return tuple(Word(w, begin + 1600 * i, begin + 1600 * (i + 1)) for i, w in enumerate(text.split()))


async def turn() -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    await done.wait()


async def test_end_returns_at_the_final_that_covers_it() -> None:
    source, partials = Source(), []
    dispatcher = UtteranceDispatcher(source, commit_ms=60_000)
    source.call_samples = 8000
    assert dispatcher.begin(partials.append) == 1
    source.call_samples = 16000
    source.tell(RecognitionEvent("interim", "hello wor", 15000, "emulator"))
    await turn()
    assert partials == ["hello wor"]
    ending = asyncio.create_task(dispatcher.end())
    await turn()
    source.tell(RecognitionEvent("final", "hello world", 16000, "emulator", words("hello world", 9000)))
    assert await asyncio.wait_for(ending, 5) == "hello world"


async def test_end_returns_at_its_deadline_with_the_newest_interim_and_is_amended_later() -> None:
    source, amended = Source(), []
    dispatcher = UtteranceDispatcher(source, commit_ms=20, on_amended=lambda *change: amended.append(change))
    dispatcher.begin()
    source.call_samples = 16000
    source.tell(RecognitionEvent("interim", "hello wor", 15000, "emulator"))
    await turn()
    assert await asyncio.wait_for(dispatcher.end(), 5) == "hello wor"
    source.tell(RecognitionEvent("final", "hello world", 16000, "emulator", words("hello world", 9000)))
    await turn()
    assert amended == [(1, "hello world")]


async def test_a_final_over_two_utterances_is_shared_by_its_word_times() -> None:
    source, amended = Source(), {}
    dispatcher = UtteranceDispatcher(source, commit_ms=0, preroll_ms=0, on_amended=amended.__setitem__)
    dispatcher.begin()
    source.call_samples = 16000
    assert await dispatcher.end() == ""
    source.call_samples = 32000
    dispatcher.begin()
    source.call_samples = 48000
    assert await dispatcher.end() == ""
    both = (*words("one two", 8000), *words("three", 40000))
    source.tell(RecognitionEvent("final", "one two three", 48000, "emulator", both))
    await turn()
    assert amended == {1: "one two", 2: "three"}


async def test_end_without_begin_is_empty() -> None:
    assert await UtteranceDispatcher(Source()).end() == ""


async def test_a_sessions_callbacks_are_enough() -> None:
    partials: list[str] = []
    dispatcher = UtteranceDispatcher(commit_ms=60_000)
    dispatcher.begin(partials.append)
    await asyncio.to_thread(dispatcher.on_partial, "yes")
    await turn()
    await asyncio.to_thread(dispatcher.on_final, "yes please")
    await turn()
    assert await asyncio.wait_for(dispatcher.end(), 5) == "yes please"
    assert partials[0] == "yes"


async def test_other_events_are_of_no_matter() -> None:
    source = Source()
    UtteranceDispatcher(source)
    source.tell(SessionClosed())
    await turn()


class SourceWithFallback(Source):
    """A session that is told the utterances."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[bool, int]] = []

    def note_utterance(self, begins: bool, sample: int) -> None:
        self.noted.append((begins, sample))
        if not begins:
            self.tell(FallbackAsked(0, sample, "outage", "whisper"))


async def test_end_waits_for_the_fallback() -> None:
    source = SourceWithFallback()
    dispatcher = UtteranceDispatcher(source, commit_ms=0, fallback_timeout_ms=60_000)
    source.call_samples = 8000
    dispatcher.begin()
    source.call_samples = 24000
    ending = asyncio.create_task(dispatcher.end(silence_ms=500))
    await turn()
    assert source.noted == [(True, 5600), (False, 20000)]
    await turn()
    source.tell(RecognitionEvent("final", "hello", 20000, "whisper", start_sample=5600))
    assert await asyncio.wait_for(ending, 5) == "hello"


async def test_end_does_not_wait_for_a_fallback_that_is_silent_or_late() -> None:
    for timeout_ms in (60_000, 10):
        source = SourceWithFallback()
        dispatcher = UtteranceDispatcher(source, commit_ms=0, fallback_timeout_ms=timeout_ms)
        dispatcher.begin()
        source.call_samples = 8000
        ending = asyncio.create_task(dispatcher.end())
        await turn()
        if timeout_ms > 1000:
            source.tell(FallbackSilent(0, 8000, "whisper"))
        assert await asyncio.wait_for(ending, 5) == ""
