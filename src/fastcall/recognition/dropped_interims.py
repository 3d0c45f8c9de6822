"""A final that never came: words that a stream's interims told of, and that it then forgot.

Recognizers have been seen to drop what they had as an interim and go on with what follows. A retraction looks the
same at that moment; the next final tells them apart by time. Where its first word began when the dropped words had
already been told, they cannot be about the same speech.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcall.events import SAMPLES_PER_MS
from fastcall.recognition.alignment import matching_prefix, normalized
from fastcall.recognition.tokenization import joined, tokens_of

__all__ = ["DroppedInterims", "ReopenLimit"]

# Nobody says a word in less; an interim is told a piece of audio or two after its last word.
MIN_WORD_SAMPLES = 80 * SAMPLES_PER_MS
MAX_OVERLAP_WORDS = 3
# One word that is replaced by another so soon was put right, not forgotten.
REWRITE_SAMPLES = 300 * SAMPLES_PER_MS
MAX_KEPT = 8
# So many streams are asked for words that one told of and never settled, before what was told counts.
MAX_ASKED = 2


class DroppedInterims:
    """The dropped interims of one stream since the settled end, by call time. Pure; one thread."""

    def __init__(self) -> None:
        self._newest: list[str] = []
        self._newest_end = 0
        self._dropped: list[tuple[list[str], int]] = []

    def __bool__(self) -> bool:
        return bool(self._dropped)

    def reset(self) -> None:
        """Another stream hears everything after the settled end again."""
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

        :param first_word_start: where it begins; None if it has no word times, and then nothing can be told
        :return: (text, end) of what was said before it and never settled, in order
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
    """How many streams may be opened to hear what follows one settled end. Pure; one thread."""

    def __init__(self) -> None:
        self._settled_end = -1
        self._asked = 0

    def take(self, settled_end: int) -> bool:
        """Whether another may be asked, and then it counts as asked."""
        if settled_end != self._settled_end:
            self._settled_end, self._asked = settled_end, 0
        self._asked += 1
        return self._asked <= MAX_ASKED


def _is_settled(told: Sequence[str], overlap_samples: int, tokens: Sequence[str]) -> bool:
    """Whether a final of ``tokens`` that began ``overlap_samples`` before the end of what was told is about it."""
    if overlap_samples >= min(len(told), MAX_OVERLAP_WORDS) * MIN_WORD_SAMPLES:
        return True
    # Times are rounded, and a word may seem shorter than anybody says one: that which says the same is the same.
    says_the_same = [normalized(word) for word in told] == [normalized(word) for word in tokens[: len(told)]]
    return overlap_samples > 0 and says_the_same


def _goes_on(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether ``after`` still says most of what ``before`` said, in its place."""
    pairs = zip(before, after, strict=False)
    same = sum(normalized(one) == normalized(other) for one, other in pairs)
    return same * 2 >= len(before)
