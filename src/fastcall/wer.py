"""Compares recognized with spoken words: which are right, wrong, missing or extra.

Word error rate, the usual measure of speech recognition: words are aligned with the fewest edits (Levenshtein), and the
rate is edits divided by words said. Case and punctuation are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Edit", "Score", "align", "score", "words"]

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Edit:
    """One pair of the alignment. ``said`` is empty for an extra word, ``heard`` for a missing one."""

    kind: Literal["right", "wrong", "missing", "extra"]
    said: str
    heard: str


@dataclass(frozen=True, slots=True)
class Score:
    """The counts of an alignment, in words."""

    said: int
    wrong: int
    missing: int
    extra: int

    @property
    def errors(self) -> int:
        """Edits that turn what was said into what was heard."""
        return self.wrong + self.missing + self.extra


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def align(said: Sequence[str], heard: Sequence[str]) -> list[Edit]:
    """The alignment with the fewest edits. Takes time and memory proportional to ``len(said) * len(heard)``.

    :return: edits in the order of the texts
    """
    cost = [[row + column for column in range(len(heard) + 1)] for row in range(len(said) + 1)]
    for i, word in enumerate(said, 1):
        for j, other in enumerate(heard, 1):
            same = cost[i - 1][j - 1] + (word != other)
            cost[i][j] = min(same, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    edits: list[Edit] = []
    i, j = len(said), len(heard)
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (said[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            edits.append(Edit("right" if said[i] == heard[j] else "wrong", said[i], heard[j]))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            edits.append(Edit("missing", said[i], ""))
        else:
            j -= 1
            edits.append(Edit("extra", "", heard[j]))
    return edits[::-1]


def score(said: str, heard: str) -> Score:
    """Align two texts and count the errors."""
    expected = words(said)
    kinds = [edit.kind for edit in align(expected, words(heard))]
    return Score(len(expected), kinds.count("wrong"), kinds.count("missing"), kinds.count("extra"))
