"""Which words were heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastcall.agent.heard_text import heard_text, word_start


def test_words_count_from_their_middle_on() -> None:
    ends = [4000, 8000, 12_000]
    heard = [
        heard_text("one  two three", samples, total_samples=12_000, word_ends=ends)
        for samples in (0, 1999, 2000, 5999, 6000, 10_000, 12_000)
    ]
    assert heard == ["", "", "one", "one", "one  two", "one  two three", "one  two three"]


def test_without_times_words_last_as_long_as_they_have_letters() -> None:
    # 4 + 10 letters, spaces included, in 14,000 samples: the second word's middle is at 9,000.
    assert heard_text("one something", 8999, total_samples=14_000) == "one"
    assert heard_text("one something", 9000, total_samples=14_000) == "one something"


def test_what_has_no_known_length_goes_at_the_pace_of_speech() -> None:
    assert heard_text("a sentence that is still being made", 8000, total_samples=None) == "a sentence that"


def test_times_that_do_not_fit_the_words_are_not_used() -> None:
    assert heard_text("one two", 4000, total_samples=8000, word_ends=[1]) == "one"


def test_a_word_begins_where_the_one_before_it_ends() -> None:
    ends = [4000, 8000, 12_000]
    starts = [
        word_start("one  two three", position, total_samples=16_000, word_ends=ends)
        for position in (0, 3999, 4000, 7999, 8000, 11_999)
    ]
    assert starts == [0, 0, 4000, 4000, 8000, 8000]


def test_where_no_word_is_spoken_it_is_the_place_itself() -> None:
    assert word_start("one two", 12_345, total_samples=16_000, word_ends=[4000, 8000]) == 12_345
    assert word_start("", 12_345, total_samples=16_000) == 12_345
    assert word_start("one", 16_000, total_samples=16_000) == 16_000


def test_without_times_a_word_begins_where_its_letters_say() -> None:
    assert word_start("one something", 13_999, total_samples=14_000) == 4000
    assert word_start("a sentence that goes on", 8000, total_samples=None) == 11 * 8000 // 15


@given(
    st.text(max_size=60),
    st.integers(0, 100_000),
    st.integers(0, 100_000),
    st.none() | st.integers(1, 80_000),
    st.none() | st.lists(st.integers(0, 80_000), max_size=4),
)
def test_a_word_begins_no_later_than_it_is_heard(
    text: str, one: int, other: int, total: int | None, ends: list[int] | None
) -> None:
    less, more = sorted((one, other))
    starts = [word_start(text, at, total_samples=total, word_ends=ends) for at in (less, more)]
    assert all(0 <= start <= at for start, at in zip(starts, (less, more), strict=True))
    if ends is None:
        assert starts[0] <= starts[1]


@given(st.text(max_size=60), st.integers(0, 100_000), st.integers(0, 100_000), st.integers(1, 80_000))
def test_it_grows_with_what_was_heard_and_ends_whole(text: str, one: int, other: int, total: int) -> None:
    less, more = (heard_text(text, n, total_samples=total) for n in sorted((one, other)))
    assert more.startswith(less)
    assert text.startswith(less)
    assert heard_text(text, total, total_samples=total) == text
