"""What users' callbacks do to a session on their own event loop: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fastcall.call_logger import CallLogger
from fastcall.events import RecognitionEvent
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.session import LOG, RecognitionSession, SessionEvent
from fastcall.settings import Settings
from peers import ScriptedRecognizer

CONFIG = StreamConfig("en-US", "default")


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_true():  # noqa: ASYNC110 - what is waited for is the session's own doing
            await asyncio.sleep(0)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_what_listeners_and_callbacks_raise_changes_nothing(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise error("the user's own mistake")

    recognizer, events = ScriptedRecognizer(), list[SessionEvent]()
    session = RecognitionSession(
        recognizer,
        CONFIG,
        on_event=fail,
        on_partial=fail,
        on_final=fail,
        settings=Settings(),
        log=CallLogger(LOG, "call=CA1"),
    )
    session.add_listener(events.append)
    session.start()
    for number in range(3):
        session.push_audio(bytes(8000))
        recognizer.streams[0].results(StreamResult(f"apple {number}", False, 8000 * number + 4000))
        recognizer.streams[0].results(StreamResult(f"apple {number}", True, 8000 * number + 8000))
    closing = asyncio.create_task(session.close(5))
    await until(lambda: recognizer.streams[0].half_closed)
    recognizer.streams[0].end(StreamEnd("OK"))
    await closing
    assert len(recognizer.streams) == 1
    told = [event.text for event in events if isinstance(event, RecognitionEvent) and event.kind == "final"]
    assert told == ["apple 0", "apple 1", "apple 2"]
    assert [record.getMessage() for record in caplog.records] == ["a callback failed call=CA1"] * 3  # one a callback


async def test_a_listener_that_ends_the_program_ends_the_loop_after_the_session_was_told() -> None:
    def leave(event: SessionEvent) -> None:
        raise SystemExit(3)

    raised: list[BaseException] = []
    session = RecognitionSession(ScriptedRecognizer(), CONFIG, settings=Settings())
    session.add_listener(leave)
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon

    def catch(function: Callable[..., object], *arguments: Any, **options: Any) -> asyncio.Handle:
        if arguments and isinstance(arguments[0], SystemExit):
            raised.append(arguments[0])
            return call_soon(lambda: None)
        return call_soon(function, *arguments, **options)

    loop.call_soon = catch  # type: ignore[method-assign]
    try:
        session.start()
        await session.close(0)
    finally:
        del loop.call_soon
    assert [error.code for error in raised if isinstance(error, SystemExit)] == [3] * len(raised)
    assert raised
