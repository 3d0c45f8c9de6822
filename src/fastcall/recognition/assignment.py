"""Which utterance a word belongs to: a function of when the word was said and of the utterances, whatever came first.

Word times of the recognizer are exact: the word belongs to the nearest utterance. Other words have a span only, within
which they were said: from the end of what was known without them to the end of the result that has them. They belong to
the last utterance whose voice had begun by then; those whose span has speech of several are shared by its length.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import itemgetter

from fastcall.events import SAMPLES_PER_MS, Word
from fastcall.recognition.alignment import normalized
from fastcall.recognition.utterance import Utterance

__all__ = ["ORPHAN_SAMPLES", "Span", "assign", "carried", "nearest"]

# A word this far outside all utterances belongs to none of them.
ORPHAN_SAMPLES = 1000 * SAMPLES_PER_MS

Span = tuple[int, int]
"""After which sample words were said, and by which; call time."""


def nearest(word: Word, utterances: Sequence[Utterance]) -> Utterance | None:
    """The utterance of a word whose time is known; None if all are too far away."""
    owner = min(utterances, key=lambda utterance: utterance.distance(word), default=None)
    return owner if owner is not None and owner.distance(word) <= ORPHAN_SAMPLES else None


def assign(words: list[str], spans: Sequence[Span], utterances: Sequence[Utterance]) -> list[list[str]]:
    """The words of each utterance, in order. The first also gets what was said before it.

    :param spans: of ``words``; neither their begins nor their ends decrease
    """
    if len(utterances) < 2 or not words:
        return [words] * len(utterances)
    cuts = accumulate((_words_before(index, spans, utterances) for index in range(1, len(utterances))), max)
    return [words[low:high] for low, high in pairwise([0, *cuts, len(words)])]


def _words_before(index: int, spans: Sequence[Span], utterances: Sequence[Utterance]) -> int:
    """How many words were said before the utterance at ``index``."""
    voice = utterances[index].voice_sample
    first = bisect_right(spans, voice, key=itemgetter(1))
    last = bisect_left(spans, voice, key=itemgetter(0))
    if first >= last:
        return first
    speech = [utterance.speech_in(spans[first][0], spans[last - 1][1]) for utterance in utterances]
    return first + round((last - first) * sum(speech[:index]) / sum(speech)) if any(speech) else last


def carried(spans: list[Span], words: list[str], rewritten: list[str]) -> list[Span]:
    """The spans of ``words`` for another version of them: a word keeps its span, and one in its place inherits it.

    :return: of the first of ``rewritten``; words after these are new
    """
    if words[:-1] == rewritten[: max(0, len(words) - 1)]:  # as a rule
        return spans[: len(rewritten)]
    one, other = [normalized(word) for word in words], [normalized(word) for word in rewritten]
    head = _alike(one, other)
    tail = _alike(one[head:][::-1], other[head:][::-1])
    end, end_rewritten = len(words) - tail, len(rewritten) - tail
    middle = spans[head:end] + spans[end : end + 1] * (end_rewritten - end)
    return spans[:head] + middle[: end_rewritten - head] + spans[end:]


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
