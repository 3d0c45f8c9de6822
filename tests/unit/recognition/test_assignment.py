"""To which utterance a word belongs, by when it was said."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.events import Word
from fastcall.recognition.assignment import ORPHAN_SAMPLES, Span, assign, carried, nearest
from fastcall.recognition.utterance import Utterance

S = 8000
SAMPLES = st.integers(0, 40 * S)
VOCABULARY = st.lists(st.sampled_from(["yes", "Yes,", "no", "one", "two", "uh"]), max_size=12)


TO_2 = Utterance(1, 0, 1 * S, end_sample=2 * S)
FROM_3 = Utterance(2, 2 * S, 3 * S)


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
def spoken(draw: st.DrawFn) -> tuple[list[str], list[Span]]:
    """Words that each differ, and their spans, which neither begin nor end before the one before."""
    count = draw(st.integers(0, 30))
    lows, highs = (sorted(draw(st.lists(SAMPLES, min_size=count, max_size=count))) for _ in range(2))
    spans = [(min(low, high), high) for low, high in zip(lows, highs, strict=True)]
    repeats = draw(st.integers(1, 3))
    spans = [span for span in spans for _ in range(repeats)]
    return [f"w{number}" for number in range(len(spans))], spans


# --- the utterance of a word ---------------------------------------------------------------------------------


@given(spoken(), utterances(at_least=1))
def test_each_word_is_assigned_once_and_in_order(words: tuple[list[str], list[Span]], among: list[Utterance]) -> None:
    assigned = assign(*words, among)
    assert len(assigned) == len(among)
    assert list(chain.from_iterable(assigned)) == words[0]


@given(spoken(), utterances(at_least=1))
def test_a_word_is_where_it_can_have_been_said(words: tuple[list[str], list[Span]], among: list[Utterance]) -> None:
    span = dict(zip(*words, strict=True))
    for one, its_words in zip(among, assign(*words, among), strict=True):
        for low, high in (span[word] for word in its_words):
            assert one is among[0] or high > one.voice_sample
            assert all(high <= other.voice_sample or low < other.voice_sample for other in among[one.id + 1 :])


@given(spoken(), utterances(at_least=1), st.integers(0, 40 * S))
def test_an_utterance_that_begins_later_takes_no_word_that_was_heard_before(
    words: tuple[list[str], list[Span]], among: list[Utterance], begun_by: int
) -> None:
    begun = [one for one in among if one.voice_sample <= begun_by] or among[:1]
    texts = [word for word, (_, high) in zip(*words, strict=True) if high <= begun_by]
    spans = [span for span in words[1] if span[1] <= begun_by]
    assert assign(texts, spans, among)[: len(begun)] == assign(texts, spans, begun)


@pytest.mark.parametrize(
    ("spans", "texts"),
    [
        # An onset at 3.0 s, after speech from 1.0 to 2.0 s.
        ([(1.5, 2.5)], ["a", ""]),
        ([(2.1, 2.9)], ["a", ""]),
        ([(2.1, 3.1)], ["", "a"]),
        ([(3.0, 4.0)], ["", "a"]),
        ([(1.9, 3.9)], ["", "a"]),
        ([(1.1, 3.1)], ["a", ""]),
        ([(0.0, 4.0)] * 4, ["ab", "cd"]),
        ([(1.5, 4.5)] * 4, ["a", "bcd"]),
        ([(0.0, 2.0)] * 2 + [(2.0, 4.0)], ["ab", "c"]),
    ],
)
def test_words_are_shared_by_the_speech_in_their_span(spans: list[tuple[float, float]], texts: list[str]) -> None:
    words = list("abcd"[: len(spans)])
    assigned = assign(words, [(int(low * S), int(high * S)) for low, high in spans], [TO_2, FROM_3])
    assert ["".join(each) for each in assigned] == texts


def test_without_an_utterance_words_are_nobodys() -> None:
    assert assign(["one"], [(0, S)], []) == []
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


# --- another version of a text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "ends"),
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
def test_a_rewritten_word_keeps_the_span(before: str, after: str, ends: list[int]) -> None:
    words = before.split()
    spans = [(end - 1, end) for end in range(1, len(words) + 1)]
    assert [end for _, end in carried(spans, words, after.split())] == ends


@given(VOCABULARY, VOCABULARY, st.data())
def test_rewritten_words_have_spans_in_order(before: list[str], after: list[str], data: st.DataObject) -> None:
    ends = sorted(data.draw(st.lists(SAMPLES, min_size=len(before), max_size=len(before))))
    spans = [(end - 1, end) for end in ends]
    result = carried(spans, before, after)
    assert len(result) <= len(after)
    assert result == sorted(result)
    assert set(result) <= set(spans)
    assert carried(spans, before, [*before, *after]) == spans
