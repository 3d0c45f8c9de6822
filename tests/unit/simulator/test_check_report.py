"""simulator/check_report.py: GO for a good call, and for each thing that is wrong NO-GO in the row that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fastcall.simulator.check_report import CallFacts, CheckPlan, judge, render_rows

PLAN = CheckPlan(("one two three", "four five six"), (3.0, 9.0), 12.0, steady=True)


def event(name: str, at: float, utterance: int | None = None, text: str | None = None, **other: Any) -> dict[str, Any]:
    return {"event": name, "at": at, "utterance_id": utterance, "text": text, "start_ms": None} | other


def good_facts() -> CallFacts:
    events = [event("call_started", 0.0), event("session_started", 0.001)]
    for number, (text, end_s) in enumerate(zip(PLAN.utterances, PLAN.ends_s, strict=True)):
        events.append(event("utterance_begin", end_s - 2, number))
        events += [event("partial", end_s - 2 + 0.2 * step, number, text[: 3 * step]) for step in range(1, 8)]
        events.append(event("final", end_s + 0.9, None, text))
        events.append(event("utterance_end", end_s + 0.8, number, text, start_ms=1000 * (end_s - 2)))
    events += [event("session_closed", 12.1), event("call_ended", 12.2)]
    return CallFacts(close_code=1000, ended_s=12.0, events=events, audio_at_s=(3.9, 4.0, 10.1))


def answers(facts: CallFacts, plan: CheckPlan = PLAN) -> dict[str, str]:
    return {row.name: row.answer for row in judge(plan, facts)}


def without(facts: CallFacts, *names: str) -> CallFacts:
    return replace(facts, events=[one for one in facts.events if one["event"] not in names])


def changed(facts: CallFacts, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> CallFacts:
    return replace(facts, events=[change(dict(one)) if one["event"] == name else one for one in facts.events])


def test_a_good_call_is_go_in_each_row() -> None:
    rows = judge(PLAN, good_facts())
    assert {row.answer for row in rows} == {"go"}
    assert render_rows(rows)[-1] == "GO"


def slower(one: dict[str, Any]) -> dict[str, Any]:
    return one | {"at": 2 * one["at"]}


def twice(facts: CallFacts) -> CallFacts:
    return replace(facts, events=[*facts.events, event("session_started", 5.0)])


@pytest.mark.parametrize(
    ("wrong", "rows"),
    [
        (lambda f: without(f, "partial"), {"partials", "partial cadence"}),
        (lambda f: changed(f, "partial", slower), {"partial cadence"}),
        (lambda f: changed(f, "partial", lambda one: one | {"at": one["at"] * 0.8}), {"partial cadence"}),
        (lambda f: without(f, "session_started"), {"session at once"}),
        (lambda f: changed(f, "session_started", lambda one: one | {"at": 1.5}), {"session at once"}),
        (twice, {"session at once"}),
        (lambda f: without(f, "final"), {"final of each utterance"}),
        (lambda f: without(f, "utterance_end"), {"final of each utterance"}),
        (lambda f: changed(f, "utterance_end", lambda one: one | {"text": "one two"}), {"final of each utterance"}),
        (lambda f: replace(f, audio_at_s=(4.3,)), {"first response"}),
        (lambda f: replace(f, ended_s=7.0, error="closed"), {"open to the end", "closed cleanly"}),
        (lambda f: changed(f, "session_closed", lambda one: one | {"at": 6.0}), {"open to the end"}),
        (lambda f: replace(f, close_code=1011), {"closed cleanly"}),
        (lambda f: without(f, "call_ended"), {"closed cleanly"}),
        (lambda f: replace(f, violations=["31951: not JSON"]), {"Twilio's rules"}),
        (lambda f: replace(f, discarded=3), {"Twilio's rules"}),
        (lambda f: replace(f, unsigned="accepted"), {"unsigned calls refused"}),
        (lambda f: replace(f, events_error="HTTP 404"), {"transcript stream"}),
    ],
)
def test_what_is_wrong_is_no_go_in_its_row(wrong: Callable[[CallFacts], CallFacts], rows: set[str]) -> None:
    facts = wrong(good_facts())
    assert {name for name, answer in answers(facts).items() if answer == "no-go"} == rows
    assert render_rows(judge(PLAN, facts))[-1] == f"NO-GO: {len(rows)} of 11 rows"


def test_a_call_that_is_not_answered_says_why() -> None:
    facts = CallFacts(error="the path is wrong", twilio_code=31920)
    rows = {row.name: row for row in judge(PLAN, facts)}
    assert (rows["answered"].answer, rows["answered"].detail) == ("no-go", "31920: the path is wrong")
    assert rows["Twilio's rules"].answer == "n/a"


def test_what_cannot_be_judged_stands_in_nobodys_way() -> None:
    facts = replace(good_facts(), audio_at_s=())
    found = answers(facts, replace(PLAN, expects_refusal=False))
    assert (found["first response"], found["unsigned calls refused"]) == ("n/a", "n/a")
    # Audio before anything was said is a greeting, not a response.
    assert answers(replace(facts, audio_at_s=(0.1,)))["first response"] == "n/a"


def test_speech_that_gives_no_steady_text_is_not_asked_for_a_median() -> None:
    facts = changed(good_facts(), "partial", slower)
    assert answers(facts, replace(PLAN, steady=False))["partial cadence"] == "go"


def test_words_that_are_not_known_are_not_judged() -> None:
    plan = replace(PLAN, utterances=("", ""))
    facts = changed(good_facts(), "utterance_end", lambda one: one | {"text": "anything"})
    assert answers(facts, plan)["final of each utterance"] == "go"
