"""Splits a text into tokens: words in scripts with spaces between them, characters in others.

Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without spaces between words. Their texts are compared and
divided by characters (a base with its combining marks), and keep the recognizer's spelling.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["joined", "tokens_by_word", "tokens_of"]

# Unicode blocks: Thai and Lao, Burmese, Khmer, CJK radicals to Bopomofo (with punctuation and kana), its extensions,
# ideographs, compatibility ideographs, full-width forms, the supplementary ideographic planes.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3001-\u312f\u3190-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff00-\uff9f\U00020000-\U0003ffff]"
)
# The consonant after one of these is written below the one before: Khmer's coeng, the virama of Burmese.
_STACKERS = "\u17d2\u1039"
# How far from its expected place in a result's text a word is searched.
_SEARCH_CHARACTERS = 32


def tokens_of(text: str) -> list[str]:
    """The tokens of ``text``; punctuation stays with the token before it.

    A token next to a character of an unspaced script keeps the space before it, so that ``joined`` restores the text.

    >>> tokens_of("tell me"), tokens_of("你好，我有 iPhone")
    (['tell', 'me'], ['你', '好，', '我', '有', ' iPhone'])
    """
    if not _UNSPACED.search(text):
        return text.split()
    tokens: list[str] = []
    token: list[str] = []
    space, before = "", ""
    has_letter = is_unspaced = False
    for char in text:
        if char.isspace():
            space = space or char
            continue
        char_is_unspaced = _UNSPACED.match(char) is not None
        if token and (space or not _belongs_to(char, before, has_letter, is_unspaced, char_is_unspaced)):
            tokens.append("".join(token))
            token, has_letter, is_unspaced = [space], False, False
        token.append(char)
        space, before = "", char
        has_letter = has_letter or char.isalnum()
        is_unspaced = is_unspaced or char_is_unspaced
    tokens.append("".join(token))
    return tokens


def _belongs_to(char: str, before: str, has_letter: bool, is_unspaced: bool, char_is_unspaced: bool) -> bool:
    """Whether ``char`` goes on with the token that ends with ``before``, directly before it.

    :param has_letter: whether the token has a letter or a digit
    :param is_unspaced: whether it has a character of an unspaced script; ``char_is_unspaced``: whether ``char`` is one
    """
    category = unicodedata.category(char)
    if category[0] == "M" or category == "Cf" or before in _STACKERS:
        return True
    if char.isalnum():
        return not has_letter or not (is_unspaced or char_is_unspaced)
    opens = category in ("Ps", "Pi") and (is_unspaced or char_is_unspaced)
    return not (opens and has_letter)


def joined(tokens: Sequence[str]) -> str:
    """The text of ``tokens``, which may be of several texts; stripped.

    >>> joined(["你", "好，", "我", "有", " iPhone"]), joined(["tell", "me"])
    ('你好，我有 iPhone', 'tell me')
    """
    text = " ".join(tokens)
    if not _UNSPACED.search(text) and "  " not in text:
        return text.strip()
    parts: list[str] = []
    is_spaced = False
    for token in tokens:
        was_spaced, is_spaced = is_spaced, not _UNSPACED.search(token)
        if was_spaced and is_spaced and not token[0].isspace():
            parts.append(" ")
        parts.append(token)
    return "".join(parts).strip()


def tokens_by_word(text: str, words: Sequence[str]) -> list[list[str]]:
    """The tokens of ``text`` by the recognizer's words for it; in order, and all of them.

    A text may spell its words differently: tokens between two words found are divided evenly.
    """
    tokens = tokens_of(text)
    if len(tokens) == len(words) and not _UNSPACED.search(text):
        return [[token] for token in tokens]
    starts = _starts(tokens, words)
    return [tokens[low:high] for low, high in zip(starts, [*starts[1:], len(tokens)], strict=True)]


def _starts(tokens: Sequence[str], words: Sequence[str]) -> list[int]:
    """At which token each word begins."""
    plain = [_folded(token) for token in tokens]
    text = "".join(plain)
    token_at = [index for index, token in enumerate(plain) for _ in token] + [len(tokens)]
    starts: list[int] = []
    at = 0
    unfound = 0
    for word in words:
        wanted = _folded(word)
        found = text.find(wanted, at, at + len(wanted) + _SEARCH_CHARACTERS) if wanted else -1
        if found < 0:
            unfound += 1
            continue
        starts += _evenly(token_at[at], token_at[found], unfound)
        starts.append(token_at[found])
        at, unfound = found + len(wanted), 0
    starts += _evenly(token_at[at], len(tokens), unfound)
    return [0, *starts[1:]] if starts else starts


def _evenly(low: int, high: int, count: int) -> list[int]:
    return [low + (high - low) * index // count for index in range(count)]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", "".join(text.split())).casefold()
