"""Detects dropped interims: words of interims that a stream never finalized.

Recognizers sometimes drop an interim and continue with what follows. At that moment this looks like a retraction; the
next final's times distinguish them. If its first word began after the dropped words were reported, they cannot be about
the same speech.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcall.events import SAMPLES_PER_MS
from fastcall.recognition.alignment import matching_prefix, normalized
from fastcall.recognition.tokenization import joined, tokens_of

__all__ = ["DroppedInterims", "ReopenLimit"]

# No word is shorter; an interim arrives one or two pieces of audio after its last word.
MIN_WORD_SAMPLES = 80 * SAMPLES_PER_MS
MAX_OVERLAP_WORDS = 3
# A word that is replaced so soon was corrected, not dropped.
REWRITE_SAMPLES = 300 * SAMPLES_PER_MS
MAX_KEPT = 8
# How many streams are tried for words that one never finalized, before the interim counts.
MAX_ASKED = 2


class DroppedInterims:
    """The interims of one stream since the settled end, in call time. Pure; one thread."""

    def __init__(self) -> None:
        self._newest: list[str] = []
        self._newest_end = 0
        self._dropped: list[tuple[list[str], int]] = []

    def __bool__(self) -> bool:
        return bool(self._dropped)

    def reset(self) -> None:
        """Another stream recognizes everything after the settled end again."""
        self._newest, self._newest_end, self._dropped = [], 0, []

    def take_interim(self, text: str, end_sample: int) -> None:
        """The stream's newest hypothesis of everything after the settled end."""
        tokens = tokens_of(text)
        self._dropped = [each for each in self._dropped if not _goes_on(each[0], tokens)]
        was_put_right = len(self._newest) == 1 and end_sample - self._newest_end < REWRITE_SAMPLES
        if self._newest and tokens and not was_put_right and not _goes_on(self._newest, tokens):
            self._dropped = [*self._dropped[1 - MAX_KEPT :], (self._newest, self._newest_end)]
        self._newest, self._newest_end = tokens, end_sample

    def take_final(self, text: str, first_word_start: int | None, end_sample: int) -> list[tuple[str, int]]:
        """A final settles everything up to ``end_sample``.

        :param first_word_start: where it begins; None without word times, and then nothing is detected
        :return: (text, end) of earlier speech that was never settled, in order
        """
        told = [*self._dropped, (self._newest, self._newest_end)]
        self._dropped = []
        tokens = tokens_of(text)
        rest = self._newest[matching_prefix(tokens, self._newest) :]
        self._newest = rest if self._newest_end > end_sample else []
        if first_word_start is None:
            return []
        return [
            (joined(words), min(end, first_word_start))
            for words, end in told
            if words and not _is_settled(words, end - first_word_start, tokens)
        ]


class ReopenLimit:
    """How many streams are tried for the words after one settled end. Pure; one thread."""

    def __init__(self) -> None:
        self._settled_end = -1
        self._asked = 0

    def take(self, settled_end: int) -> bool:
        """Whether another may be tried; if so, it is counted."""
        if settled_end != self._settled_end:
            self._settled_end, self._asked = settled_end, 0
        self._asked += 1
        return self._asked <= MAX_ASKED


def _is_settled(told: Sequence[str], overlap_samples: int, tokens: Sequence[str]) -> bool:
    """Whether a final of ``tokens`` that began ``overlap_samples`` before the interim's end is about its speech."""
    if overlap_samples >= min(len(told), MAX_OVERLAP_WORDS) * MIN_WORD_SAMPLES:
        return True
    # Times are rounded, and words may seem too short: equal text is the same speech.
    says_the_same = [normalized(word) for word in told] == [normalized(word) for word in tokens[: len(told)]]
    return overlap_samples > 0 and says_the_same


def _goes_on(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether ``after`` still has most of the words of ``before``, in place."""
    if after[: len(before)] == before:
        return True
    pairs = zip(before, after, strict=False)
    same = sum(normalized(one) == normalized(other) for one, other in pairs)
    return same * 2 >= len(before)
