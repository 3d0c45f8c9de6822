"""One utterance: its text, how far a word is from it, and what covers it."""

from __future__ import annotations

import pytest

from fastcall.events import Word
from fastcall.recognition.utterance import Utterance

S = 8000


def test_its_text_is_what_is_settled_and_then_what_it_claims() -> None:
    assert Utterance(1, 0, 0).text == ""
    assert Utterance(1, 0, 0, settled=["one"], unsettled=["two", "three"]).text == "one two three"


@pytest.mark.parametrize(
    ("start_s", "end_s", "away_s"),
    [(0.0, 0.5, 0.75), (0.5, 1.5, 0.0), (1.0, 2.0, 0.0), (2.0, 2.5, 0.25), (2.0, 4.0, 1.0)],
)
def test_the_middle_of_a_word_tells_how_far_it_is(start_s: float, end_s: float, away_s: float) -> None:
    word = Word("one", int(start_s * S), int(end_s * S))
    assert Utterance(1, S, S, end_sample=2 * S).distance(word) == int(away_s * S)


def test_no_word_comes_after_an_utterance_that_is_being_spoken() -> None:
    assert Utterance(1, S, S).distance(Word("one", 50 * S, 51 * S)) == 0


@pytest.mark.parametrize(
    ("low_s", "high_s", "speech_s"),
    [(0.0, 1.5, 0.0), (0.0, 1.75, 0.25), (1.75, 2.0, 0.25), (1.0, 4.0, 0.5), (2.0, 4.0, 0.0), (3.0, 2.0, 0.0)],
)
def test_its_speech_is_from_its_voice_to_its_end(low_s: float, high_s: float, speech_s: float) -> None:
    utterance = Utterance(1, S, S + S // 2, end_sample=2 * S)
    assert utterance.speech_in(int(low_s * S), int(high_s * S)) == int(speech_s * S)
    assert Utterance(1, S, S).speech_in(0, 4 * S) == 3 * S


@pytest.mark.parametrize(
    ("final_s", "voice_s", "covers"),
    [(1.6, 1.0, False), (1.71, 1.0, True), (2.0, 1.0, True), (1.8, 1.9, False), (1.95, 1.9, True), (2.0, 2.0, True)],
)
def test_a_final_covers_it_that_ends_near_its_end_and_after_its_voice(
    final_s: float, voice_s: float, covers: bool
) -> None:
    utterance = Utterance(1, S, int(voice_s * S), end_sample=2 * S)
    assert utterance.is_covered(int(final_s * S)) is covers
    assert not Utterance(1, S, S).is_covered(int(final_s * S))
