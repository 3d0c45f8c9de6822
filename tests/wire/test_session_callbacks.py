"""Users' callbacks in a session for threaded code: what they raise, and how long they take, is their own matter."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fastcall import (
    RecognitionEvent,
    SessionClosed,
    Settings,
    StreamingSTTSession,
    UsageError,
    UtteranceDispatcher,
)
from fastcall.aio.background import shared_background
from fastcall.audio.tones import synthesize
from peers import PATIENCE_S, control, way

WORDS = "[200] apple arrow autumn [900]"


def settings_for(address: str, **settings: Any) -> Settings:
    return Settings(speech_emulator_host=address, language="en-US", **way(), **settings)


def opened(address: str) -> int:
    """How many streams were opened there so far."""
    return int(control(address, "/status")["streams"]["opened"])


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


class Finals:
    """Collects finals, for who waits for them."""

    def __init__(self) -> None:
        self._texts: queue.Queue[str] = queue.Queue()

    def __call__(self, text: str) -> None:
        self._texts.put(text)

    def take(self) -> str:
        return self._texts.get(timeout=PATIENCE_S)


def fail(*arguments: object) -> None:
    raise RuntimeError("the user's own mistake")


def on_partial(address: str, on_final: Finals) -> StreamingSTTSession:
    return StreamingSTTSession(fail, on_final, settings=settings_for(address))


def listener(address: str, on_final: Finals) -> StreamingSTTSession:
    session = StreamingSTTSession(None, on_final, settings=settings_for(address))
    session.add_listener(fail)
    return session


def dispatcher_of_a_closed_loop(address: str, on_final: Finals) -> StreamingSTTSession:
    session = StreamingSTTSession(None, on_final, settings=settings_for(address))

    async def make() -> UtteranceDispatcher:
        return UtteranceDispatcher(session)

    asyncio.run(make())
    return session


@pytest.mark.parametrize("make", [on_partial, listener, dispatcher_of_a_closed_loop])
def test_what_a_callback_raises_is_logged_once_and_changes_nothing(
    prompt_emulator: str, caplog: pytest.LogCaptureFixture, make: Callable[[str, Finals], StreamingSTTSession]
) -> None:
    finals, before = Finals(), opened(prompt_emulator)
    with make(prompt_emulator, finals) as session:
        session.push_audio(synthesize(WORDS))
        assert finals.take() == "apple arrow autumn"
        session.push_audio(synthesize("badge bamboo [900]"))
        assert finals.take() == "badge bamboo"
        assert session.failure is None
    assert finals._texts.empty()
    assert opened(prompt_emulator) - before == 1
    told = failures(caplog)
    assert [record.getMessage() for record in told] == ["a callback failed"]
    assert told[0].exc_info is not None
    assert told[0].exc_info[2] is not None


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_a_callback_that_wants_to_end_its_thread_ends_nothing(prompt_emulator: str, error: type[BaseException]) -> None:
    def leave(*arguments: object) -> None:
        raise error

    finals, left = Finals(), threading.Event()
    with StreamingSTTSession(settings=settings_for(prompt_emulator)) as leaving:
        leaving.add_listener(leave)
        leaving.add_listener(lambda event: left.set() if isinstance(event, RecognitionEvent) else None)
        leaving.push_audio(synthesize(WORDS))
        assert left.wait(PATIENCE_S)
    with StreamingSTTSession(leave, leave, settings=settings_for(prompt_emulator)) as leaving:
        leaving.push_audio(synthesize(WORDS))
    with StreamingSTTSession(on_final=finals, settings=settings_for(prompt_emulator)) as session:
        session.push_audio(synthesize(WORDS))
        assert finals.take() == "apple arrow autumn"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_fallback_that_wants_to_end_its_thread_is_asked_again(is_async: bool) -> None:
    asked: list[str] = []

    def answer(pcm: bytes, language: str) -> str:
        asked.append(language)
        if len(asked) == 1:
            raise SystemExit
        return "hello"

    async def answer_later(pcm: bytes, language: str) -> str:
        return answer(pcm, language)

    finals = Finals()
    settings = Settings(enable_streaming_stt=False, language="en-US")
    with StreamingSTTSession(
        on_final=finals, settings=settings, fallback=answer_later if is_async else answer
    ) as session:
        session.note_utterance(True, 0)
        session.push_audio(bytes(16000))
        session.note_utterance(False, 8000)
        assert finals.take() == "hello"
    assert asked == ["en-US", "en-US"]


def test_slow_callbacks_of_some_calls_do_not_delay_those_of_others(prompt_emulator: str) -> None:
    go_on, finals = threading.Event(), Finals()
    arrived = threading.Semaphore(0)

    def wait(text: str) -> None:
        arrived.release()
        go_on.wait(PATIENCE_S)

    slow = [StreamingSTTSession(on_final=wait, settings=settings_for(prompt_emulator)) for _ in range(5)]
    try:
        for session in slow:
            session.push_audio(synthesize(WORDS))
        for _ in slow:
            assert arrived.acquire(timeout=PATIENCE_S)
        with StreamingSTTSession(on_final=finals, settings=settings_for(prompt_emulator)) as session:
            session.push_audio(synthesize(WORDS))
            assert finals.take() == "apple arrow autumn"
        assert shared_background().callbacks.threads <= 8
    finally:
        go_on.set()
        for session in slow:
            session.close()


def test_the_lines_of_a_session_name_its_call(prompt_emulator: str, caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    with StreamingSTTSession(fail, settings=settings_for(prompt_emulator), call_id="CA1") as session:
        session.push_audio(synthesize(WORDS))
    logger, handler = logging.getLogger("fastcall.session"), Told(logging.ERROR)
    logger.addHandler(handler)
    try:
        with StreamingSTTSession(settings=settings_for("127.0.0.1:1"), call_id="CA2"):
            assert told.wait(PATIENCE_S)
    finally:
        logger.removeHandler(handler)
    lines = [record.getMessage() for record in failures(caplog)]
    assert lines[0] == "a callback failed call=CA1"
    assert lines[1].startswith("recognition failed: UNAVAILABLE")
    assert lines[1].endswith(" call=CA2")


def test_a_session_that_was_not_closed_on_the_loop_s_own_thread_can_still_be_closed(prompt_emulator: str) -> None:
    refusals: queue.SimpleQueue[str] = queue.SimpleQueue()
    closed = threading.Event()
    session = StreamingSTTSession(settings=settings_for(prompt_emulator))

    def listen(event: object) -> None:
        if isinstance(event, SessionClosed):
            closed.set()
        elif isinstance(event, RecognitionEvent):
            try:
                session.close()
            except UsageError as error:
                refusals.put(str(error))

    session.attach(listen)
    session.push_audio(synthesize(WORDS))
    assert "on the event loop's own thread" in refusals.get(timeout=PATIENCE_S)
    session.close()
    assert closed.wait(PATIENCE_S)


def test_an_async_callback_is_refused_before_a_session_is_made(prompt_emulator: str) -> None:
    async def on_final(text: str) -> None:
        raise AssertionError("nobody awaits it")

    before = opened(prompt_emulator)
    with pytest.raises(UsageError, match=r"on_final.* is async"):
        StreamingSTTSession(on_final=on_final, settings=settings_for(prompt_emulator))
    assert opened(prompt_emulator) == before
