"""Which words were told as an interim and never settled."""

from __future__ import annotations

import pytest

from fastcall.recognition.dropped_interims import MAX_ASKED, MAX_KEPT, DroppedInterims, ReopenLimit

MS = 8


def told(*interims: tuple[str, int]) -> DroppedInterims:
    """Interims: text, and its end in ms."""
    unfinished = DroppedInterims()
    for text, end_ms in interims:
        unfinished.take_interim(text, end_ms * MS)
    return unfinished


@pytest.mark.parametrize(
    ("interims", "first_word_ms", "end_ms", "lost"),
    [
        # The usual case: the final is what the interims told of.
        ([("one", 300), ("one two", 600)], 100, 1200, []),
        # It has more words than they, other words, fewer.
        ([("one", 300), ("won to", 600)], 100, 1200, []),
        ([("wreck a nice", 900)], 100, 1200, []),
        # The stream went on with what follows.
        ([("one two three", 900), ("four", 1200)], 1000, 2000, [("one two three", 900)]),
        ([("one two three", 900), ("four", 2200)], 2000, 2600, [("one two three", 900)]),
        # ... and showed nothing of it before the final.
        ([("one two three", 900)], 1500, 2000, [("one two three", 900)]),
        # An interim is told when a piece of audio is complete, which may be after the next word has begun.
        ([("one two three", 1050), ("four", 1200)], 1000, 2000, [("one two three", 1000)]),
        # Two in a row.
        (
            [("one two", 600), ("three four", 1500), ("five", 2300)],
            2100,
            3000,
            [("one two", 600), ("three four", 1500)],
        ),
        # One word, put right at once: not forgotten.
        ([("as", 300), ("apple", 450)], 900, 1200, [("apple", 450)]),
        ([("as", 300), ("apple", 900)], 800, 1200, [("as", 300)]),
        # What comes back was not forgotten.
        ([("one two", 600), ("x", 750), ("one two three", 900)], 100, 1200, []),
        ([("one two", 600), ("x", 750), ("one two three", 900)], 1500, 2000, [("one two three", 900)]),
        # No word times: it cannot be told.
        ([("one two three", 900), ("four", 2200)], None, 2600, []),
    ],
)
def test_what_is_lost(
    interims: list[tuple[str, int]], first_word_ms: int | None, end_ms: int, lost: list[tuple[str, int]]
) -> None:
    start = None if first_word_ms is None else first_word_ms * MS
    found = told(*interims).take_final("five", start, end_ms * MS)
    assert found == [(text, end * MS) for text, end in lost]


@pytest.mark.parametrize(
    ("interim", "final", "first_word", "is_lost"),
    [
        ("word", "word", 102_400, False),
        ("word", "Word, and more", 102_879, False),
        ("word", "other", 102_400, True),
        ("word", "word", 102_880, True),  # begins where it ended: said again
        ("yes no", "yes no more", 102_400, False),
        ("yes no", "yes maybe", 102_400, True),  # nobody says two words in so little time
    ],
)
def test_a_final_that_says_the_same_at_the_same_time_forgot_nothing(
    interim: str, final: str, first_word: int, is_lost: bool
) -> None:
    unfinished = DroppedInterims()
    unfinished.take_interim(interim, 102_880)
    assert bool(unfinished.take_final(final, first_word, 103_200)) == is_lost


def test_a_final_settles_what_it_covers_and_leaves_the_interim_that_reaches_past_it() -> None:
    unfinished = told(("one two", 600), ("three four five", 2000))
    assert unfinished
    assert unfinished.take_final("three four", 700 * MS, 1900 * MS) == [("one two", 600 * MS)]
    assert not unfinished
    unfinished.take_interim("five six", 2200 * MS)
    assert not unfinished
    unfinished.take_interim("seven", 4000 * MS)
    assert unfinished.take_final("seven", 3500 * MS, 5000 * MS) == [("five six", 2200 * MS)]


def test_another_stream_begins_anew() -> None:
    unfinished = told(("one two", 600), ("three four", 2000))
    unfinished.reset()
    assert not unfinished
    assert unfinished.take_final("five", 9000 * MS, 9500 * MS) == []


def test_what_is_kept_is_bounded() -> None:
    unfinished = told(*((f"a{number} b{number}", 1000 * number) for number in range(1, 100)))
    found = unfinished.take_final("five", 200_000 * MS, 201_000 * MS)
    assert len(found) == MAX_KEPT + 1
    assert found[-1] == ("a99 b99", 99_000 * MS)


def test_only_so_many_streams_are_asked_for_the_same_words() -> None:
    limit = ReopenLimit()
    assert [limit.take(0) for _ in range(MAX_ASKED + 2)] == [True] * MAX_ASKED + [False] * 2
    assert limit.take(1)
