"""What is known of the speech after F, the end of the last accepted final.

Usually that is the owner's newest interim. While streams change it is more: a new owner recognizes everything after F
again, and lags behind until it has caught up; the stream that it replaces (the *outgoing* one) still recognizes current
speech. Its words count until the owner has caught up, minus those that the owner's finals have settled since.
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
    """The text after F, from one stream or from two. Pure; one thread."""

    def __init__(self) -> None:
        self.final_end = 0
        """F, in call time."""
        self.text = ""
        """The text after F, stripped."""
        self.end_sample = 0
        """The end of ``text``; call time, never before F."""
        self._is_behind = False
        self._owner_text = ""
        self._owner_end = 0
        self._unfinished = DroppedInterims()
        # While there is an outgoing stream: its words since it was replaced, finals and newest interim, and the text
        # settled since then, which may be less or more.
        self._has_outgoing = False
        self._outgoing_finals: list[str] = []
        self._outgoing_interim: list[str] = []
        self._settled: list[str] = []
        # If F cuts into speech: the known next word, and the one after it, if any.
        self._at_cut: tuple[str, str] | None = None

    @property
    def is_unsettled(self) -> bool:
        """Whether there are words that no final has settled."""
        return bool(self.text) or bool(self._unfinished)

    @property
    def is_behind(self) -> bool:
        """Whether the owner has not yet reached ``end_sample``."""
        return self._is_behind

    def owner_changed(self) -> None:
        """A new owner begins at F. The previous stream has ended, or is the outgoing one."""
        self._is_behind = True
        self._owner_text, self._owner_end = "", self.final_end
        self._unfinished.reset()

    def handed_over(self) -> None:
        """The current owner becomes the outgoing stream."""
        self._has_outgoing = True
        self._outgoing_finals, self._outgoing_interim, self._settled = [], tokens_of(self.text), []

    def outgoing_gone(self) -> None:
        """There is no outgoing stream any more."""
        self._has_outgoing = False
        self._outgoing_finals, self._outgoing_interim, self._settled = [], [], []

    def recall(self, texts: Sequence[str]) -> None:
        """Words of the outgoing stream from before its newest interim, which dropped them: they are kept."""
        self._outgoing_finals = [word for text in texts for word in tokens_of(text)] + self._outgoing_finals

    def forgotten_before(self, text: str, first_word_start: int | None, end_sample: int) -> list[tuple[str, int]]:
        """Call it once before ``take_final``: words that the owner dropped, as (text, end)."""
        return self._unfinished.take_final(text, first_word_start, end_sample)

    def nothing_follows(self) -> None:
        """Nobody has spoken after F: interim words there that the final left out are retracted."""
        self._unfinished.reset()

    def take_final(self, text: str, end_sample: int) -> None:
        """The owner settled everything up to ``end_sample``; F does not go back."""
        self.final_end = max(self.final_end, end_sample)
        self._owner_text, self._owner_end = "", self.final_end
        self._at_cut = None
        tokens = tokens_of(text)
        if self._has_outgoing:
            self._settled += tokens
        known = tokens_of(self.text)
        rest = known[matching_prefix(tokens, known) :]
        if self._is_behind and self._is_short(self.final_end, len(known) - len(rest)):
            self.text = joined(rest)
        else:
            self.text = ""
            self._is_behind = False
            self.end_sample = self.final_end

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
        """``text``, which follows F, with the word cut there replaced by the complete word known before.

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
            whole = Word(cut, self.final_end, self.final_end)
            return joined([cut, *tokens]), (whole, *words) if words else ()
        if following and second == after:
            return joined([cut, *tokens[1:]]), tuple(replace(word, text=cut) for word in words[:1]) + words[1:]
        return text, words

    def take_interim(self, text: str, end_sample: int) -> bool:
        """The owner's newest hypothesis.

        :return: whether it was accepted: one that is behind the known text waits for ``caught_up``
        """
        text = self.mended(text.strip())[0] if text else ""
        self._owner_text, self._owner_end = text, max(end_sample, self.final_end)
        self._unfinished.take_interim(text, self._owner_end)
        if self._is_behind and self._is_short(end_sample, len(tokens_of(text))):
            return False
        self.caught_up()
        return True

    def _is_short(self, end_sample: int, words: int) -> bool:
        """Whether the owner is behind the known text. The slack is longer than a short word."""
        slack = SLACK_SAMPLES if words >= len(tokens_of(self.text)) else 0
        return end_sample < self.end_sample - slack

    def caught_up(self) -> bool:
        """Use the owner's text from now on, whatever was known before.

        :return: whether the text changed
        """
        before = self.text
        self._is_behind = False
        self.text, self.end_sample = self._owner_text, self._owner_end
        return self.text != before

    def take_outgoing(self, finals: Sequence[str], interim: str, end_sample: int) -> bool:
        """Results of the outgoing stream: finals, which do not move F, and the interim that follows them.

        :return: whether they were accepted; not if the owner has caught up
        """
        for final in finals:
            self._outgoing_finals += tokens_of(final)
        self._outgoing_interim = tokens_of(interim)
        rest = self._outgoing_rest()
        if end_sample < self.end_sample:
            return False
        if not self._is_behind and (end_sample == self.end_sample or len(rest) <= len(tokens_of(self.text))):
            return False
        self._is_behind = True  # maybe again: it had caught up with the text known before
        self.text = joined(rest)
        self.end_sample = max(end_sample, self.final_end)
        return True

    def _outgoing_rest(self) -> list[str]:
        told = self._outgoing_finals + self._outgoing_interim
        return told[matching_prefix(self._settled, told) :]
