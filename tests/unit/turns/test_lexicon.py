"""The word lists of each language, and which language a code means."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from importlib.resources import files

import pytest

from fastcall.turns.completeness import words_of
from fastcall.turns.lexicon import Lexicon, lexicon_of

DATA = files("fastcall") / "data" / "turns"
LANGUAGES = sorted(file.name.removesuffix(".toml") for file in DATA.iterdir())
LISTS = {
    (language, name): entries
    for language in LANGUAGES
    for table in tomllib.loads((DATA / f"{language}.toml").read_text(encoding="utf-8")).values()
    for name, entries in table.items()
}


def test_there_are_two_languages():
    assert LANGUAGES == ["en", "he"]


@pytest.mark.parametrize("code", ["en", "en-US", "EN-gb", "en_US", "en-Latn-US"])
def test_a_code_means_its_primary_subtag(code: str) -> None:
    assert "the" in lexicon_of(code).going_on


@pytest.mark.parametrize("code", ["he", "he-IL", "iw", "iw-IL"])
def test_hebrew_has_two_codes(code: str) -> None:
    assert "של" in lexicon_of(code).going_on


@pytest.mark.parametrize("code", [None, "", "tlh", "eng", "x-en", "../turns/en", "e", "en.toml", "12"])
def test_an_unknown_language_has_an_empty_lexicon(code: str | None) -> None:
    assert lexicon_of(code) == Lexicon()
    assert lexicon_of(code).is_empty


def test_a_lexicon_is_loaded_once() -> None:
    assert lexicon_of("en-US") is lexicon_of("en-GB")
    assert not lexicon_of("en").is_empty


def test_a_lexicon_with_one_word_is_not_empty() -> None:
    assert not Lexicon(voicemail=frozenset({("beep",)})).is_empty


@pytest.mark.parametrize(("language", "name"), LISTS)
def test_each_list_is_sound(language: str, name: str) -> None:
    entries = LISTS[language, name]
    assert entries
    assert sorted({entry for entry in entries if entries.count(entry) > 1}) == []
    assert [entry for entry in entries if " ".join(words_of(entry)) != entry or entry != entry.lower()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_single_and_none_is_lost(language: str) -> None:
    tables = tomllib.loads((DATA / f"{language}.toml").read_text(encoding="utf-8"))
    assert [word for entries in tables["words"].values() for word in entries if " " in word] == []
    lexicon = lexicon_of(language)
    sizes = {field.name: len(getattr(lexicon, field.name)) for field in fields(lexicon)}
    assert {name: size for name, size in sizes.items() if size} == {
        name: len(entries) for (owner, name), entries in LISTS.items() if owner == language
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_list_contradicts_another(language: str) -> None:
    lexicon = lexicon_of(language)
    going_on = {(word,) for word in lexicon.going_on | lexicon.fillers} | lexicon.going_on_phrases
    assert going_on & lexicon.closings == set()
    assert lexicon.going_on & (lexicon.yes_no | lexicon.digits | lexicon.doubles | lexicon.triples) == set()
    assert lexicon.digits & (lexicon.doubles | lexicon.triples) == set()
    assert lexicon.doubles & lexicon.triples == set()
    assert lexicon.fillers & (lexicon.yes_no | lexicon.digits | lexicon.question_words) == set()
    assert lexicon.voicemail & lexicon.backchannels == set()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["going_on_phrases", "closings"])
def test_no_phrase_ends_in_another_of_its_list(language: str, name: str) -> None:
    """The longer one could never decide."""
    phrases = {" ".join(phrase) for phrase in getattr(lexicon_of(language), name)}
    assert {long for long in phrases for short in phrases if long.endswith(f" {short}")} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_voicemail_phrase_contains_another(language: str) -> None:
    phrases = {" ".join(phrase) for phrase in lexicon_of(language).voicemail}
    assert {long for long in phrases for short in phrases if long != short and f" {short} " in f" {long} "} == set()
