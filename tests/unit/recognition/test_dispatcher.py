"""Partials and finals at the utterance that is being spoken."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fastcall.errors import UsageError
from fastcall.events import FallbackAsked, FallbackSilent, RecognitionEvent, SessionRotated, Word
from fastcall.recognition.dispatcher import UtteranceDispatcher
from fastcall.settings import Settings


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
    source, errors = Source(), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    dispatcher = UtteranceDispatcher(source)
    dispatcher.begin()
    source.tell(RecognitionEvent("interim", "yes", 8000, "emulator"))
    source.tell(SessionRotated("age"))
    source.tell(RecognitionEvent("final", "yes please", 8000, "emulator"))
    await turn()
    assert await asyncio.wait_for(dispatcher.end(), 5) == "yes please"
    assert errors == []


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


async def test_end_returns_although_the_partials_callback_raises(caplog: pytest.LogCaptureFixture) -> None:
    def fail(text: str) -> None:
        raise RuntimeError(f"cannot show {text}")

    source, amended = Source(), asyncio.Event()

    def amend(utterance_id: int, text: str) -> None:
        amended.set()
        raise RuntimeError("cannot amend")

    dispatcher = UtteranceDispatcher(source, commit_ms=60, debounce_ms=20, on_amended=amend)
    dispatcher.begin(fail)
    source.call_samples = 16000
    source.tell(RecognitionEvent("interim", "hello", 8000, "emulator"))
    source.tell(RecognitionEvent("interim", "hello wor", 15000, "emulator"))
    assert await asyncio.wait_for(dispatcher.end(), 30) == "hello wor"
    source.tell(RecognitionEvent("final", "hello world", 16000, "emulator", words("hello world", 9000)))
    await asyncio.wait_for(amended.wait(), 30)
    await turn()
    assert caplog.text.count("RuntimeError: cannot show hello\n") == 1
    assert caplog.text.count("a callback failed") == 2


async def test_what_ends_a_program_reaches_the_loop_and_not_the_session() -> None:
    source = Source()
    loop = asyncio.new_event_loop()

    async def use() -> str:
        dispatcher = UtteranceDispatcher(source, commit_ms=0)
        dispatcher.begin(lambda text: sys.exit(3))
        source.call_samples = 8000
        source.tell(RecognitionEvent("interim", "hello", 8000, "emulator"))
        return await dispatcher.end()

    def run() -> int | str | None:
        task = loop.create_task(use())
        try:
            loop.run_until_complete(task)
        except SystemExit as error:
            loop.run_until_complete(task)
            return error.code
        finally:
            loop.close()
        return None

    assert await asyncio.to_thread(run) == 3


def test_without_an_event_loop_end_has_a_result_for_threads() -> None:
    """As a Flask program has it: no loop, and the callbacks on another thread."""
    source, partials = Source(), queue.SimpleQueue[tuple[str, int]]()
    dispatcher = UtteranceDispatcher(source, commit_ms=60_000)
    source.call_samples = 8000
    assert dispatcher.begin(lambda text: partials.put((text, threading.get_ident()))) == 1
    source.call_samples = 16000
    source.tell(RecognitionEvent("interim", "hello wor", 15000, "emulator"))
    text, thread = partials.get(timeout=30)
    assert text == "hello wor"
    assert thread != threading.get_ident()
    pending = dispatcher.end()
    assert not pending.done
    with pytest.raises(TimeoutError):
        pending.result(0.0)
    source.tell(RecognitionEvent("final", "hello world", 16000, "emulator", words("hello world", 9000)))
    assert pending.result(30) == "hello world"
    assert pending.result() == "hello world"
    assert dispatcher.end().result() == ""


def test_without_an_event_loop_the_deadline_commits_and_amends() -> None:
    source, amended = Source(), queue.SimpleQueue[tuple[int, str]]()
    dispatcher = UtteranceDispatcher(source, commit_ms=1, on_amended=lambda *change: amended.put(change))
    dispatcher.begin()
    source.call_samples = 16000
    assert dispatcher.end().result(30) == ""
    source.tell(RecognitionEvent("final", "hello world", 16000, "emulator", words("hello world", 9000)))
    assert amended.get(timeout=30) == (1, "hello world")


def test_utterances_of_many_threads_keep_apart() -> None:
    source = Source()
    dispatcher = UtteranceDispatcher(source, commit_ms=0, preroll_ms=0)
    ids: list[int] = []

    def use() -> None:
        for _ in range(50):
            ids.append(dispatcher.begin())
            assert dispatcher.end().result(30) == ""

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(ids) == list(range(1, 201))


async def test_a_pending_text_is_awaited_like_a_coroutine() -> None:
    source = Source()
    dispatcher = UtteranceDispatcher(source, commit_ms=60_000)
    dispatcher.begin()
    source.call_samples = 16000
    pending = dispatcher.end()
    task = asyncio.create_task(pending)
    also = asyncio.ensure_future(pending)
    given_up = asyncio.run_coroutine_threadsafe(pending, asyncio.get_running_loop())
    await turn()
    given_up.cancel()
    await turn()
    source.tell(RecognitionEvent("final", "hello", 16000, "emulator", words("hello", 9000)))
    assert await asyncio.wait_for(asyncio.gather(task, also), 30) == ["hello", "hello"]
    assert await pending == pending.result() == "hello"


async def test_the_waits_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SourceWithFallback()
    source.settings = Settings(  # type: ignore[attr-defined]
        utterance_commit_ms=0, vad_preroll_ms=100, stt_partial_debounce_ms=0, stt_fallback_timeout_ms=0
    )
    partials: list[str] = []
    dispatcher = UtteranceDispatcher(source)
    source.call_samples = 8000
    dispatcher.begin(partials.append)
    for number, text in enumerate(("one", "one two")):
        source.tell(RecognitionEvent("interim", text, 8000 + number, "emulator"))
    source.call_samples = 16000
    assert await asyncio.wait_for(dispatcher.end(), 30) == "one two"
    assert source.noted == [(True, 7200), (False, 16000)]

    # In the environment, where neither the call nor the session says; and in the call, which counts first.
    monkeypatch.setenv("VAD_PREROLL_MS", "200")
    for options, start in (({}, 6400), ({"preroll_ms": 0}, 8000), ({"settings": Settings(vad_preroll_ms=10)}, 7920)):
        source = SourceWithFallback()
        source.call_samples = 8000
        UtteranceDispatcher(source, **options).begin()  # type: ignore[arg-type]
        assert source.noted == [(True, start)]


async def test_an_async_callback_is_refused_and_begins_nothing() -> None:
    async def callback(*arguments: object) -> None:
        raise AssertionError("nobody awaits it")

    with pytest.raises(UsageError, match="is async"):
        UtteranceDispatcher(on_amended=callback)
    dispatcher = UtteranceDispatcher()
    with pytest.raises(UsageError, match="is async"):
        dispatcher.begin(callback)
    assert await dispatcher.end() == ""
