"""What is known after the settled end, with one stream and while streams are replaced."""

from __future__ import annotations

import pytest

from fastcall.events import Word
from fastcall.recognition.hypothesis import Hypothesis

S = 8000


def known() -> Hypothesis:
    """The settled end is at 1 s, and "b c d" was heard after it, up to 4 s."""
    hypothesis = Hypothesis()
    hypothesis.take_final("a", 1 * S)
    assert hypothesis.take_interim("b c d", 4 * S)
    return hypothesis


def test_an_interim_replaces_the_one_before_and_a_final_settles_it() -> None:
    hypothesis = known()
    assert hypothesis.take_interim(" b x ", 3 * S)
    assert (hypothesis.text, hypothesis.end_sample) == ("b x", 3 * S)
    hypothesis.take_final("b", 3 * S)
    assert (hypothesis.text, hypothesis.settled_end, hypothesis.end_sample) == ("", 3 * S, 3 * S)


def test_f_does_not_go_back() -> None:
    hypothesis = known()
    hypothesis.take_final("", S // 2)
    assert hypothesis.settled_end == S


def test_a_new_owner_that_hears_it_again_takes_nothing_away() -> None:
    hypothesis = known()
    hypothesis.active_changed()
    assert not hypothesis.take_interim("b", 2 * S)
    assert hypothesis.text == "b c d"
    assert hypothesis.take_interim("b c e", 4 * S)
    assert not hypothesis.is_behind
    assert hypothesis.take_interim("b", 2 * S)
    assert hypothesis.text == "b"


def test_a_final_of_an_owner_that_is_behind_leaves_what_follows_it() -> None:
    hypothesis = known()
    hypothesis.active_changed()
    hypothesis.take_final("b c", 3 * S)
    assert (hypothesis.text, hypothesis.end_sample) == ("d", 4 * S)
    assert hypothesis.is_behind
    hypothesis.take_final("d", 4 * S)
    assert hypothesis.text == ""
    assert not hypothesis.is_behind


def test_what_an_owner_never_comes_to_is_given_up_when_it_has_caught_up() -> None:
    hypothesis = known()
    hypothesis.active_changed()
    hypothesis.take_interim("b", 2 * S)
    assert hypothesis.caught_up()
    assert (hypothesis.text, hypothesis.end_sample) == ("b", 2 * S)
    assert not hypothesis.caught_up()


def test_the_draining_stream_tells_what_is_said_meanwhile() -> None:
    hypothesis = known()
    hypothesis.handed_over()
    hypothesis.active_changed()
    assert hypothesis.take_draining([], "b c d e", 5 * S)
    assert hypothesis.text == "b c d e"
    assert hypothesis.take_draining([" b c"], "d e f", 6 * S)
    assert (hypothesis.text, hypothesis.end_sample, hypothesis.settled_end) == ("b c d e f", 6 * S, S)


def test_what_the_owner_settled_the_draining_stream_does_not_tell_again() -> None:
    hypothesis = known()
    hypothesis.handed_over()
    hypothesis.active_changed()
    hypothesis.take_draining(["b c"], "d e", 5 * S)
    hypothesis.take_final("b", 2 * S)
    assert hypothesis.text == "c d e"
    hypothesis.take_draining([], "d e f", 6 * S)
    assert hypothesis.text == "c d e f"
    hypothesis.take_final("c d", 4 * S)
    hypothesis.take_draining([], "d e f g", 7 * S)
    assert hypothesis.text == "e f g"


def test_the_draining_stream_counts_while_it_knows_more_than_the_owner() -> None:
    hypothesis = known()
    hypothesis.handed_over()
    hypothesis.active_changed()
    hypothesis.take_interim("b c d", 4 * S)  # as far as was known, while the draining stream hears what is said now
    assert not hypothesis.is_behind
    assert not hypothesis.take_draining([], "b c d", 5 * S)
    assert not hypothesis.take_draining([], "b c e f", 4 * S)
    assert hypothesis.text == "b c d"
    assert hypothesis.take_draining([], "b c d e", 5 * S)
    assert hypothesis.is_behind
    assert not hypothesis.take_interim("b c d", 4 * S)
    assert hypothesis.text == "b c d e"
    assert hypothesis.take_interim("b c d e", 5 * S)
    assert not hypothesis.is_behind


def test_a_word_that_is_shorter_than_the_slack_is_not_forgotten() -> None:
    for final in (False, True):
        hypothesis = known()
        hypothesis.handed_over()
        hypothesis.active_changed()
        if final:
            hypothesis.take_final("b c", 4 * S - 1600)
        else:
            assert not hypothesis.take_interim("b c", 4 * S - 1600)
        assert hypothesis.text == ("d" if final else "b c d")
        assert hypothesis.take_interim("d" if final else "b c d", 4 * S - 1)


@pytest.mark.parametrize(
    ("text", "end_s", "rest"),
    [
        ("b c", 3.0, "d"),
        ("bee c", 3.0, "d"),
        ("b c d", 4.0, ""),
        ("c", 3.0, "d"),  # what it leaves out is the ledger's to keep
        ("", 3.0, "b c d"),
    ],
)
def test_what_was_heard_after_a_span_that_the_fallback_settled_is_known_still(
    text: str, end_s: float, rest: str
) -> None:
    hypothesis = known()
    hypothesis.settled_elsewhere(text, int(end_s * S))
    assert (hypothesis.settled_end, hypothesis.text) == (int(end_s * S), rest)


@pytest.mark.parametrize(
    ("is_cut", "text", "whole"),
    [
        (True, "d e", "c d e"),
        (True, "D, e", "c D, e"),
        (True, "c d e", "c d e"),  # it was heard whole after all
        (True, "x d e", "c d e"),  # the sound of its rest
        (True, "x e", "x e"),  # heard otherwise: nobody can tell
        (True, "x", "x"),
        (True, "", ""),
        (False, "d e", "d e"),  # between two words nothing is cut
        (False, "x d e", "x d e"),
    ],
)
def test_a_word_that_was_cut_at_f_is_as_it_was_heard_before(is_cut: bool, text: str, whole: str) -> None:
    hypothesis = known()
    hypothesis.settled_elsewhere("b", 2 * S, is_cut=is_cut)
    assert hypothesis.mended(text) == (whole, ())
    hypothesis.active_changed()
    assert hypothesis.take_interim(text, 5 * S)
    assert hypothesis.text == whole
    hypothesis.take_final(hypothesis.text, 5 * S)
    assert hypothesis.mended(text) == (text, ())


def test_a_word_that_was_cut_at_f_has_its_place_among_the_words() -> None:
    hypothesis = known()
    hypothesis.settled_elsewhere("b", 2 * S, is_cut=True)
    rest, following = Word("x", 2 * S, 3 * S), Word("d", 3 * S, 4 * S)
    assert hypothesis.mended("d", (following,)) == ("c d", (Word("c", 2 * S, 2 * S), following))
    assert hypothesis.mended("x d", (rest, following)) == ("c d", (Word("c", 2 * S, 3 * S), following))
    assert hypothesis.mended("x e", (rest, following)) == ("x e", (rest, following))


def test_a_word_that_was_cut_at_f_and_is_the_last_that_is_known_is_missing_in_silence() -> None:
    hypothesis = known()
    hypothesis.settled_elsewhere("b c", 3 * S, is_cut=True)
    assert [hypothesis.mended(text)[0] for text in ("", "e", "d", "e f")] == ["d", "e", "d", "e f"]
    hypothesis.settled_elsewhere("d", 9 * S)
    assert hypothesis.mended("") == ("", ())


def test_of_the_same_word_twice_nobody_can_tell_that_it_was_cut() -> None:
    hypothesis = known()
    hypothesis.take_interim("b c c", 4 * S)
    hypothesis.settled_elsewhere("b", 2 * S, is_cut=True)
    assert hypothesis.mended("c") == ("c", ())


def test_what_a_final_left_out_is_not_missed_when_nobody_has_spoken_after_it() -> None:
    for nobody in (False, True):
        hypothesis = known()
        assert hypothesis.dropped_before("b c", 2 * S, 3 * S) == []
        hypothesis.take_final("b c", 3 * S)
        if nobody:
            hypothesis.nothing_follows()
        hypothesis.take_interim("e f", 9 * S)
        assert hypothesis.dropped_before("e f", 8 * S, 9 * S) == ([] if nobody else [("d", 4 * S)])


def test_words_that_the_owner_settled_before_the_draining_stream_told_them_are_not_told_again() -> None:
    hypothesis = known()
    hypothesis.handed_over()
    hypothesis.active_changed()
    hypothesis.take_final("b c d e", 5 * S)
    assert not hypothesis.take_draining([], "b c d e", 5 * S + 2400)
    assert hypothesis.text == ""
    assert hypothesis.take_draining([], "b c d e f", 6 * S)
    assert hypothesis.text == "f"


def test_what_is_settled_while_there_is_no_draining_stream_is_not_remembered() -> None:
    hypothesis = known()
    hypothesis.handed_over()
    hypothesis.draining_gone()
    hypothesis.take_final("b c d", 5 * S)
    hypothesis.handed_over()
    assert hypothesis.take_draining([], "b", 6 * S)
    assert hypothesis.text == "b"
