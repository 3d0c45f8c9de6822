"""Barge-in: decides when a caller who speaks while the agent does interrupts it.

By default at the first sound; or only after some duration of voice or number of words, so that a cough does not stop
the agent. Voice is counted from the first voiced frame to the newest one, without the silence that ends an utterance.
Pure; time is an argument in seconds.
"""

from __future__ import annotations

__all__ = ["BargeIn"]

# Voice comes in frames of 20 ms; checking more often shows nothing new.
LOOK_AGAIN_S = 0.02


class BargeIn:
    """The rule of one call. One thread.

    :param is_on: whether a caller can interrupt at all
    :param min_ms: voice needed; 0: not required
    :param min_words: words needed; 0: not required. With both, either is enough
    """

    def __init__(self, *, is_on: bool, min_ms: int = 0, min_words: int = 0) -> None:
        self._is_on = is_on
        self._min_ms = min_ms
        self._min_words = min_words
        self._is_open = False
        self._look_at: float | None = None

    def speech_began(self, voiced_ms: int, *, now: float) -> bool:
        """The caller began to speak.

        :param voiced_ms: voice so far
        :return: whether to stop the agent now, if it speaks; reported once per utterance
        """
        self._is_open = self._is_on
        self._look_at = None
        if self._is_open and not self._min_ms and not self._min_words:
            return self._yes()
        return self.poll(voiced_ms, now=now)

    def poll(self, voiced_ms: int, *, now: float) -> bool:
        """The same, with the voice until ``now``; call it at ``next_deadline`` at the latest."""
        if not self._is_open or not self._min_ms:
            return False
        if voiced_ms >= self._min_ms:
            return self._yes()
        self._look_at = now + max(LOOK_AGAIN_S, (self._min_ms - voiced_ms) / 1000)
        return False

    def words_known(self, words: int) -> bool:
        """The same, when the utterance has so many words."""
        return self._is_open and bool(self._min_words) and words >= self._min_words and self._yes()

    def speech_ended(self) -> None:
        """The caller stopped speaking; words may still come."""
        self._look_at = None

    def next_deadline(self) -> float | None:
        """When to call ``poll``, or None."""
        return self._look_at

    def _yes(self) -> bool:
        self._is_open = False
        self._look_at = None
        return True
