"""Which utterance a word belongs to: a function of the word's time and of the utterances, whatever came first.

Word times of the recognizer are exact: the word belongs to the nearest utterance. Estimated times are late rather than
early: the word belongs to the last utterance whose voice had begun by then. Times are call time, in samples.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

from fastcall.events import SAMPLES_PER_MS, Word
from fastcall.recognition.alignment import normalized
from fastcall.recognition.utterance import Utterance

__all__ = ["ORPHAN_SAMPLES", "assign", "carried", "nearest", "spread", "times_before"]

# A word this far outside all utterances belongs to none of them.
ORPHAN_SAMPLES = 1000 * SAMPLES_PER_MS
# The pace of fast speech.
WORD_SAMPLES = 200 * SAMPLES_PER_MS


def nearest(word: Word, utterances: Sequence[Utterance]) -> Utterance | None:
    """The utterance of a word whose time is known; None if all are too far away."""
    owner = min(utterances, key=lambda utterance: utterance.distance(word), default=None)
    return owner if owner is not None and owner.distance(word) <= ORPHAN_SAMPLES else None


def assign(words: list[str], times: Sequence[int], utterances: Sequence[Utterance]) -> list[list[str]]:
    """The words of each utterance, by estimated times, which never decrease. The first also gets what is before it."""
    if len(utterances) < 2:
        return [words]
    cuts = accumulate((bisect_left(times, utterance.voice_sample) for utterance in utterances[1:]), max)
    return [words[low:high] for low, high in pairwise([0, *cuts, len(words)])]


def carried(times: list[int], words: list[str], rewritten: list[str]) -> list[int]:
    """The times of ``words`` for another version of them: a word keeps its time, and one in place of it has the same.

    :return: of the first of ``rewritten``; words after these are new
    """
    if words[:-1] == rewritten[: max(0, len(words) - 1)]:  # as a rule
        return times[: len(rewritten)]
    one, other = [normalized(word) for word in words], [normalized(word) for word in rewritten]
    head = _alike(one, other)
    tail = _alike(one[head:][::-1], other[head:][::-1])
    end, end_rewritten = len(words) - tail, len(rewritten) - tail
    middle = times[head:end] + times[end : end + 1] * (end_rewritten - end)
    return times[:head] + middle[: end_rewritten - head] + times[end:]


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def times_before(end: int, count: int, *, low: int) -> list[int]:
    """Estimates for ``count`` words that were heard by ``end`` and not by ``low``: the last before ``end``."""
    if count <= 0:
        return []
    pace = min(WORD_SAMPLES, (end - low) // count)
    return list(range(end - pace * count + pace // 2, end, pace)) if pace > 0 else [low] * count


def spread(count: int, utterances: Sequence[Utterance], *, low: int, high: int) -> list[int]:
    """Estimates for ``count`` words somewhere between ``low`` and ``high``: evenly in the speech there."""
    speech = [
        range(max(u.voice_sample, low), high if u.end_sample is None else min(u.end_sample, high)) for u in utterances
    ]
    times = []
    for number in range(count):
        at = sum(map(len, speech)) * (2 * number + 1) // (2 * count)
        for part in speech:
            if at < len(part):
                times.append(part[at])
                break
            at -= len(part)
        else:
            times.append(high)
    return times
