"""When and how words become results: interims in two parts, late finals, rewritten interims.

Pure: time is an argument, randomness a seeded generator.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastcall.emulator.messages import Response, Result, StreamConfig, Word

if TYPE_CHECKING:
    from random import Random

    from fastcall.emulator.engines.base import UtteranceEnded
    from fastcall.emulator.faults import StreamFaults
    from fastcall.emulator.options import Options

__all__ = ["ResultPolicy"]

STABLE: Final = 0.9
UNSTABLE: Final = 0.01
CONFIDENCE: Final = 0.92
_NORMAL_P99: Final = 2.3263  # 99th percentile of the standard normal distribution


@dataclass(slots=True)
class _Final:
    """A settled utterance whose final is not due yet."""

    utterance: UtteranceEnded
    due: float
    waits_for_next: bool = False
    """A fault: sent after the next utterance has begun."""


class ResultPolicy:
    """Turns the engine's events of one stream into responses. Not thread-safe."""

    def __init__(self, options: Options, config: StreamConfig, faults: StreamFaults, random: Random) -> None:
        self._config = config
        self._faults = faults
        self._random = random
        self._rewrite_rate = options.rewrite_rate
        self._delay_median_s = options.final_delay_s
        spread = options.final_delay_p99_s / options.final_delay_s if options.final_delay_s else 1.0
        self._delay_sigma = math.log(spread) / _NORMAL_P99 if spread > 1 else 0.0
        self._waiting: deque[_Final] = deque()
        self._current: tuple[Word, ...] = ()  # of the current utterance
        self._shown: tuple[str, ...] = ()  # the newest hypothesis sent to the client
        self._truth_since_s = 0.0  # audio position of the newest rewritten interim
        self._is_true = True
        self._any_final = False
        self._ended = 0  # utterances

    def add_words(self, words: tuple[Word, ...]) -> None:
        """The engine's newest words of the current utterance."""
        self._current = words
        if words and self._waiting and self._waiting[0].waits_for_next:
            # Due at once, which is after the interim with these words.
            self._waiting[0].waits_for_next, self._waiting[0].due = False, 0.0

    def end_utterance(self, utterance: UtteranceEnded, *, audio_s: float, now: float) -> None:
        """The utterance is settled; its final comes after the delay, counted from the end of speech."""
        self._current = ()
        self._ended += 1
        if self._faults.swallows_final(self._ended):
            self._shown, self._is_true = (), True
            return
        speech_ended = now - max(0.0, audio_s - utterance.speech_end_s)
        due = max(now, speech_ended + self._delay_s())
        if self._waiting:
            due = max(due, self._waiting[-1].due)
        self._waiting.append(_Final(utterance, due, self._faults.delays_final(self._ended)))

    @property
    def next_deadline(self) -> float | None:
        return self._waiting[0].due if self._waiting and not self._waiting[0].waits_for_next else None

    @property
    def has_waiting_final(self) -> bool:
        return bool(self._waiting)

    def finals(self, *, audio_s: float, now: float | None) -> list[Response]:
        """The finals that are due by `now`; None: all."""
        responses = []
        while self._waiting and (now is None or self._is_due(self._waiting[0], now)):
            final = self._final(self._waiting.popleft().utterance)
            rest = self._interim_results(audio_s) if self._config.interim_results else ()
            responses.append(Response(results=(final, *rest)))
        return responses

    def interim(self, *, audio_s: float) -> Response | None:
        """An interim, if there is something new to show."""
        if not self._config.interim_results:
            return None
        truth = tuple(word.text for word in self._hypothesis())
        if truth == self._shown or not truth or (not self._is_true and audio_s <= self._truth_since_s):
            return None
        if self._is_true and self._rewrite_rate and self._random.random() < self._rewrite_rate:
            wrong = self._rewritten(truth)
            if wrong and wrong != self._shown:
                self._is_true, self._truth_since_s = False, audio_s
                return Response(results=self._split(wrong, audio_s))
        self._is_true = True
        return Response(results=self._split(truth, audio_s))

    @staticmethod
    def _is_due(final: _Final, now: float) -> bool:
        return not final.waits_for_next and final.due <= now

    def _delay_s(self) -> float:
        if not self._delay_median_s:
            return 0.0
        return self._delay_median_s * math.exp(self._delay_sigma * self._random.gauss(0.0, 1.0))

    def _hypothesis(self) -> tuple[Word, ...]:
        if not self._waiting:
            return self._current
        words = [word for final in self._waiting for word in final.utterance.words]
        return (*words, *self._current)

    def _rewritten(self, truth: tuple[str, ...]) -> tuple[str, ...]:
        """A plausible temporary hypothesis: shorter, or with a wrong last word."""
        if self._random.random() < 0.5:
            return truth[: max(len(self._shown) - 1, 0)]
        last = truth[-1]
        return (*truth[:-1], last[:-1] if len(last) > 3 else last + "s")

    def _interim_results(self, audio_s: float) -> tuple[Result, ...]:
        """Interim results after a new final, as part of the same response."""
        self._shown, self._is_true = (), True
        truth = tuple(word.text for word in self._hypothesis())
        return self._split(truth, audio_s) if truth else ()

    def _split(self, texts: tuple[str, ...], audio_s: float) -> tuple[Result, ...]:
        """Split into a stable head that the client has seen before, and a new, unstable tail."""
        stable = 0
        for seen, text in zip(self._shown, texts, strict=False):
            if seen != text:
                break
            stable += 1
        self._shown = texts
        lead = " " if self._any_final else ""
        head, tail = " ".join(texts[:stable]), " ".join(texts[stable:])
        results = []
        if head:
            words = self._hypothesis()[:stable]
            end_s = words[-1].end_s if words else audio_s
            results.append(Result(lead + head, False, end_s, stability=STABLE))
            lead = " "
        if tail:
            results.append(Result(lead + tail, False, audio_s, stability=UNSTABLE))
        return tuple(results)

    def _final(self, utterance: UtteranceEnded) -> Result:
        lead = " " if self._any_final else ""
        self._any_final = True
        self._shown = ()
        self._is_true = True
        return Result(
            lead + " ".join(word.text for word in utterance.words),
            True,
            utterance.end_s,
            confidence=CONFIDENCE,
            words=utterance.words if self._config.word_times or self._config.word_confidence else (),
        )
