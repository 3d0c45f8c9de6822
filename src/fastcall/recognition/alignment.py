"""How many words of a new hypothesis repeat words that were published before."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

__all__ = ["first_of", "matching_prefix", "normalized", "words_before"]

# A rewritten text differs by a few words, not by tens; this also bounds the work.
BAND_WORDS = 16


# Optional marks: the points of Hebrew, the vowel signs of Arabic.
_OPTIONAL_MARKS = (range(0x0591, 0x05C8), range(0x0610, 0x061B), range(0x064B, 0x0660), range(0x0670, 0x0671))


@lru_cache(maxsize=4096)  # each interim repeats the words of the one before
def normalized(word: str) -> str:
    """The word without case and punctuation, for comparing two recognizers' spellings; NFC.

    Vowel signs of Indic and other scripts are kept, like letters.

    >>> normalized("Caf\u0065\u0301!"), normalized("नहीं,")
    ('café', 'नहीं')
    """
    folded = word.casefold()
    if folded.isascii() and folded.isalnum():  # nearly every word
        return folded
    folded = unicodedata.normalize("NFC", folded)
    if folded.isalnum():
        return folded
    return "".join(filter(_is_of_word, folded)) or word


def _is_of_word(char: str) -> bool:
    if unicodedata.category(char)[0] == "M":
        return not any(ord(char) in marks for marks in _OPTIONAL_MARKS)
    return char.isalnum()


def matching_prefix(given: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Length of the prefix of ``hypothesis`` that corresponds to ``given``.

    The prefix with the smallest edit distance in words; among equals, the one whose length is nearest to
    ``len(given)``. Cost: at most ``len(given)`` times 33.

    >>> matching_prefix(["won", "two"], ["one", "two", "three"])
    2
    """
    wanted = [normalized(word) for word in given]
    offered = [normalized(word) for word in hypothesis[: len(given) + BAND_WORDS]]
    pairs = zip(wanted, offered, strict=False)
    same = next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(wanted), len(offered)))
    # The common prefix matches at no cost; nothing shorter can be better.
    return same + _nearest_prefix(wanted[same:], offered[same:])


def _nearest_prefix(wanted: list[str], offered: list[str]) -> int:
    """See ``matching_prefix``. A row has the distances of ``wanted`` so far to the prefixes in the band."""
    far = len(wanted) + len(offered) + 1
    low, row = 0, list(range(min(len(offered), BAND_WORDS) + 1))
    for i, word in enumerate(wanted, 1):
        low_above, above = low, [*row, far]
        low, high = max(0, i - BAND_WORDS), min(len(offered), i + BAND_WORDS)
        row = []
        for j in range(low, high + 1):
            best = above[j - low_above] + 1
            if j:
                diagonal = above[j - 1 - low_above] if j > low_above else far
                best = min(best, row[-1] + 1 if row else far, diagonal + (offered[j - 1] != word))
            row.append(best)
    if not row:
        return len(offered)  # shorter by more than the band
    return min(range(low, low + len(row)), key=lambda j: (row[j - low], abs(j - len(wanted))))


def words_before(given: Sequence[str], following: Sequence[str], *, sure: int = 0, likely: int = 0) -> int:
    """How many words at the start of ``given`` precede ``following``, which ``given`` may overlap.

    :param sure: the least number
    :param likely: the number if the words do not decide: ``given`` may be another version of ``following``

    >>> words_before(["one", "two", "three"], ["two", "three", "four"])
    1
    """
    words, head = [normalized(word) for word in given], [normalized(word) for word in following]
    lengths = {index: min(len(words) - index, len(head)) for index in range(sure, len(words))}
    shown = [index for index, same in lengths.items() if same and words[index : index + same] == head[:same]]
    likely = max(sure, likely)
    if not shown:
        return likely
    count = min(shown, key=lambda index: abs(index - likely))
    is_chance = count > sure == likely and words[sure] == head[0] and lengths[count] * 2 < len(words) - sure
    return sure if is_chance else count


def first_of(words: Sequence[str], given: Sequence[str]) -> int:
    """Where ``words`` begin in ``given``, by their first two; 0 if they are not found.

    >>> first_of(["two", "three", "four"], ["one", "two", "three"])
    1
    """
    head = [normalized(word) for word in words[:2]]
    hay = [normalized(word) for word in given]
    return next((i for i in range(len(hay)) if head and hay[i : i + len(head)] == head), 0)
