"""A fallback that hears the words of the audio it is given, slowly, now and then not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from fastcall.errors import RecognizerError
from sim.scenario import FallbackTraits
from sim.speech import SpokenWord
from sim.word_spotter import WordSpotter

__all__ = ["SimFallback"]


class SimFallback:
    """Fulfils ``Fallback``."""

    source = "whisper"

    def __init__(self, traits: FallbackTraits, words: Sequence[SpokenWord], *, seed: str) -> None:
        self._traits = traits
        self._words = {word.number: word for word in words}
        self._rng = Random(seed)
        self.asked = 0

    async def recognize(self, pcm: bytes, language: str, *, urgent: bool = True) -> str:
        """As the port says. Words that are cut are not heard."""
        self.asked += 1
        if self._rng.random() < self._traits.refuses:
            raise RecognizerError("RESOURCE_EXHAUSTED", "busy")
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        timer = loop.call_later(self._rng.uniform(*self._traits.answer_s), over.set_result, None)
        try:
            await over
        finally:
            timer.cancel()  # who does not want the answer any more leaves nothing behind
        if self._rng.random() < self._traits.fails:
            raise RecognizerError("INTERNAL", "the worker has ended")
        return " ".join(word.text for word in WordSpotter(self._words).hear(pcm) if word.number >= 0)

    async def aclose(self) -> None:
        """As the port says."""
