"""The words of a language that show whether a speaker goes on: ``data/turns/<language>.toml``.

A text is compared as ``completeness.words_of`` returns it, and the lists are written that way.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.resources import files

__all__ = ["Lexicon", "Phrase", "lexicon_of"]

Phrase = tuple[str, ...]

_FORMER_CODES = {"iw": "he"}
_SUBTAG = re.compile(r"[a-z]{2,8}")


@dataclass(slots=True, frozen=True)
class Lexicon:
    """The lists of one language. The data file says what each is for; those it leaves out are empty."""

    going_on: frozenset[str] = frozenset()
    fillers: frozenset[str] = frozenset()
    openers: frozenset[str] = frozenset()
    corrections: frozenset[str] = frozenset()
    digits: frozenset[str] = frozenset()
    doubles: frozenset[str] = frozenset()
    triples: frozenset[str] = frozenset()
    yes_no: frozenset[str] = frozenset()
    auxiliaries: frozenset[str] = frozenset()
    inverted_subjects: frozenset[str] = frozenset()
    determiners: frozenset[str] = frozenset()
    question_words: frozenset[str] = frozenset()
    subordinators: frozenset[str] = frozenset()
    clause_subjects: frozenset[str] = frozenset()
    list_conjunctions: frozenset[str] = frozenset()
    list_prefixes: frozenset[str] = frozenset()
    going_on_phrases: frozenset[Phrase] = frozenset()
    closings: frozenset[Phrase] = frozenset()
    spelling_links: frozenset[Phrase] = frozenset()
    backchannels: frozenset[Phrase] = frozenset()
    voicemail: frozenset[Phrase] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known about the language."""
        return not (self.going_on or any(getattr(self, field.name) for field in fields(self)))


def lexicon_of(language: str | None) -> Lexicon:
    """The lexicon of a BCP 47 code, by its primary subtag; an empty one for a language without data.

    >>> "the" in lexicon_of("en-US").going_on, lexicon_of("tlh").is_empty
    (True, True)
    """
    primary = re.split("[-_]", language or "", maxsplit=1)[0].lower()
    if not _SUBTAG.fullmatch(primary):
        return Lexicon()
    return _loaded(_FORMER_CODES.get(primary, primary))


@lru_cache(maxsize=64)
def _loaded(primary: str) -> Lexicon:
    file = files("fastcall") / "data" / "turns" / f"{primary}.toml"
    if not file.is_file():
        return Lexicon()
    lists: dict[str, dict[str, list[str]]] = tomllib.loads(file.read_text(encoding="utf-8"))
    words = {name: frozenset(entries) for name, entries in lists["words"].items()}
    phrases = {name: frozenset(tuple(entry.split()) for entry in entries) for name, entries in lists["phrases"].items()}
    return Lexicon(**words, **phrases)  # type: ignore[arg-type]
