"""From a request's phrases to a JSGF grammar. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["MAX_PHRASES", "jsgf_from_phrases"]

MAX_PHRASES: Final = 5000  # as many as Google takes in a request

_WORD: Final = re.compile(r"[a-z][a-z'.-]*")


def jsgf_from_phrases(phrases: Iterable[str], is_known: Callable[[str], bool]) -> tuple[str | None, tuple[str, ...]]:
    """Return a grammar of the phrases in any order, and the phrases that it leaves out.

    A phrase is left out when one of its words is not in the dictionary (`is_known`) or is no plain word: a
    single unknown word would make the whole grammar unusable. None when no phrase is left.
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
