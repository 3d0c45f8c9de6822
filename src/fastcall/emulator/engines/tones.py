"""The tones engine: recognizes the words of `fastcall.audio.tones`, at once and without errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastcall.audio.tones import ToneRecognizer, ToneWord
from fastcall.emulator.engines.base import (
    EngineEvent,
    Finished,
    Heard,
    SpeechBegan,
    SpeechEnded,
    UtteranceEnded,
)
from fastcall.emulator.messages import StreamConfig, Word

__all__ = ["TonesEngine", "TonesStream"]


class TonesStream:
    """One stream's recognizer and its endpointing. Costs microseconds per batch, so it runs on the loop."""

    def __init__(
        self,
        sample_rate_hertz: int,
        listener: Callable[[EngineEvent], None],
        *,
        end_silence_s: float,
        max_utterance_s: float,
    ) -> None:
        self._rate = sample_rate_hertz
        self._recognizer = ToneRecognizer(sample_rate_hertz)
        self._listener: Callable[[EngineEvent], None] | None = listener
        self._end_silence = round(end_silence_s * sample_rate_hertz)
        self._max_utterance = round(max_utterance_s * sample_rate_hertz)
        self._words: list[Word] = []
        self._began: int | None = None  # sample at which the utterance began
        self._last_end = 0

    def feed(self, pcm: NDArray[np.int16]) -> None:
        # In pieces no longer than the silence that ends an utterance: a larger one could hide such a silence.
        step = max(self._end_silence // 2, 1)
        for at in range(0, len(pcm), step):
            self._feed(pcm[at : at + step])

    def _feed(self, pcm: NDArray[np.int16]) -> None:
        recognizer = self._recognizer
        for word in recognizer.accept(pcm):
            self._take(word)
        speaking = recognizer.word_start
        if speaking is not None:
            self._begin(speaking)
        elif self._began is not None and recognizer.samples - self._last_end >= self._end_silence:
            self._end_utterance(recognizer.samples)

    def finish(self) -> None:
        speaking = self._recognizer.word_start
        for word in self._recognizer.finish():
            self._take(word)
            speaking = None
        # An incomplete word is not settled: a client that sends it again must get it.
        self._end_utterance(self._recognizer.samples if speaking is None else speaking)
        self._emit(Finished())

    def close(self) -> None:
        self._listener = None

    def _take(self, word: ToneWord) -> None:
        self._begin(word.start)
        self._words.append(Word(word.text, word.start / self._rate, word.end / self._rate))
        self._last_end = word.end
        self._emit(Heard(tuple(self._words)))
        if self._began is not None and word.end - self._began >= self._max_utterance:
            self._end_utterance(word.end)

    def _begin(self, at: int) -> None:
        """Speech at `at`: of this utterance, or of a new one if the silence before it was long enough."""
        if self._began is not None and at - self._last_end >= self._end_silence:
            self._end_utterance(self._last_end + self._end_silence)
        if self._began is None:
            self._began = self._last_end = at
            self._emit(SpeechBegan(at / self._rate))

    def _end_utterance(self, at: int) -> None:
        if self._began is None:
            return
        self._began = None
        words, self._words = tuple(self._words), []
        self._emit(SpeechEnded(self._last_end / self._rate))
        if words:
            self._emit(UtteranceEnded(words, self._last_end / self._rate, at / self._rate))

    def _emit(self, event: EngineEvent) -> None:
        if self._listener is not None:
            self._listener(event)


class TonesEngine:
    """Creates `TonesStream`s; stateless."""

    sample_rates_hertz: tuple[int, ...] = (8000, 16000)

    def __init__(self, *, end_silence_s: float, max_utterance_s: float) -> None:
        self._end_silence_s = end_silence_s
        self._max_utterance_s = max_utterance_s

    async def start(self) -> None:
        """Nothing to start."""

    def open(self, config: StreamConfig, listener: Callable[[EngineEvent], None]) -> TonesStream:
        return TonesStream(
            config.sample_rate_hertz,
            listener,
            end_silence_s=self._end_silence_s,
            max_utterance_s=self._max_utterance_s,
        )

    async def stop(self) -> None:
        """Nothing to release."""
