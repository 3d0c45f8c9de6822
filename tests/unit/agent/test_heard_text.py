"""Which words were heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastcall.agent.heard_text import heard_text


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


@given(st.text(max_size=60), st.integers(0, 100_000), st.integers(0, 100_000), st.integers(1, 80_000))
def test_it_grows_with_what_was_heard_and_ends_whole(text: str, one: int, other: int, total: int) -> None:
    less, more = (heard_text(text, n, total_samples=total) for n in sorted((one, other)))
    assert more.startswith(less)
    assert text.startswith(less)
    assert heard_text(text, total, total_samples=total) == text
