"""What the end-of-turn model is asked, and what becomes of its answers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.server.model_questions import MAX_SAMPLES, ModelQuestions
from fastcall.turns.turn_policy import AskEndOfTurn
from peers import turns


class Model:
    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []
        self.answers: list[asyncio.Future[float | None]] = []

    async def probability(self, pcm: bytes, text: str) -> float | None:
        self.asked.append((len(pcm) // 2, text))
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    async def aclose(self) -> None:
        pass


class Machine:
    def __init__(self) -> None:
        self.told: list[tuple[float, int]] = []

    def end_of_turn(self, probability: float, end_sample: int) -> None:
        self.told.append((probability, end_sample))


def session(seconds: float) -> Any:
    buffer = ReplayBuffer(sample_bytes=1, limit_samples=90 * 8000)
    buffer.append(b"\x55" * int(8000 * seconds))
    buffer.take()
    return SimpleNamespace(replay_buffer=buffer)


async def test_the_turn_and_its_text_go_to_the_model_and_the_answer_to_the_machine() -> None:
    model, machine = Model(), Machine()
    questions = ModelQuestions(model, machine)  # type: ignore[arg-type]
    questions.ask(AskEndOfTurn(8000, 14_000, "hello"), session(2))
    await turns(3)
    assert model.asked == [(8000, "hello")]
    model.answers[0].set_result(0.75)
    await turns(3)
    assert machine.told == [(0.75, 14_000)]


async def test_of_a_long_turn_the_newest_8_s() -> None:
    model = Model()
    ModelQuestions(model, Machine()).ask(AskEndOfTurn(0, 160_000, ""), session(20.2))  # type: ignore[arg-type]
    await turns(3)
    assert model.asked == [(MAX_SAMPLES + 1600, "")]
    model.answers[0].cancel()


async def test_one_question_at_a_time_and_no_answer_is_none() -> None:
    model, machine = Model(), Machine()
    questions = ModelQuestions(model, machine)  # type: ignore[arg-type]
    for end in (8000, 9000):
        questions.ask(AskEndOfTurn(0, end, ""), session(2))
    await turns(3)
    model.answers[0].set_result(None)
    await turns(3)
    questions.ask(AskEndOfTurn(0, 10_000, ""), session(2))
    await turns(3)
    model.answers[1].set_result(0.5)
    await turns(3)
    assert len(model.asked) == 2
    assert machine.told == [(0.5, 10_000)]


async def test_after_the_call_nothing_is_told() -> None:
    model, machine = Model(), Machine()
    questions = ModelQuestions(model, machine)  # type: ignore[arg-type]
    questions.ask(AskEndOfTurn(0, 8000, ""), session(1))
    await turns(3)
    questions.close()
    await turns(3)
    assert model.answers[0].cancelled()
    assert machine.told == []


async def test_without_a_model_or_a_session_nothing_is_asked() -> None:
    model = Model()
    ModelQuestions(None, Machine()).ask(AskEndOfTurn(0, 1, ""), session(1))  # type: ignore[arg-type]
    ModelQuestions(model, Machine()).ask(AskEndOfTurn(0, 1, ""), None)  # type: ignore[arg-type]
    await turns(3)
    assert model.asked == []
