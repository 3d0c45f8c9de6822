"""A plain function as a handler: everything that a thread may do, and that only it waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from fastcall.agent.blocking import MAX_THREADS, BlockingCall, run_in_thread
from fastcall.agent.call import Call
from fastcall.events import Amendment, CallStarted, DtmfPressed, Partial, Utterance
from handsets import Twilio


def make() -> tuple[Call, Twilio]:
    twilio = Twilio()
    return Call(CallStarted("MZ1", "CA1", "AC1", custom_parameters={"a": "b"}), twilio, twilio), twilio


async def until(condition: object) -> None:
    async with asyncio.timeout(5):
        await asyncio.to_thread(condition.wait)  # type: ignore[attr-defined]


async def test_a_thread_hears_and_speaks() -> None:
    call, twilio = make()
    heard: list[object] = []
    waits, cleared = threading.Event(), threading.Event()

    def handler(blocking_call: BlockingCall) -> None:
        assert threading.current_thread() is not threading.main_thread()
        events = blocking_call.events()
        for utterance in blocking_call.utterances():
            heard.append(utterance.text)
            speech = blocking_call.say(b"\x01" * 160, text="an answer", interruptible=False)
            assert not call.player.is_interruptible
            blocking_call.mark("mine")
            waits.set()
            heard.append(speech.wait().text)
            heard.append(blocking_call.clear().ms)
            cleared.set()
        heard.extend(blocking_call.keys())
        heard.append(next(events))
        assert (blocking_call.parameters, blocking_call.call_sid, blocking_call.stream_sid) == (
            {"a": "b"},
            "CA1",
            "MZ1",
        )
        blocking_call.state["seen"] = True
        blocking_call.hangup()

    running = asyncio.ensure_future(run_in_thread(handler, call))
    for event in (Partial(1, "he"), Utterance(1, "hello", 0, 1), DtmfPressed("4")):
        call.deliver(event)
    await until(waits)
    call.player.echoed("fastcall:1")
    await until(cleared)
    call.deliver(Partial(2, "bye"))
    call.finish()
    async with asyncio.timeout(5):
        await running
    assert heard[:4] == ["hello", "an answer", 20, "4"]
    assert twilio.events == ["media", "mark", "mark", "clear"]
    assert call.state == {"seen": True}
    assert twilio.closed


async def test_a_thread_gets_late_words_and_corrections() -> None:
    call, _ = make()
    utterances: list[Utterance] = []
    events: list[object] = []
    begun = threading.Event()

    def handler(blocking_call: BlockingCall) -> None:
        reader = blocking_call.events()
        begun.set()
        utterances.extend(blocking_call.utterances())
        events.extend(reader)

    running = asyncio.ensure_future(run_in_thread(handler, call))
    await until(begun)
    late, corrected = Utterance(1, "hallo", 0, 1), Utterance(1, "hello", 0, 1, is_correction=True)
    for event in (Utterance(1, "", 0, 1), late, corrected):
        call.deliver(event)
    call.finish()
    async with asyncio.timeout(5):
        await running
    assert utterances == [late, corrected]
    assert events == [Utterance(1, "", 0, 1), late, Amendment(1, "hello")]


async def test_an_iterator_is_read_in_the_thread_until_it_is_cut_off() -> None:
    call, twilio = make()
    read: list[int] = []
    begun = threading.Event()

    def voice() -> Iterator[bytes]:
        while True:
            read.append(threading.get_ident())
            yield bytes(1600)
            if len(read) == 20:
                begun.set()

    def handler(blocking_call: BlockingCall) -> None:
        blocking_call.say(voice(), text="without end")

    running = asyncio.ensure_future(run_in_thread(handler, call))
    await until(begun)
    call.clear()
    async with asyncio.timeout(5):
        await running
    assert set(read) != {threading.get_ident()}
    assert len(twilio.audio) == 16_000
    call.finish()


async def test_an_iterator_that_fails_does_not_keep_what_is_said_after_it() -> None:
    call, twilio = make()

    def voice() -> Iterator[bytes]:
        yield b"\x01" * 800
        raise OSError("no voice")

    def handler(blocking_call: BlockingCall) -> None:
        try:
            blocking_call.say(voice(), text="some long sentence of which nobody heard the end")
        finally:
            blocking_call.say(b"\x02" * 160)

    with pytest.raises(OSError, match="no voice"):
        await run_in_thread(handler, call)
    for mark in list(twilio.marks):
        call.player.echoed(mark)
    assert twilio.audio == b"\x01" * 800 + b"\x02" * 160
    # As of an async iterator that fails: it was not the whole of it.
    assert [heard.is_whole for what, heard in twilio.told if what == "ended"] == [False, True]
    call.finish()


async def test_a_thread_that_cannot_begin_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    call, _ = make()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _fail_to_start)
        for _ in range(MAX_THREADS):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await run_in_thread(lambda blocking_call: None, call)
    await run_in_thread(lambda blocking_call: None, call)


def _fail_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_what_it_raises_is_raised_and_what_it_asks_wrongly_too() -> None:
    call, _ = make()

    def fail(blocking_call: BlockingCall) -> None:
        blocking_call.say(b"x", rate_hz=7)

    with pytest.raises(ValueError, match="rate_hz"):
        await run_in_thread(fail, call)


async def test_threads_are_bounded() -> None:
    call, _ = make()
    go_on = threading.Event()
    handlers = (run_in_thread(lambda blocking_call: go_on.wait(5) and None, call) for _ in range(MAX_THREADS))
    running = asyncio.gather(*handlers)
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="threads already"):
        await run_in_thread(lambda blocking_call: None, call)
    go_on.set()
    await running
    await run_in_thread(lambda blocking_call: None, call)


def test_a_thread_that_outlives_its_loop_is_told_so() -> None:
    loop = asyncio.new_event_loop()

    async def begin() -> BlockingCall:
        return BlockingCall(make()[0], loop)

    call = loop.run_until_complete(begin())
    loop.close()
    for ask in (lambda: list(call.utterances()), call.clear, call.hangup):
        with pytest.raises(RuntimeError, match="closed"):
            ask()
