"""To which utterance a word belongs, by its time; and the times of words that come without."""

from __future__ import annotations

from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.events import Word
from fastcall.recognition.assignment import ORPHAN_SAMPLES, assign, carried, nearest, spread, times_before
from fastcall.recognition.utterance import Utterance

S = 8000
SAMPLES = st.integers(0, 40 * S)
VOCABULARY = st.lists(st.sampled_from(["yes", "Yes,", "no", "one", "two", "uh"]), max_size=12)


def utterance(start_s: float, end_s: float | None, voice_s: float | None = None, number: int = 1) -> Utterance:
    voice = start_s if voice_s is None else voice_s
    return Utterance(number, int(start_s * S), int(voice * S), end_sample=None if end_s is None else int(end_s * S))


@st.composite
def utterances(draw: st.DrawFn, *, at_least: int = 0) -> list[Utterance]:
    """In order and apart, as the ledger has them; the last may be open."""
    points = sorted(draw(st.lists(SAMPLES, min_size=3 * at_least, max_size=18, unique=True)))
    found = [
        Utterance(number, start, voice, end_sample=end)
        for number, (start, voice, end) in enumerate(zip(points[::3], points[1::3], points[2::3], strict=False))
    ]
    if found and draw(st.booleans()):
        found[-1].end_sample = None
    return found


@st.composite
def timed_words(draw: st.DrawFn) -> tuple[list[str], list[int]]:
    """Words that each differ, and their estimated times."""
    times = sorted(draw(st.lists(SAMPLES, max_size=30)))
    return [f"w{number}" for number in range(len(times))], times


# --- the utterance of a word ---------------------------------------------------------------------------------


@given(timed_words(), utterances(at_least=1))
def test_each_word_is_assigned_once_and_in_order(words: tuple[list[str], list[int]], among: list[Utterance]) -> None:
    given_to = assign(*words, among)
    assert len(given_to) == len(among)
    assert list(chain.from_iterable(given_to)) == words[0]


@given(timed_words(), utterances(at_least=1))
def test_a_word_belongs_to_the_last_utterance_whose_voice_had_begun(
    words: tuple[list[str], list[int]], among: list[Utterance]
) -> None:
    at = dict(zip(*words, strict=True))
    for one, its_words in zip(among, assign(*words, among), strict=True):
        for each in its_words:
            begun = [other for other in among if other.voice_sample <= at[each]] or among[:1]
            assert one is begun[-1]


@given(timed_words(), utterances(at_least=1), st.data())
def test_other_words_and_later_utterances_change_nothing(
    words: tuple[list[str], list[int]], among: list[Utterance], data: st.DataObject
) -> None:
    """What is assigned does not depend on what else is known yet, so neither on the order in which it became known."""
    texts, times = words
    known = sorted(data.draw(st.sets(st.sampled_from(range(len(texts)))) if texts else st.just(set())))
    begun = data.draw(st.integers(1, len(among)))
    owner = {word: one.id for one, its in zip(among, assign(texts, times, among), strict=True) for word in its}
    some = assign([texts[i] for i in known], [times[i] for i in known], among[:begun])
    for one, its_words in zip(among, some, strict=False):
        for word in its_words:
            assert one.id == min(owner[word], among[begun - 1].id)


def test_without_an_utterance_words_are_nobodys() -> None:
    assert assign(["one"], [S], []) == [["one"]]
    assert nearest(Word("one", 0, S), []) is None


@given(SAMPLES, SAMPLES, utterances())
def test_a_word_with_a_time_is_at_the_nearest_utterance(one: int, other: int, among: list[Utterance]) -> None:
    word = Word("one", min(one, other), max(one, other))
    owner = nearest(word, among)
    away = min((each.distance(word) for each in among), default=ORPHAN_SAMPLES + 1)
    if away > ORPHAN_SAMPLES:
        assert owner is None
    else:
        assert owner is not None
        assert owner.distance(word) == away


# --- the time of a word --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "times"),
    [
        ("one two", "one two three", [1, 2]),
        ("one uh", "one two three", [1, 2]),
        ("one two", "one", [1]),
        ("one two", "", []),
        ("", "one", []),
        ("one two three", "One, and two three.", [1, 2, 2, 3]),
        ("one uh two three", "one two three", [1, 3, 4]),
        ("twenty one yes", "21 yes", [1, 3]),
        ("to yes", "two hundred yes", [1, 2, 2]),
        ("a b", "c d e", [1, 2]),
    ],
)
def test_a_rewritten_word_keeps_the_time(before: str, after: str, times: list[int]) -> None:
    words = before.split()
    assert carried(list(range(1, len(words) + 1)), words, after.split()) == times


@given(VOCABULARY, VOCABULARY, st.data())
def test_rewritten_words_have_times_in_order(before: list[str], after: list[str], data: st.DataObject) -> None:
    size = len(before)
    times = sorted(data.draw(st.lists(SAMPLES, min_size=size, max_size=size)))
    result = carried(times, before, after)
    assert len(result) <= len(after)
    assert result == sorted(result)
    assert set(result) <= set(times)
    assert carried(times, before, [*before, *after]) == times


@pytest.mark.parametrize(
    ("count", "low_s", "times"),
    [(1, 0.0, [9.9]), (3, 0.0, [9.5, 9.7, 9.9]), (2, 9.9, [9.925, 9.975]), (2, 10.0, [10.0, 10.0]), (0, 0.0, [])],
)
def test_new_words_of_an_interim_are_the_last_before_its_end(count: int, low_s: float, times: list[float]) -> None:
    assert times_before(10 * S, count, low=int(low_s * S)) == [int(at * S) for at in times]


@given(st.integers(0, 50), SAMPLES, SAMPLES)
def test_new_words_are_after_what_was_known(count: int, low: int, end: int) -> None:
    times = times_before(end, count, low=low)
    assert len(times) == count
    assert times == sorted(times)
    assert all(low <= at <= max(low, end) for at in times)


@given(st.integers(0, 50), utterances(), SAMPLES, SAMPLES)
def test_words_of_which_nothing_is_known_are_spread_over_the_speech(
    count: int, among: list[Utterance], one: int, other: int
) -> None:
    low, high = sorted((one, other))
    times = spread(count, among, low=low, high=high)
    assert len(times) == count
    assert times == sorted(times)
    assert all(low <= at <= high for at in times)
    spans = [(max(u.voice_sample, low), min(u.end_sample or high, high)) for u in among]
    spans = [span for span in spans if span[0] < span[1]]
    assert all(any(start <= at < end for start, end in spans) or (at == high and not spans) for at in times)
    speech = [sum(max(0, min(at, end) - start) for start, end in spans) for at in times]
    steps = [later - earlier for earlier, later in pairwise(speech)]
    assert not steps or max(steps) - min(steps) <= 1


def test_a_quarter_of_the_speech_has_a_quarter_of_the_words() -> None:
    among = [utterance(1, 2), utterance(3, None, number=2)]
    assert assign(list("abcdefgh"), spread(8, among, low=0, high=6 * S), among) == [["a", "b"], list("cdefgh")]
