"""How much of a hypothesis repeats what was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.recognition.alignment import first_of, matching_prefix, normalized, words_before

WORDS = st.lists(st.sampled_from("abcdefgh"), max_size=12)


def distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@pytest.mark.parametrize(
    ("given_", "hypothesis", "count"),
    [
        ("one two", "one two three", 2),
        ("one two", "won two three", 2),
        ("one two", "one", 1),
        ("", "one two", 0),
        ("one", "", 0),
        ("One, two.", "one two", 2),
        ("I scream now", "ice cream now please", 3),
    ],
)
def test_examples(given_: str, hypothesis: str, count: int) -> None:
    assert matching_prefix(given_.split(), hypothesis.split()) == count


@given(WORDS, WORDS)
def test_no_prefix_is_nearer(given_: list[str], hypothesis: list[str]) -> None:
    count = matching_prefix(given_, hypothesis)
    best = min(distance(given_, hypothesis[:n]) for n in range(len(hypothesis) + 1))
    assert distance(given_, hypothesis[:count]) == best


@given(WORDS, WORDS)
def test_what_was_given_whole_is_found_whole(given_: list[str], more: list[str]) -> None:
    assert matching_prefix(given_, [*given_, *more]) == len(given_)


def test_a_long_text_is_bounded_work() -> None:
    assert matching_prefix(["a"] * 3000, ["a"] * 2999 + ["b", "c"]) in range(2990, 3002)


def test_spelling_does_not_count() -> None:
    assert normalized("Don't!") == normalized("dont")
    assert normalized("...") == "..."


@pytest.mark.parametrize(("word", "other"), [("कि", "की"), ("कल", "कला"), ("பல்", "பல"), ("ไม่", "ไม")])
def test_vowel_signs_and_tones_make_another_word(word: str, other: str) -> None:
    assert normalized(word) == word
    assert normalized(word) != normalized(other)


def test_composed_and_decomposed_are_the_same() -> None:
    assert normalized("caf\u00e9") == normalized("CAFE\u0301")
    assert normalized("\u1112\u1161\u11ab") == normalized("한")


def test_points_that_may_be_left_out_do_not_count() -> None:
    assert normalized("שָׁלוֹם") == normalized("שלום")
    assert normalized("سَلَام") == normalized("سلام")


@pytest.mark.parametrize(
    ("given", "following", "sure", "likely", "count"),
    [
        ("one two three", "two three four", 0, 0, 1),
        ("one two three", "four five", 0, 0, 0),
        ("one two three", "four five", 0, 3, 3),
        ("one two three", "four five", 1, 0, 1),
        ("one two three", "three four", 0, 3, 2),
        ("one two three four", "three", 1, 1, 2),
        ("one two Three, four", "three", 0, 0, 2),
        ("one two um one", "one two three one", 0, 0, 0),
        ("one one two three", "one two three four", 0, 0, 1),
        ("one two three", "one two", 0, 3, 0),
        ("one two one", "one", 0, 3, 2),
        ("one two one", "one", 0, 0, 0),
        ("", "one", 0, 0, 0),
        ("one", "", 0, 0, 0),
        ("one", "", 0, 1, 1),
    ],
)
def test_the_words_before_what_follows(given: str, following: str, sure: int, likely: int, count: int) -> None:
    assert words_before(given.split(), following.split(), sure=sure, likely=likely) == count


@pytest.mark.parametrize(
    ("words", "given", "index"),
    [
        ("", "one", 0),
        ("one", "", 0),
        ("two three four", "one two three", 1),
        ("one two", "one two one two", 0),
        ("two three", "two one two three", 2),
        ("two", "one two", 1),
        ("two four", "one two three", 0),
    ],
)
def test_where_words_begin(words: str, given: str, index: int) -> None:
    assert first_of(words.split(), given.split()) == index
