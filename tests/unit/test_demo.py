"""The demo's judgement: what it calls right, and what it must not."""

from __future__ import annotations

from typing import Any

import pytest

from fastcall.demo import Line, Script, choose_engine, compare, load_script, render_table

SCRIPT = Script(b"", (Line("one two", 1000, 2000), Line("three", 4000, 5000)), None)


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
    outcomes = compare(SCRIPT, RIGHT, began_at=100.0)
    assert [o.recognised for o in outcomes] == ["one two", "three"]
    assert all(o.right for o in outcomes)
    assert outcomes[0].commit_ms == pytest.approx(600)
    assert outcomes[0].partial_gaps_ms == pytest.approx((250,))


@pytest.mark.parametrize("text", ["one", "one two two", "two one", ""])
def test_other_words_are_wrong(text: str) -> None:
    events = [dict(e, text=text) if e["utterance_id"] == 1 else e for e in RIGHT]
    outcomes = compare(SCRIPT, events, began_at=100.0)
    assert not outcomes[0].right
    assert "NOT all right" in render_table(outcomes, [])[-1]


def test_an_amendment_replaces_the_text() -> None:
    outcomes = compare(SCRIPT, [*RIGHT, event("amended", 2, "tree", 3700, 5040, 106.0)], began_at=100.0)
    assert outcomes[1].recognised == "tree"


def test_a_line_that_nobody_heard_is_wrong_and_has_no_time() -> None:
    outcomes = compare(SCRIPT, RIGHT[:3], began_at=100.0)
    assert outcomes[1].commit_ms is None
    assert not outcomes[1].right


def test_words_where_nothing_was_said_spoil_the_verdict() -> None:
    outcomes = compare(SCRIPT, RIGHT, began_at=100.0)
    assert "2 of 2 sentences word for word: all right" in render_table(outcomes, [])[-1]
    assert "NOT all right" in render_table(outcomes, ["ghost"])[-1]


def test_the_words_are_counted() -> None:
    events = [dict(e, text="one") if e["utterance_id"] == 1 else e for e in RIGHT]
    table = render_table(compare(SCRIPT, events, began_at=100.0), ["ghost word"])
    assert "words: 3 said, 0 wrong, 1 missing, 2 too many" in table


def test_the_tones_script_says_where_its_lines_are() -> None:
    script = load_script("tones")
    for line in script.lines:
        said = script.audio[8 * line.start_ms : 8 * line.end_ms]
        assert said.count(0xFF) < len(said) // 10
    gaps = zip(script.lines, script.lines[1:], strict=False)
    assert all(set(script.audio[8 * a.end_ms : 8 * b.start_ms]) == {0xFF} for a, b in gaps)


def test_tones_are_what_is_left_without_pocketsphinx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    engine, remark = choose_engine("auto")
    assert engine == "tones"
    assert remark is not None
    assert "PocketSphinx" in remark
