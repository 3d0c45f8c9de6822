"""Builds a JSGF grammar from a request's phrases. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["MAX_PHRASES", "jsgf_from_phrases"]

MAX_PHRASES: Final = 5000  # Google's limit per request

_WORD: Final = re.compile(r"[a-z][a-z'.-]*")


def jsgf_from_phrases(phrases: Iterable[str], is_known: Callable[[str], bool]) -> tuple[str | None, tuple[str, ...]]:
    """Return a grammar of the phrases in any order, and the phrases that it omits.

    A phrase is omitted if one of its words is not in the dictionary (`is_known`) or not a plain word, because a
    single unknown word would make the whole grammar unusable. None if no phrase remains.
    """
    kept: dict[str, None] = {}  # in order, each once
    dropped = []
    for phrase in phrases:
        words = [word.strip('.,;:!?"()') for word in phrase.lower().split()]
        words = [word for word in words if word]
        if words and len(kept) < MAX_PHRASES and all(_WORD.fullmatch(word) and is_known(word) for word in words):
            kept[" ".join(words)] = None
        else:
            dropped.append(phrase)
    if not kept:
        return None, tuple(dropped)
    return f"#JSGF V1.0;\ngrammar phrases;\npublic <s> = ( {' | '.join(kept)} )+ ;\n", tuple(dropped)
