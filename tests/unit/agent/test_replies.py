"""Replies: one at a time, cancelled when the caller breaks in, begun early and kept only if the words are those."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fastcall.agent.call import Call
from fastcall.agent.heard_text import Heard
from fastcall.agent.player import Speech
from fastcall.agent.replies import Turn
from fastcall.agent.response_latency import ResponseLatency
from fastcall.events import Amendment, BargeIn, CallEvent, CallStarted, Partial, Utterance
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

    async def tell(self, *events: CallEvent) -> None:
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
    # The call's end lets the last reply end by itself; so little audio may have been heard by then.
    await stage.end()
    assert stage.log[-1] in {"heard False", "heard True"}


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


# --- corrections ------------------------------------------------------------------------------------------


class Thinker:
    """A reply that says its text when ``go_on`` is set, and logs what becomes of it."""

    def __init__(self, *, commits_first: bool = False) -> None:
        self.log: list[str] = []
        self.turns: list[Turn] = []
        self.go_on = asyncio.Event()
        self.call: Call | None = None
        self._commits_first = commits_first

    async def reply(self, turn: Turn) -> None:
        self.log.append(f"begin {turn.text}")
        self.turns.append(turn)
        try:
            if self._commits_first:
                await turn.wait_committed()
            await self.go_on.wait()
            assert self.call is not None
            heard = await self.call.say(bytes(8000), text=turn.text)
            self.log.append(f"end {turn.text} {heard.is_whole}")
        except asyncio.CancelledError:
            self.log.append(f"cancelled {turn.text} {turn.corrected_text}")
            raise


def think(*, commits_first: bool = False, speculate_s: float = 0.0) -> tuple[Stage, Thinker]:
    thinker = Thinker(commits_first=commits_first)
    stage = Stage(thinker.reply, speculate_s)
    thinker.call = stage.call
    return stage, thinker


def said(number: int, text: str) -> Utterance:
    return Utterance(number, text, number, number + 1)


BEGUN = ["begin a"]
RESTARTED = ["begin a", "cancelled a b", "begin b"]


@pytest.mark.parametrize(
    ("events", "log"),
    [
        pytest.param([Amendment(1, "b")], RESTARTED, id="the text"),
        pytest.param([Amendment(1, "b"), Amendment(1, "c")], [*RESTARTED, "cancelled b c", "begin c"], id="twice"),
        pytest.param([Amendment(1, "")], ["begin a", "cancelled a "], id="no words are left"),
        pytest.param(
            [Amendment(1, ""), Amendment(1, "b")], ["begin a", "cancelled a ", "begin b"], id="words are back"
        ),
        pytest.param([Amendment(9, "b")], BEGUN, id="another utterance"),
        pytest.param(
            [said(2, "b"), Amendment(1, "c")], ["begin a", "cancelled a None", "begin b"], id="an earlier turn"
        ),
        pytest.param([BargeIn(2, "", 0), Amendment(1, "b")], ["begin a", "cancelled a None"], id="interrupted"),
    ],
)
async def test_a_correction_restarts_a_reply_that_said_nothing(events: list[CallEvent], log: list[str]) -> None:
    stage, thinker = think()
    await stage.tell(said(1, "a"))
    for event in events:
        await stage.tell(event)
    assert thinker.log == log
    thinker.go_on.set()
    await stage.tell()
    await stage.end()


async def test_a_reply_that_ended_without_a_word_is_restarted_too() -> None:
    texts: list[str] = []

    async def ignore(turn: Turn) -> None:
        texts.append(turn.text)

    stage = Stage(ignore)
    await stage.tell(said(1, "book a"), Amendment(1, "book a table"))
    assert texts == ["book a", "book a table"]
    await stage.end()


async def test_a_reply_that_may_have_had_effects_is_told_and_not_restarted() -> None:
    stage, thinker = think(commits_first=True)
    await stage.tell(said(1, "a"))
    await stage.tell(Amendment(1, "b"))
    assert (thinker.log, thinker.turns[0].corrected_text) == (["begin a"], "b")
    thinker.go_on.set()
    await stage.tell()
    await stage.end()


async def test_an_answer_under_way_goes_on_and_is_told() -> None:
    stage, thinker = think()
    thinker.go_on.set()
    await stage.tell(said(1, "a"))
    (turn,) = thinker.turns
    assert turn.corrected_text is None
    await stage.tell(Amendment(1, "b"), Amendment(1, "c"))
    assert turn.corrected_text == "c"
    corrections = turn.corrections()
    assert await anext(corrections) == "c"
    await stage.tell(Amendment(1, ""))
    assert (await anext(corrections), turn.corrected_text) == ("", "")
    assert (thinker.log, "clear" in stage.twilio.events) == (["begin a"], False)
    await stage.tell(said(2, "b"))
    assert [text async for text in corrections] == []
    await stage.end()


async def test_a_reply_may_answer_a_correction_in_place_of_what_it_says() -> None:
    async def reply(turn: Turn) -> None:
        async def correct() -> None:
            async for text in turn.corrections():
                stage.call.clear()
                stage.call.say(b"\x02" * 8000, text=text)

        correcting = asyncio.create_task(correct())
        try:
            await stage.call.say(b"\x01" * 24_000, text=turn.text)
        finally:
            correcting.cancel()

    stage = Stage(reply)
    await stage.tell(said(1, "a"))
    await stage.tell(Amendment(1, "b"))
    assert stage.twilio.events.count("clear") == 1
    assert stage.twilio.audio == b"\x01" * 16_000 + b"\x02" * 8000
    await stage.end()


async def test_a_reply_that_waits_for_corrections_ends_with_the_call() -> None:
    texts: list[str] = []

    async def reply(turn: Turn) -> None:
        stage.call.say(bytes(160))
        texts.extend([text async for text in turn.corrections()])

    stage = Stage(reply)
    await stage.tell(said(1, "a"))
    await stage.tell(Amendment(1, "b"))
    await stage.end()
    assert texts == ["b"]


async def test_audio_of_a_corrected_reply_that_waits_behind_other_audio_is_not_played() -> None:
    stage, thinker = think()
    greeting = stage.call.say(b"\x01" * 24_000)
    thinker.go_on.set()
    await stage.tell(said(1, "a"))
    await stage.tell(Amendment(1, "b"))
    assert thinker.log == RESTARTED
    assert not greeting.is_done
    assert "clear" not in stage.twilio.events
    await play(stage)
    assert stage.twilio.audio == b"\x01" * 24_000 + bytes(8000)
    await stage.end()


async def test_a_correction_ends_a_guess_at_the_next_utterance_and_it_is_answered_when_committed() -> None:
    texts: list[str] = []

    async def reply(turn: Turn) -> None:
        texts.append(f"{turn.text} {turn.is_committed}")
        stage.begun.set()

    stage = Stage(reply, speculate_s=0.001)
    await stage.tell(said(1, "a"))
    await stage.begins()
    await stage.tell(Partial(2, "next"))
    await stage.begins()
    await stage.tell(Amendment(1, "b"))
    await stage.tell(said(2, "next"))
    assert texts == ["a True", "next False", "b True", "next True"]
    assert stage.metrics.speculative_starts == {"changed": 1}
    await stage.end()


@pytest.mark.parametrize(
    ("late", "log"),
    [
        (said(1, ""), ["begin next False"]),
        # The same words, but another utterance: the guess is not its answer.
        (said(1, "next"), ["begin next False", "cancelled next", "begin next True"]),
    ],
)
async def test_a_guess_is_not_the_answer_to_an_earlier_utterance(late: Utterance, log: list[str]) -> None:
    stage = Stage(speculate_s=CUT)
    await stage.tell(Partial(2, "next"))
    await stage.begins()
    await stage.tell(late)
    assert stage.log == log
    await stage.end()


# --- answers that are cut off -----------------------------------------------------------------------------


async def play(stage: Stage) -> None:
    """Return marks, until nothing is sent any more."""
    played = 0
    while played < len(stage.twilio.marks):
        stage.call.player.echoed(stage.twilio.marks[played])
        played += 1
        await turns(3)


async def begin_speaking() -> tuple[Stage, list[Heard | None]]:
    """Answers say a second a sentence, as ``answer`` is documented: without waiting for it. The first one plays."""
    interrupted: list[Heard | None] = []

    async def reply(turn: Turn) -> None:
        interrupted.append(turn.interrupted)
        for sentence in ("one two", "three four"):
            stage.call.say(b"\x01" * 8000, text=sentence)

    stage = Stage(reply)
    await stage.tell(said(1, "a"))
    return stage, interrupted


async def test_the_next_utterance_stops_the_answer_and_its_reply_knows_what_was_heard() -> None:
    stage, interrupted = await begin_speaking()
    for mark in stage.twilio.marks[:5]:
        stage.call.player.echoed(mark)
    await stage.tell(said(2, "b"))
    assert stage.twilio.events.count("clear") == 1
    (first, second) = interrupted
    assert first is None
    assert second is not None
    assert (second.text, second.is_whole) == ("one two", False)
    assert 1000 <= second.ms <= 1200
    # The new answer is played: everything after the clear.
    after = stage.twilio.events[stage.twilio.events.index("clear") :]
    assert after.count("media") >= 5
    await stage.end()


async def test_an_answer_that_was_heard_is_not_interrupted() -> None:
    stage, interrupted = await begin_speaking()
    await play(stage)
    await stage.tell(said(2, "b"))
    assert interrupted == [None, None]
    assert "clear" not in stage.twilio.events
    await stage.end()


async def test_a_barge_in_is_told_to_the_reply_that_follows() -> None:
    stage, interrupted = await begin_speaking()
    stage.call.player.clear()
    await stage.tell(BargeIn(2, "one", 400))
    await stage.tell(said(2, ""))
    await stage.tell(said(3, "b"))
    assert interrupted == [None, Heard("one", 400, False)]
    assert stage.twilio.events.count("clear") == 1
    await stage.end()


@pytest.mark.parametrize(
    ("events", "found"),
    [
        pytest.param([said(2, "b")], [None, Heard("", 0, False)], id="it was thinking"),
        pytest.param(
            [BargeIn(2, "hi", 9), said(2, "b"), Amendment(2, "c")],
            [None, Heard("hi", 9, False), Heard("hi", 9, False)],
            id="restarted after a barge-in",
        ),
        pytest.param(
            [BargeIn(2, "hi", 9), said(2, "b"), Amendment(2, ""), said(3, "c")],
            [None, Heard("hi", 9, False), Heard("hi", 9, False)],
            id="no words were left after a barge-in",
        ),
    ],
)
async def test_what_was_heard_before_a_turn(events: list[CallEvent], found: list[Heard | None]) -> None:
    stage, thinker = think()
    await stage.tell(said(1, "a"))
    for event in events:
        await stage.tell(event)
    assert [turn.interrupted for turn in thinker.turns] == found
    thinker.go_on.set()
    await stage.tell()
    await stage.end()


async def test_a_kept_guess_stops_the_previous_answer_and_not_its_own() -> None:
    kept: list[Turn] = []

    async def reply(turn: Turn) -> None:
        kept.append(turn)
        stage.begun.set()
        stage.call.say(bytes([turn.utterance_id]) * 8000, text="one two")

    stage = Stage(reply, speculate_s=CUT)
    await stage.tell(said(1, "a"))
    await stage.begins()
    await stage.tell(Partial(2, "b"))
    await stage.begins()
    assert kept[1].interrupted is None
    assert "clear" not in stage.twilio.events
    await stage.tell(said(2, "b"))
    assert stage.metrics.speculative_starts == {"kept": 1}
    assert kept[1].interrupted is not None
    clear = stage.twilio.events.index("clear")
    assert stage.twilio.events[clear + 1 :].count("media") == 5
    assert stage.twilio.audio.endswith(b"\x02" * 8000)
    await stage.end()


async def test_audio_said_outside_of_answer_is_not_stopped() -> None:
    stage, interrupted = await begin_speaking()
    other = stage.call.say(b"\x02" * 16_000, text="outside")
    await stage.tell(said(2, "b"))
    assert "clear" not in stage.twilio.events
    assert interrupted[1] is not None
    await play(stage)
    assert (await other).is_whole
    audio = stage.twilio.audio
    assert audio.count(b"\x02") == 16_000
    # The answer's unsent rest is dropped, and the new answer comes last.
    assert audio.index(b"\x02") <= 16_000
    assert audio.endswith(b"\x01" * 16_000)
    await stage.end()


async def test_what_a_cancelled_reply_says_later_is_not_played() -> None:
    go_on = asyncio.Event()
    tasks: list[asyncio.Task[Heard]] = []

    async def say_later(text: str) -> Heard:
        await go_on.wait()
        return await stage.call.say(bytes(160), text=text)

    async def reply(turn: Turn) -> None:
        tasks.append(asyncio.create_task(say_later(turn.text)))
        await asyncio.shield(tasks[-1])

    stage = Stage(reply)
    await stage.tell(said(1, "a"))
    await stage.tell(said(2, "b"))
    go_on.set()
    await stage.tell()
    assert len(stage.twilio.audio) == 160
    assert await tasks[0] == Heard("", 0, False)
    await stage.end()
