"""Each sample of a stream is settled once, and every result has an end, whatever the provider reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.events import Word
from fastcall.recognition.reported import END_BEYOND, NO_END, NO_WORD_TIMES, REPEATED, StreamReports
from fastcall.recognition.tokenization import joined

S = 8000
LONG = 600 * S


def spoken(text: str, start_s: float = 0.0, each_s: float = 0.3) -> list[Word]:
    """The words, one after the other."""
    return [
        Word(word, round((start_s + i * each_s) * S), round((start_s + (i + 1) * each_s) * S))
        for i, word in enumerate(text.split())
    ]


class Stream:
    """Feeds one stream's results; each returns what is new of its text, None if nothing is."""

    def __init__(self) -> None:
        self.reports = StreamReports()

    def final(self, text: str, end_s: float, words: list[Word] | None = None, sent_s: float = 600) -> str | None:
        reported = self.reports.final(text, words or [], round(end_s * S), sent=round(sent_s * S))
        if reported is None:
            return None
        assert words is None or len(words[reported.first_word :]) == len(reported.text.split())
        return reported.text

    def interim(self, text: str, end_s: float, sent_s: float = 600) -> str:
        return self.reports.interim(text, [], round(end_s * S), sent=round(sent_s * S)).text


# --- repetitions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timed", [True, False])
def test_a_final_that_comes_twice_is_taken_once(timed: bool) -> None:
    stream = Stream()
    words = spoken("tell me a") if timed else None
    assert stream.final("tell me a", 1.5, words) == "tell me a"
    assert stream.final(" Tell me a.", 1.5, words) is None
    assert stream.final("tell me a", 1.6, words) is None
    assert stream.reports.oddities == [REPEATED]


@pytest.mark.parametrize("timed", [True, False])
def test_a_final_that_begins_with_what_is_settled_gives_what_follows(timed: bool) -> None:
    stream = Stream()
    stream.final("tell me a", 0.9, spoken("tell me a") if timed else None)
    assert stream.final("tell me a joke", 1.4, spoken("tell me a joke") if timed else None) == "joke"
    assert stream.final("now", 3.0, spoken("now", 2.5) if timed else None) == "now"


@pytest.mark.parametrize("timed", [True, False])
def test_a_final_that_reaches_back_in_part_gives_what_follows(timed: bool) -> None:
    stream = Stream()
    stream.final("please tell me a", 1.2, spoken("please tell me a") if timed else None)
    assert stream.final("me a joke", 1.6, spoken("me a joke", 0.6) if timed else None) == "joke"


def test_words_before_the_settled_ones_end_are_settled_whatever_they_say() -> None:
    stream = Stream()
    stream.final("tell me a", 0.9, spoken("tell me a"))
    assert stream.final("sell me a joke", 1.4, spoken("sell me a joke")) == "joke"


def test_a_final_without_word_times_that_ends_before_what_is_settled_says_nothing_new() -> None:
    stream = Stream()
    stream.final("tell me a joke", 3.0)
    assert stream.final("something else", 2.0) is None
    assert stream.interim("something else", 2.0) == ""


@pytest.mark.parametrize("timed", [True, False])
def test_an_interim_that_reaches_back_gives_what_follows_and_so_does_its_final(timed: bool) -> None:
    stream = Stream()
    stream.final("tell me a", 0.9, spoken("tell me a") if timed else None)
    assert stream.interim("tell me a jo", 1.2) == "jo"
    assert stream.interim("tell me a joke", 5.0) == "joke"  # by then it could have been said again
    assert stream.final("tell me a joke", 5.0, spoken("tell me a joke") if timed else None) == "joke"


def test_a_late_interim_of_what_is_settled_is_empty() -> None:
    stream = Stream()
    stream.final("tell me a", 0.9)
    assert stream.interim("tell me a", 0.9) == ""


def test_what_is_said_again_is_given_again() -> None:
    stream = Stream()
    assert stream.final("no", 0.5, spoken("no", 0.2)) == "no"
    assert stream.final("no", 1.0, spoken("no", 0.6)) == "no"
    assert stream.final("no", 1.5) == "no"
    assert stream.final("I want", 3.0) == "I want"
    for text, end_s in (("I", 3.3), ("I want", 3.5), ("I want to", 3.7)):
        assert stream.interim(text, end_s) == text
    assert stream.final("I want to go", 4.0) == "I want to go"
    assert stream.final("I want to go", 9.0) == "I want to go"
    assert stream.reports.oddities == []


def test_a_word_said_twice_after_itself_is_no_repetition_though_interims_misheard_the_second() -> None:
    """An interim that begins with the word does not tell which of the two it begins with."""
    stream = Stream()
    stream.final("so no", 1.0)
    stream.interim("no um", 2.5)
    stream.interim("no no", 2.5)
    assert stream.final("no no way", 3.0) == "no no way"


