"""The demo's judgement: what it calls right, and what it must not."""

from __future__ import annotations

from typing import Any

import pytest

from fastcall.demo.booking import Booking, answer
from fastcall.demo.run import (
    TONES,
    Interruption,
    Line,
    choose_engine,
    compare,
    load_sentences,
    render_interruptions,
    render_table,
)
from fastcall.demo.voice import join, load_prompts

LINES = (Line("one two", 1000, 2000), Line("three", 4000, 5000))
QUICK = (700.0, 800.0)


def event(name: str, utterance_id: int, text: str, start_ms: int, end_ms: int | None, at: float) -> dict[str, Any]:
    return {
        "event": name, "utterance_id": utterance_id, "text": text, "start_ms": start_ms, "end_ms": end_ms, "at": at
    }  # fmt: skip


RIGHT = [
    event("partial", 1, "one", 700, None, 101.5),
    event("partial", 1, "one two", 700, None, 101.75),
    event("utterance_end", 1, "one two", 700, 2040, 102.6),
    event("utterance_end", 2, "three", 3700, 5040, 105.5),
]


def test_each_line_gets_the_utterances_that_overlap_it() -> None:
    outcomes = compare(LINES, RIGHT, began_at=100.0)
    assert [o.recognized for o in outcomes] == ["one two", "three"]
    assert all(o.right for o in outcomes)
    assert outcomes[0].commit_ms == pytest.approx(600)
    assert outcomes[0].partial_gaps_ms == pytest.approx((250,))


@pytest.mark.parametrize("text", ["one", "one two two", "two one", ""])
def test_other_words_are_wrong(text: str) -> None:
    events = [dict(e, text=text) if e["utterance_id"] == 1 else e for e in RIGHT]
    outcomes = compare(LINES, events, began_at=100.0)
    assert not outcomes[0].right
    assert "NOT all right" in render_table(outcomes, [])[-1]


def test_an_amendment_replaces_the_text() -> None:
    outcomes = compare(LINES, [*RIGHT, event("amended", 2, "tree", 3700, 5040, 106.0)], began_at=100.0)
    assert outcomes[1].recognized == "tree"


def test_a_line_that_nobody_heard_is_wrong_and_has_no_time() -> None:
    outcomes = compare(LINES, RIGHT[:3], began_at=100.0)
    assert outcomes[1].commit_ms is None
    assert not outcomes[1].right


def test_words_where_nothing_was_said_spoil_the_verdict() -> None:
    outcomes = compare(LINES, RIGHT, began_at=100.0)
    assert "2 of 2 sentences word for word: all right" in render_table(outcomes, [])[-1]
    assert "NOT all right" in render_table(outcomes, ["ghost"])[-1]


def test_the_words_are_counted() -> None:
    events = [dict(e, text="one") if e["utterance_id"] == 1 else e for e in RIGHT]
    table = render_table(compare(LINES, events, began_at=100.0), ["ghost word"])
    assert "words: 3 said, 0 wrong, 1 missing, 2 too many" in table


def test_an_answer_that_is_late_or_missing_is_named() -> None:
    assert "2 of 2 answers within 1200 ms" in render_table(compare(LINES, RIGHT, 100.0, QUICK), [])
    for responses_ms in ((700.0, 1200.0), (700.0, None)):
        table = render_table(compare(LINES, RIGHT, 100.0, responses_ms), [])
        assert "1 of 2 answers within 1200 ms" in table
        assert len([line for line in table if line.endswith("<- TOO LATE")]) == 1


@pytest.mark.parametrize(
    ("played_ms", "heard_text", "right"),
    [
        (1800, "for which day, and at what time?", True),
        (1800, "for which day, and at what", False),
        (1640, "for which day, and at what", True),
        (1740, "for which day, and at what time?", True),
        (1800, "for which day, and at what time? we", False),
        (1800, "", False),
    ],
)
def test_what_the_agent_was_told_is_held_against_the_telephone(played_ms: int, heard_text: str, right: bool) -> None:
    found = Interruption(90.0, played_ms, heard_text, join(load_prompts(), ("when",)))
    assert found.right is right
    (line,) = render_interruptions([found])
    assert ("<- WRONG" in line) is not right
    assert "WRONG" in render_interruptions([])[0]
    assert "2 times" in render_interruptions([found, found])[0]


@pytest.mark.parametrize("engine", ["tones", "pocketsphinx"])
def test_the_sentences_are_speech_and_one_breaks_in(engine: str) -> None:
    sentences = load_sentences(engine)
    assert len(sentences) == 6
    assert [s.breaks_in_after_s is not None for s in sentences] == [False, False, True, False, False, False]
    for sentence in sentences:
        speech = sentence.mulaw.replace(b"\xff" * 4000, b"")  # where it hesitates
        assert speech.count(0xFF) < len(speech) // 10


def test_each_sentence_of_tones_stands_for_one_of_words() -> None:
    assert list(TONES.values()) == [sentence.text for sentence in load_sentences("pocketsphinx")]
    booking = Booking()
    for text in TONES.values():
        booking, _ = answer(booking, text)
    assert booking.is_over


def test_tones_are_what_is_left_without_pocketsphinx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    engine, remark = choose_engine("auto")
    assert engine == "tones"
    assert remark is not None
    assert "PocketSphinx" in remark
