"""The fallback requests of one call: ``FallbackRule`` with the call's audio, as commands and events."""

from __future__ import annotations

from collections.abc import Callable

from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.events import FallbackAsked, FallbackSilent
from fastcall.recognition.fallback_policy import FallbackAsk, FallbackRule, SettledSpan, quietest_sample
from fastcall.recognition.inputs import AskFallback, CancelFallback, Log, RecognitionCommand

__all__ = ["FallbackRequests"]

# The end of a call's audio when no more comes: the last word is complete, and needs no cut.
NO_END = 1 << 62


class FallbackRequests:
    """Pure; one thread. Methods return what is to be done, in order.

    :param audio: the call's audio
    :param source: of the fallback's results
    :param limit_samples: how much unsettled audio is kept
    """

    def __init__(self, audio: ReplayBuffer, source: str, *, limit_samples: int) -> None:
        self.source = source
        self._audio = audio
        self._rule = FallbackRule(limit_samples=limit_samples)
        self._asked: dict[int, FallbackAsk] = {}

    @property
    def is_needed(self) -> bool:
        """Whether the recognizer is down."""
        return bool(self._rule.trouble)

    @property
    def is_waiting(self) -> bool:
        """Whether an answer will come, or a request will be due."""
        return bool(self._asked) or (bool(self._rule.unanswered) and self._rule.next_deadline() is not None)

    def note_trouble(self, reason: str, *, now: float) -> bool:
        """The recognizer is down for this reason, or, if empty, it works.

        :return: whether that is new
        """
        is_new = reason != self._rule.trouble
        if is_new:
            self._rule.note_trouble(reason, now=now)
        return is_new

    def change_utterance(self, begins: bool, sample: int, *, is_last: bool, now: float) -> None:
        """An utterance begins at ``sample``, or the open one ends there."""
        call_end = NO_END if is_last else self._audio.end
        self._rule.note_speech(begins, sample, call_end=call_end, now=now, quietest=self._quietest)

    def settled(self, settled_end: int) -> list[RecognitionCommand]:
        """The settled end has moved: answers to what is before it are not needed."""
        self._rule.settled(settled_end)
        needless = [number for number in self._asked if self._rule.end_of(number) is None]
        for number in needless:
            del self._asked[number]
        return [CancelFallback(number) for number in needless]

    def forget_lost(self) -> None:
        """Audio that is not kept any more can only be recognized by requests made before."""
        self._rule.forgotten(self._audio.start)
        if self._rule.trouble == "off":
            self._audio.forget_before(self._rule.unneeded_before(self._audio.end))

    def due(self, settled_end: int, *, now: float) -> list[RecognitionCommand]:
        """The requests due now. The audio is copied, because it may be forgotten before it is recognized."""
        audio, commands = self._audio, list[RecognitionCommand]()
        asks = self._rule.asks(
            settled_end=max(settled_end, audio.start), call_end=audio.end, now=now, quietest=self._quietest
        )
        for ask in asks:
            self._asked[ask.number] = ask
            start = max(ask.start, audio.start)
            commands.append(AskFallback(ask.number, audio.read(start, ask.audio_end - start), ask.urgent))
            commands.append(FallbackAsked(ask.start, ask.voice_end, ask.reason, self.source))
        return commands

    def next_deadline(self) -> float | None:
        """When requests may be due by time alone."""
        return self._rule.next_deadline()

    def answered(self, number: int, text: str) -> list[RecognitionCommand]:
        """The fallback's text; empty if it has no words. To be told once ``take_settled`` was called."""
        ask, end = self._asked.pop(number, None), self._rule.end_of(number)
        if ask is None or end is None:
            return []
        self._rule.answered(number, text)
        is_silent = not text or end < ask.voice_end
        return [FallbackSilent(ask.start, ask.voice_end, self.source)] if is_silent else []

    def failed(self, number: int, reason: str, *, now: float) -> list[RecognitionCommand]:
        """The fallback failed."""
        ask = self._asked.pop(number, None)
        if ask is None or self._rule.end_of(number) is None:
            return []
        if self._rule.failed(number, now=now):
            return [FallbackSilent(ask.start, ask.voice_end, self.source, reason)]
        return [Log("info", f"the fallback did not respond: {reason}; trying once more")]

    def take_settled(self, is_known: Callable[[int], bool]) -> SettledSpan | None:
        """The next text, in order; see ``FallbackRule``."""
        return self._rule.take_settled(is_known)

    def finish(self, *, now: float) -> None:
        """No more audio will come."""
        self._rule.finish(now=now)

    def give_up(self) -> list[RecognitionCommand]:
        """No answer is awaited any more: texts that waited for earlier ones can be taken."""
        why = "no response before the end of the call"
        silent = [FallbackSilent(start, end, self.source, why) for start, end in self._rule.unanswered]
        self._rule.give_up()
        needless = [CancelFallback(number) for number in self._asked]
        self._asked.clear()
        return [*silent, *needless]

    def _quietest(self, low: int, high: int) -> int:
        low = max(low, self._audio.start)
        return low + quietest_sample(self._audio.read(low, high - low))
