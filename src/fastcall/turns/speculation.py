"""Speculative start: an agent may start on an interim that seems to be the complete utterance.

An interim that has not changed for some time is *stable*. The agent starts on it, unheard; if the committed text has
the same words, its audio is released at once, else it is dropped and the agent starts again. Pure.
"""

from __future__ import annotations

from typing import Literal

from fastcall.wer import words

__all__ = ["Outcome", "Speculation"]

Outcome = Literal["kept", "changed", "none"]


class Speculation:
    """The rule of one call. One thread; time in seconds.

    :param after_s: how long an interim must be unchanged; 0: never start before the text is committed
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._interim: list[str] = []
        self._text = ""
        self._stable_at: float | None = None
        self._bet: list[str] | None = None

    def partial(self, text: str, *, now: float) -> bool:
        """The utterance's text so far.

        :return: whether a start was made on other words, and must be cancelled
        """
        spoken = words(text)
        if spoken == self._interim and self._stable_at is not None:
            return False
        self._interim, self._text = spoken, text
        self._stable_at = now + self._after_s if spoken and self._after_s and spoken != self._bet else None
        if self._bet is None or self._bet == spoken:
            return False
        self._bet = None
        return True

    def next_deadline(self) -> float | None:
        """When ``start`` will return a text, or None."""
        return self._stable_at

    def start(self, *, now: float) -> str | None:
        """The text to start on, once one has been stable long enough; reported once."""
        if self._stable_at is None or now < self._stable_at:
            return None
        self._stable_at = None
        self._bet = self._interim
        return self._text

    def committed(self, text: str) -> Outcome:
        """The utterance's text is committed: returns the outcome of the start made on it, if any."""
        bet, self._bet, self._stable_at, self._interim = self._bet, None, None, []
        if bet is None:
            return "none"
        return "kept" if bet == words(text) else "changed"
