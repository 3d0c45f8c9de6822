"""Replies: one at a time, cancelled when the caller breaks in, begun early and kept only if the words are those."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fastcall.agent.call import Call
from fastcall.agent.player import Speech
from fastcall.agent.replies import Turn
from fastcall.agent.response_latency import ResponseLatency
from fastcall.events import BargeIn, CallStarted, Partial, Utterance
from fastcall.metrics import Metrics
from handsets import Twilio
from peers import turns

CUT = 0.02


class Stage:
    def __init__(self, reply: Callable[[Turn], Awaitable[None]] | None = None, speculate_s: float = 0.0) -> None:
        self.twilio, self.metrics, self.turns = Twilio(), Metrics(), ResponseLatency()
        self.call = Call(
            CallStarted("MZ1", "CA1", "AC1"),
            self.twilio,
            self.twilio,
            metrics=self.metrics,
            turns=self.turns,
            speculate_s=speculate_s,
        )
        self.log: list[str] = []
        self.begun = asyncio.Event()
        self.task = asyncio.ensure_future(self.call.answer(reply or self.reply))

    async def reply(self, turn: Turn) -> None:
        self.log.append(f"begin {turn.text} {turn.is_committed}")
        self.begun.set()
        try:
            heard = await self.call.say(bytes(len(turn.text)), text=turn.text)
            self.log.append(f"heard {heard.is_whole}")
        except asyncio.CancelledError:
            self.log.append(f"cancelled {turn.text}")
            raise

    async def tell(self, *events: Partial | Utterance | BargeIn) -> None:
        await turns(12)
        for event in events:
            self.call.deliver(event)
        await turns(12)

    async def begins(self) -> None:
        async with asyncio.timeout(5):
            await self.begun.wait()
        self.begun.clear()

    async def end(self) -> None:
        self.call.finish()
        async with asyncio.timeout(5):
            await self.task


async def test_each_utterance_is_answered_and_one_without_words_is_not() -> None:
    stage = Stage()
    await stage.tell(Utterance(1, "hello", 0, 1))
    stage.call.player.echoed("fastcall:1")
    await stage.tell(Utterance(2, "", 1, 2), Utterance(3, "again", 2, 3))
    stage.call.player.echoed("fastcall:2")
    await stage.end()
    assert stage.log == ["begin hello True", "heard True", "begin again True", "heard True"]
    assert stage.metrics.speculative_starts == {}


async def test_a_barge_in_and_the_next_utterance_end_a_reply() -> None:
    stage = Stage()
    await stage.tell(Utterance(1, "one", 0, 1))
    await stage.tell(BargeIn(2, "", 0))
    await stage.tell(Utterance(2, "two", 1, 2))
    await stage.tell(Utterance(3, "three", 2, 3))
    assert stage.log == [
        "begin one True", "cancelled one", "begin two True", "cancelled two", "begin three True",
    ]  # fmt: skip
    # The call's end lets the last reply end by itself.
    await stage.end()
    assert stage.log[-1] == "heard False"


async def test_what_a_reply_raises_is_raised_by_answer() -> None:
    async def fail(turn: Turn) -> None:
        raise LookupError(turn.text)

    stage = Stage(fail)
    await stage.tell(Utterance(1, "nothing", 0, 1))
    with pytest.raises(LookupError, match="nothing"):
        await stage.task


async def test_a_start_on_the_right_words_is_kept_back_until_they_are_committed() -> None:
    stage = Stage(speculate_s=CUT)
    await stage.tell(Partial(7, "good day"))
    await stage.begins()
    await stage.tell()
    assert stage.log == ["begin good day False"]
    assert stage.twilio.sent == []
    await stage.tell(Utterance(7, "Good day.", 0, 1))
    assert stage.twilio.events == ["media", "mark"]
    stage.call.player.echoed("fastcall:1")
    await stage.tell()
    assert stage.log == ["begin good day False", "heard True"]
    assert stage.metrics.speculative_starts == {"kept": 1}
    await stage.end()


async def test_a_start_on_other_words_is_cancelled_and_nothing_of_it_is_heard() -> None:
    stage = Stage(speculate_s=CUT)
    await stage.tell(Partial(7, "good"))
    await stage.begins()
    await stage.tell(Partial(7, "good day"))
    assert stage.log == ["begin good False", "cancelled good"]
    await stage.begins()
    await stage.tell(Utterance(7, "good night", 0, 1))
    assert stage.log[2:] == ["begin good day False", "cancelled good day", "begin good night True"]
    assert len(stage.twilio.audio) == len("good night")
    assert stage.metrics.speculative_starts == {"changed": 2}
    await stage.end()


async def test_a_reply_that_is_given_is_not_given_up_for_a_guess() -> None:
    stage = Stage(speculate_s=0.001)
    await stage.tell(Utterance(1, "one", 0, 1))
    stage.begun.clear()
    await stage.tell(Partial(2, "two"))
    # Nothing tells of what does not happen: the deadline lies behind when its own timer would have fired.
    fired = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.02, fired.set_result, None)
    await fired
    await stage.tell()
    assert stage.log == ["begin one True"]
    stage.call.player.echoed("fastcall:1")
    await stage.begins()
    assert stage.log == ["begin one True", "heard True", "begin two False"]
    await stage.end()


async def test_what_has_effects_waits_for_the_text() -> None:
    booked: list[str] = []

    async def book(turn: Turn) -> None:
        await turn.wait_committed()
        booked.append(turn.text)

    stage = Stage(book, speculate_s=CUT)
    await stage.tell(Partial(7, "four"))
    started = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(3 * CUT, started.set_result, None)
    await started
    assert booked == []
    await stage.tell(Utterance(7, "four", 0, 1))
    assert booked == ["four"]
    await stage.end()


@pytest.mark.parametrize("is_ready_before", [True, False])
async def test_what_an_early_start_has_gained_is_known_whether_or_not_it_was_ready(is_ready_before: bool) -> None:
    begun, go_on, said = asyncio.Event(), asyncio.Event(), list[Speech]()

    async def reply(turn: Turn) -> None:
        begun.set()
        await go_on.wait()
        said.append(stage.call.say(bytes(160), text="yes"))

    stage = Stage(reply, speculate_s=CUT)
    await stage.tell(Partial(7, "four"))
    async with asyncio.timeout(5):
        await begun.wait()
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(CUT, passed.set_result, None)
    await passed
    if is_ready_before:
        go_on.set()
        await stage.tell()
    stage.turns.committed(7, 8000, spoken_at=loop.time(), now=loop.time())
    await stage.tell(Utterance(7, "four", 0, 1))
    go_on.set()
    await stage.tell()
    assert len(stage.twilio.audio) == 160
    assert said[0].turn is not None
    assert said[0].turn.gained_s >= 0.9 * CUT
    await stage.end()
