"""Which words of a text were heard, given how much of its audio was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastcall.events import SAMPLE_RATE_HZ

__all__ = ["Heard", "heard_text", "word_start"]

# Assumed pace of speech while the audio's length is unknown: about 160 words a minute.
LETTERS_PER_S = 15

_WORD = re.compile(r"\S+")


@dataclass(slots=True, frozen=True)
class Heard:
    """What the caller has heard of a speech."""

    text: str
    """The words of which at least the first half was heard; empty if the audio has no text."""
    ms: int
    """Duration of the audio heard."""
    is_whole: bool
    """Whether it was heard to the end."""


def heard_text(
    text: str, heard_samples: int, *, total_samples: int | None, word_ends: Sequence[int] | None = None
) -> str:
    """The beginning of ``text`` that was heard: its words whose middle lies in the first ``heard_samples``.

    :param total_samples: of the whole text's audio; None if it is not known yet
    :param word_ends: where in the audio each word ends, in samples; by default estimated from word lengths
    """
    if total_samples is not None and heard_samples >= total_samples:
        return text
    words = list(_WORD.finditer(text))
    start = last = 0
    for match, end in zip(words, _ends(words, total_samples, word_ends), strict=True):
        if (start + end) / 2 > heard_samples:
            break
        start, last = end, match.end()
    return text[:last]


def word_start(text: str, position: int, *, total_samples: int | None, word_ends: Sequence[int] | None = None) -> int:
    """Where the word begins that is spoken at ``position``, in samples; ``position`` itself if none is. The other
    arguments are those of ``heard_text``."""
    start = 0
    for end in _ends(list(_WORD.finditer(text)), total_samples, word_ends):
        if end > position:
            return min(start, position)
        start = end
    return position


def _ends(words: list[re.Match[str]], total_samples: int | None, word_ends: Sequence[int] | None) -> Sequence[int]:
    if word_ends is not None and len(word_ends) == len(words):
        return word_ends
    return _ends_by_letters([match[0] for match in words], total_samples)


def _ends_by_letters(words: list[str], total_samples: int | None) -> list[int]:
    letters = sum(len(word) + 1 for word in words)
    total = total_samples if total_samples is not None else letters * SAMPLE_RATE_HZ // LETTERS_PER_S
    ends, so_far = [], 0
    for word in words:
        so_far += len(word) + 1
        ends.append(total * so_far // letters)
    return ends