def test_without_spaces_the_same() -> None:
    stream = Stream()
    assert stream.final("你好今天", 1.0) == "你好今天"
    assert stream.final("你好今天", 1.0) is None
    assert stream.interim("你好今天天", 1.1) == "天"
    assert stream.final("你好今天天气。", 1.3) == "天气。"


@given(
    st.lists(st.lists(st.sampled_from(["ab", "cd", "ef", "gh"]), min_size=1, max_size=5), min_size=1, max_size=6),
    st.data(),
)
def test_with_word_times_each_word_is_given_once(finals: list[list[str]], data: st.DataObject) -> None:
    """Each final may reach back as far as it likes, come again, and its times may be rounded by 50 ms."""
    said = [word for final in finals for word in final]
    places = [(round((i * 0.5) * S), round((i * 0.5 + 0.4) * S)) for i in range(len(said))]
    stream, given_, count = StreamReports(), [], 0
    for final in finals:
        count += len(final)
        for _ in range(data.draw(st.integers(1, 2))):
            start = data.draw(st.integers(0, count - len(final)))
            jitter = st.integers(-400, 400)
            words = [
                Word(said[i], max(0, places[i][0] + data.draw(jitter)), places[i][1] + data.draw(jitter))
                for i in range(start, count)
            ]
            text = " ".join(said[start:count])
            reported = stream.final(text, words, words[-1].end_sample, sent=LONG)
            if reported is not None:
                given_.append(reported.text)
    assert joined(given_).split() == said


# --- ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end_s", "oddity"), [(0.0, NO_END), (9.0, END_BEYOND)])
def test_a_final_without_a_usable_end_ends_where_it_is_known_to_have_been_heard(end_s: float, oddity: str) -> None:
    reports = StreamReports()
    end = round(end_s * S)
    for text, sent_s in (("tell", 0.5), ("tell me", 1.0), ("tell me a", 1.5), ("tell me a joke", 2.0)):
        reported = reports.interim(text, [], end, sent=round(sent_s * S))
        assert reported.end_sample == sent_s * S
    first = reports.final("tell me", [], end, sent=3 * S)
    second = reports.final("a joke", [], end, sent=3 * S)
    third = reports.final("or two", [], end, sent=3 * S)
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.end_sample, second.end_sample, third.end_sample) == (1.0 * S, 2.0 * S, 3.0 * S)
    assert reports.oddities == [oddity]


def test_an_end_is_taken_from_the_words_if_they_have_times() -> None:
    reports = StreamReports()
    reported = reports.final("tell me", spoken("tell me"), 0, sent=3 * S)
    assert reported is not None
    assert reported.end_sample == 0.6 * S
    reported = reports.final("a joke", spoken("a joke", 1.0), round(0.7 * S), sent=3 * S)
    assert reported is not None
    assert reported.end_sample == 1.6 * S


def test_an_end_that_is_rounded_is_no_oddity() -> None:
    reports = StreamReports()
    reported = reports.final("tell me", [], round(1.1 * S), sent=S)
    assert reported is not None
    assert reported.end_sample == S
    assert reports.oddities == []


@pytest.mark.parametrize(
    "words", [[Word("tell", 0, 0), Word("me", 0, 0)], [Word("tell", 0, 80), Word("me", 80, 80 * S)]]
)
def test_words_without_times_are_no_words_with_times(words: list[Word]) -> None:
    reports = StreamReports()
    reported = reports.final("tell me", words, S, sent=S)
    assert reported is not None
    assert (reported.text, reported.is_timed, reported.end_sample) == ("tell me", False, S)
    assert reports.oddities == [NO_WORD_TIMES]


def test_without_ends_a_repeated_final_is_taken_once_too() -> None:
    stream = Stream()
    assert stream.final("tell me a", 0, sent_s=2) == "tell me a"
    assert stream.final("tell me a", 0, sent_s=2) is None
    assert stream.final("tell me a joke", 0, sent_s=3) == "joke"


@given(
    st.lists(
        st.tuples(st.booleans(), st.text("ab 好", max_size=8), st.integers(-9, 99), st.integers(0, 9)), max_size=20
    )
)
def test_whatever_comes_ends_within_what_was_sent(results: list[tuple[bool, str, int, int]]) -> None:
    reports, sent = StreamReports(), 0
    for is_final, text, end, more in results:
        sent += more * S
        words = [Word(word, max(0, end - 1) * S, max(0, end) * S) for word in text.split()]
        take = reports.final if is_final else reports.interim
        reported = take(text, words, end * S, sent=sent)
        if reported is not None:
            assert 0 <= reported.end_sample <= sent
            assert len(reported.text) <= len(text)
    assert len(reports.oddities) <= 4
