"""wer.py: the alignment has the fewest edits and loses no word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.wer import Score, align, score, words

TEXTS = st.lists(st.sampled_from("abc"), max_size=7)


def test_words_have_no_case_and_no_punctuation() -> None:
    assert words("Seven o'clock, PLEASE!  I'm  in_a hurry.") == [
        "seven", "o'clock", "please", "i'm", "in", "a", "hurry",
    ]  # fmt: skip
    assert words("שלום, עולם") == ["שלום", "עולם"]


@pytest.mark.parametrize(
    ("said", "heard", "expected"),
    [
        ("a b c", "a b c", Score(3, 0, 0, 0)),
        ("a b c", "a x c", Score(3, 1, 0, 0)),
        ("a b c", "a c", Score(3, 0, 1, 0)),
        ("a b c", "a b b c", Score(3, 0, 0, 1)),
        ("a b c", "", Score(3, 0, 3, 0)),
        ("", "a", Score(0, 0, 0, 1)),
        ("", "", Score(0, 0, 0, 0)),
    ],
)
def test_counts(said: str, heard: str, expected: Score) -> None:
    assert score(said, heard) == expected


def distance(said: list[str], heard: list[str]) -> int:
    """The edit distance by its definition, without a table."""
    if not said or not heard:
        return len(said) + len(heard)
    return min(
        distance(said[1:], heard[1:]) + (said[0] != heard[0]),
        distance(said[1:], heard) + 1,
        distance(said, heard[1:]) + 1,
    )


@given(TEXTS, TEXTS)
def test_alignment_keeps_both_texts_and_has_the_fewest_edits(said: list[str], heard: list[str]) -> None:
    edits = align(said, heard)
    assert [edit.said for edit in edits if edit.said] == said
    assert [edit.heard for edit in edits if edit.heard] == heard
    for edit in edits:
        kinds = {(True, True): "right" if edit.said == edit.heard else "wrong"}
        kinds |= {(True, False): "missing", (False, True): "extra"}
        assert edit.kind == kinds[bool(edit.said), bool(edit.heard)]
    assert sum(edit.kind != "right" for edit in edits) == distance(said, heard)
