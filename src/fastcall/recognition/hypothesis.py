"""What is known of the speech after the *settled end*, where the last accepted final ends.

As a rule that is the newest interim of the active stream. While a stream is being replaced it is more: the new active
stream hears everything after the settled end again, and until it has caught up it knows less than is known already,
while the stream that it replaces (the *draining* one) still hears what is said. The draining stream's words count until
then, less those that finals of the active stream have settled since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastcall.events import SAMPLES_PER_MS, Word
from fastcall.recognition.alignment import first_of, matching_prefix, normalized
from fastcall.recognition.dropped_interims import DroppedInterims
from fastcall.recognition.tokenization import joined, tokens_of

__all__ = ["Hypothesis"]

# Recognizers round times, and two of them never end at the same sample.
SLACK_SAMPLES = 300 * SAMPLES_PER_MS


class Hypothesis:
    """The text after the settled end, from one stream or two. Pure; one thread."""

    def __init__(self) -> None:
        self.settled_end = 0
        """Where the last accepted final ends, in call time."""
        self.text = ""
        """The text after the settled end, stripped."""
        self.end_sample = 0
        """The end of ``text``; call time, never before the settled end."""
        self._is_behind = False
        self._active_text = ""
        self._active_end = 0
        self._unfinished = DroppedInterims()
        # While there is a draining stream: its words since it was replaced, finals and newest interim, and the text
        # settled since then, which may be less or more.
        self._has_draining = False
        self._draining_finals: list[str] = []
        self._draining_interim: list[str] = []
        self._settled: list[str] = []
        # If the settled end cuts into speech: the known next word, and the one after it, if any.
        self._at_cut: tuple[str, str] | None = None

    @property
    def is_unsettled(self) -> bool:
        """Whether there are words that no final has settled."""
        return bool(self.text) or bool(self._unfinished)

    @property
    def is_behind(self) -> bool:
        """Whether the active stream has not yet reached ``end_sample``."""
        return self._is_behind

    def active_changed(self) -> None:
        """A new active stream begins at the settled end. The previous stream has ended, or is the draining one."""
        self._is_behind = True
        self._active_text, self._active_end = "", self.settled_end
        self._unfinished.reset()

    def handed_over(self) -> None:
        """The current owner becomes the draining stream."""
        self._has_draining = True
        self._draining_finals, self._draining_interim, self._settled = [], tokens_of(self.text), []

    def draining_gone(self) -> None:
        """There is no draining stream any more."""
        self._has_draining = False
        self._draining_finals, self._draining_interim, self._settled = [], [], []

    def recall(self, texts: Sequence[str]) -> None:
        """Words of the draining stream from before its newest interim, which dropped them: they are kept."""
        self._draining_finals = [word for text in texts for word in tokens_of(text)] + self._draining_finals

    def dropped_before(self, text: str, first_word_start: int | None, end_sample: int) -> list[tuple[str, int]]:
        """Call it once before ``take_final``: words that the active stream dropped, as (text, end)."""
        return self._unfinished.take_final(text, first_word_start, end_sample)

    def nothing_follows(self) -> None:
        """Nobody has spoken after the settled end: interim words there that the final left out are retracted."""
        self._unfinished.reset()

    def take_final(self, text: str, end_sample: int) -> None:
        """The active stream settled everything up to ``end_sample``; the settled end never goes back."""
        self.settled_end = max(self.settled_end, end_sample)
        self._active_text, self._active_end = "", self.settled_end
        self._at_cut = None
        tokens = tokens_of(text)
        if self._has_draining:
            self._settled += tokens
        known = tokens_of(self.text)
        rest = known[matching_prefix(tokens, known) :]
        if self._is_behind and self._is_short(self.settled_end, len(known) - len(rest)):
            self.text = joined(rest)
        else:
            self.text = ""
            self._is_behind = False
            self.end_sample = self.settled_end

    def settled_elsewhere(self, text: str, end_sample: int, *, is_cut: bool = False) -> None:
        """The fallback settled a span up to ``end_sample``: words after it are kept.

        :param is_cut: the span ends without a pause, maybe within a word that nobody gets completely
        """
        self._is_behind = True
        known = tokens_of(self.text)
        self.text = joined(known[first_of(tokens_of(text), known) :])
        self.take_final(text, end_sample)
        rest = tokens_of(self.text)
        self._at_cut = (rest[0], joined(rest[1:2])) if is_cut and rest else None

    def mended(self, text: str, words: tuple[Word, ...] = ()) -> tuple[str, tuple[Word, ...]]:
        """``text``, which follows the settled end, with the word cut there replaced by the complete word known before.

        It is missing if ``text`` begins with the word after it, or is empty and no word is after it; whatever precedes
        the word after it is a misrecognition of its rest.

        :param words: those of ``text``, if their times are known
        """
        if self._at_cut is None:
            return text, words
        tokens, (cut, following) = tokens_of(text), self._at_cut
        after = normalized(following)
        first, second = [*(normalized(word) for word in tokens[:2]), "", ""][:2]
        if first == after != normalized(cut):
            whole = Word(cut, self.settled_end, self.settled_end)
            return joined([cut, *tokens]), (whole, *words) if words else ()
        if following and second == after:
            return joined([cut, *tokens[1:]]), tuple(replace(word, text=cut) for word in words[:1]) + words[1:]
        return text, words

    def take_interim(self, text: str, end_sample: int) -> bool:
        """The active stream's newest hypothesis.

        :return: whether it was accepted: one that is behind the known text waits for ``caught_up``
        """
        text = self.mended(text.strip())[0] if text else ""
        self._active_text, self._active_end = text, max(end_sample, self.settled_end)
        self._unfinished.take_interim(text, self._active_end)
        if self._is_behind and self._is_short(end_sample, len(tokens_of(text))):
            return False
        self.caught_up()
        return True

    def _is_short(self, end_sample: int, words: int) -> bool:
        """Whether the active stream is behind the known text. The slack is longer than a short word."""
        slack = SLACK_SAMPLES if words >= len(tokens_of(self.text)) else 0
        return end_sample < self.end_sample - slack

    def caught_up(self) -> bool:
        """Use the active stream's text from now on, whatever was known before.

        :return: whether the text changed
        """
        before = self.text
        self._is_behind = False
        self.text, self.end_sample = self._active_text, self._active_end
        return self.text != before

    def take_draining(self, finals: Sequence[str], interim: str, end_sample: int) -> bool:
        """Results of the draining stream: finals, which do not move the settled end, and the interim that follows them.

        :return: whether they were accepted; not if the active stream has caught up
        """
        for final in finals:
            self._draining_finals += tokens_of(final)
        self._draining_interim = tokens_of(interim)
        rest = self._draining_rest()
        if end_sample < self.end_sample:
            return False
        if not self._is_behind and (end_sample == self.end_sample or len(rest) <= len(tokens_of(self.text))):
            return False
        self._is_behind = True  # maybe again: it had caught up with the text known before
        self.text = joined(rest)
        self.end_sample = max(end_sample, self.settled_end)
        return True

    def _draining_rest(self) -> list[str]:
        told = self._draining_finals + self._draining_interim
        return told[matching_prefix(self._settled, told) :]
