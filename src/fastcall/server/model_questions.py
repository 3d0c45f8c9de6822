"""Asks the end-of-turn model about the pauses of one call."""

from __future__ import annotations

import asyncio

from fastcall.events import SAMPLE_RATE_HZ
from fastcall.ports import EndOfTurnModel
from fastcall.recognition.session import RecognitionSession
from fastcall.turns.call_machine import CallMachine
from fastcall.turns.turn_policy import AskEndOfTurn

__all__ = ["ModelQuestions"]

# So much of a turn the model is given.
MAX_SAMPLES = 8 * SAMPLE_RATE_HZ


class ModelQuestions:
    """One question at a time; while one is open, further pauses are not asked about. Loop thread only.

    :param model: shared by all calls; None: nothing is asked
    :param machine: is given the answers
    """

    def __init__(self, model: EndOfTurnModel | None, machine: CallMachine) -> None:
        self._model = model
        self._machine = machine
        self._task: asyncio.Task[None] | None = None

    def ask(self, question: AskEndOfTurn, session: RecognitionSession | None) -> None:
        """Ask about the turn, whose audio the session has; the answer reaches the machine if it comes in time."""
        if self._model is None or self._task is not None or session is None:
            return
        audio = session.replay_buffer
        audio.keep(MAX_SAMPLES)
        start = max(question.start_sample, question.end_sample - MAX_SAMPLES, audio.start)
        pcm = audio.read(start, audio.end - start)
        self._task = asyncio.get_running_loop().create_task(self._ask(self._model, question, pcm))

    async def _ask(self, model: EndOfTurnModel, question: AskEndOfTurn, pcm: bytes) -> None:
        try:
            probability = await model.probability(pcm, question.text)
        finally:
            self._task = None
        if probability is not None:
            self._machine.end_of_turn(probability, question.end_sample)

    def close(self) -> None:
        """The call is over."""
        if self._task is not None:
            self._task.cancel()
