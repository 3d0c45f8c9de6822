"""A recognizer and a fallback that sessions begin with before they are there."""

from __future__ import annotations

import asyncio

import pytest

from fastcall.errors import RecognizerError, UsageError
from fastcall.ports import Fallback, Recognizer, StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.pending_streams import PendingFallback, PendingRecognizer
from listeners import KeepingListener
from peers import ScriptedFallback, ScriptedRecognizer, turns

CONFIG = StreamConfig("en-US", "default")


def future() -> asyncio.Future[Recognizer]:
    return asyncio.get_running_loop().create_future()


async def test_a_stream_begins_when_the_recognizer_is_there() -> None:
    making, listener, made = future(), KeepingListener(), ScriptedRecognizer()
    pending = PendingRecognizer(making, "google")
    stream = pending.open(CONFIG, listener)
    assert (pending.source, stream.writable, pending.model_for(CONFIG)) == ("google", False, CONFIG)
    own = pending.breaker
    making.set_result(made)
    await turns(2)
    assert stream.writable
    assert listener.told == ["writable"]
    stream.write(b"\1\2")
    result = StreamResult("apple", True, 800)
    made.streams[0].listener.stream_results([result])
    stream.half_close()
    made.streams[0].end(StreamEnd("OK"))
    await turns(2)
    assert listener.told == ["writable", [result], StreamEnd("OK")]
    assert pending.breaker is made.breaker is not own
    pending.open(CONFIG, listener)
    assert made.streams[1].listener is listener, "nothing stands in between any more"


async def test_a_stream_that_was_closed_meanwhile_is_closed_when_it_begins() -> None:
    making, listener, made = future(), KeepingListener(), ScriptedRecognizer()
    stream = PendingRecognizer(making, "google").open(CONFIG, listener)
    stream.half_close()
    making.set_result(made)
    await turns(2)
    assert made.streams[0].half_closed


async def test_a_stream_that_was_given_up_meanwhile_never_begins() -> None:
    making, listener, made = future(), KeepingListener(), ScriptedRecognizer()
    stream = PendingRecognizer(making, "google").open(CONFIG, listener)
    stream.cancel()
    assert listener.told == []
    await turns(1)
    making.set_result(made)
    await turns(2)
    assert listener.told == [StreamEnd("CANCELLED")]
    assert made.streams == []


async def test_a_stream_that_is_given_up_just_when_the_recognizer_comes_never_begins() -> None:
    making, listener, made = future(), KeepingListener(), ScriptedRecognizer()
    stream = PendingRecognizer(making, "google").open(CONFIG, listener)
    making.set_result(made)
    stream.cancel()
    stream.cancel()
    await turns(3)
    assert listener.told == [StreamEnd("CANCELLED")]
    assert made.streams == []


@pytest.mark.parametrize(
    ("error", "message"), [(UsageError("no credentials"), "no credentials"), (OSError("no"), "OSError: no")]
)
async def test_a_stream_ends_with_what_is_wrong_with_the_recognizer(error: Exception, message: str) -> None:
    making, listener = future(), KeepingListener()
    PendingRecognizer(making, "google").open(CONFIG, listener)
    making.set_exception(error)
    await turns(2)
    assert listener.told == [StreamEnd("UNAUTHENTICATED", message)]


async def test_a_fallback_is_asked_when_it_is_there() -> None:
    making: asyncio.Future[Fallback] = asyncio.get_running_loop().create_future()
    pending, made = PendingFallback(making, "whisper"), ScriptedFallback()
    asked = asyncio.ensure_future(pending.recognize(b"\0\0", "en-US"))
    await turns(1)
    making.set_result(made)
    await turns(2)
    made.requests[0].answer.set_result("hello")
    assert (await asked, pending.source) == ("hello", "whisper")


async def test_a_fallback_that_cannot_be_started_says_why() -> None:
    making: asyncio.Future[Fallback] = asyncio.get_running_loop().create_future()
    making.set_exception(UsageError("no such model"))
    with pytest.raises(RecognizerError, match="could not be started: no such model"):
        await PendingFallback(making, "whisper").recognize(b"\0\0", "en-US")
