"""GO or NO-GO: checks a server by a call's transcript stream and its caller's report.

Each row is one check; a row without a result (for example, if the handler never spoke) is *n/a* and does not count.
Times are seconds since the call's first frame; the callers of this module align both clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from fastcall.wer import words

__all__ = ["CallFacts", "CheckPlan", "Row", "judge", "render_rows"]

Answer = Literal["go", "no-go", "n/a"]

SESSION_WITHIN_S = 1.0
FIRST_RESPONSE_S = 1.2
MEDIAN_MS = (180.0, 250.0)
# `at` is set when an event is written, slightly after the time used by the debounce.
TOLERANCE_MS = 5.0


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """The check's call, and its expectations."""

    utterances: tuple[str, ...]
    """The words of each utterance. Empty texts: the words are unknown, there is only speech."""
    ends_s: tuple[float, ...]
    """When each ends."""
    call_s: float
    """How long the call is."""
    steady: bool
    """Whether the audio gives a new text every 100 ms or so, so that the cadence's median means something."""
    debounce_ms: float = 180.0
    expects_refusal: bool = True
    """Whether a call without a signature must be refused."""


@dataclass(slots=True)
class CallFacts:
    """The observations."""

    error: str | None = None
    """Why the call failed."""
    twilio_code: int | None = None
    close_code: int | None = None
    ended_s: float | None = None
    """When the socket was closed."""
    violations: Sequence[str] = ()
    discarded: int = 0
    audio_at_s: Sequence[float] = ()
    """When audio arrived from the server."""
    events: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """The call's records of the transcript stream; ``at`` in seconds since the first frame."""
    events_error: str | None = None
    """Why the transcript stream could not be read."""
    unsigned: str | None = None
    """The result of a call without a signature: None: refused; else how it was answered."""

    def of(self, *names: str) -> list[Mapping[str, Any]]:
        """The events of these names, in order."""
        return [event for event in self.events if event["event"] in names]


@dataclass(frozen=True, slots=True)
class Row:
    """One check and its result."""

    name: str
    answer: Answer
    detail: str


def judge(plan: CheckPlan, facts: CallFacts) -> list[Row]:
    """All rows, in the order of a call. GO: no row says no-go."""
    questions: tuple[tuple[str, Callable[[CheckPlan, CallFacts], tuple[Answer, str]]], ...] = (
        ("answered", _answered),
        ("unsigned calls refused", _unsigned),
        ("transcript stream", _readable),
        ("session at once", _session),
        ("partials", _partials),
        ("partial cadence", _cadence),
        ("final of each utterance", _finals),
        ("first response", _first_response),
        ("open to the end", _open),
        ("closed cleanly", _closed),
        ("Twilio's rules", _violations),
    )
    return [Row(name, *ask(plan, facts)) for name, ask in questions]


def render_rows(rows: Sequence[Row]) -> list[str]:
    """A table, and the verdict."""
    width = max(len(row.name) for row in rows)
    marks = {"go": "GO", "no-go": "NO-GO", "n/a": "n/a"}
    lines = [f"{marks[row.answer]:6} {row.name:{width}}  {row.detail}" for row in rows]
    wrong = sum(row.answer == "no-go" for row in rows)
    return [*lines, "", "GO" if not wrong else f"NO-GO: {wrong} of {len(rows)} rows"]


def _answer(good: bool) -> Answer:
    return "go" if good else "no-go"


def _answered(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    if facts.ended_s is None and facts.error:
        code = f"{facts.twilio_code}: " if facts.twilio_code else ""
        return "no-go", code + facts.error
    return "go", "the upgrade was accepted"


def _unsigned(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    if not plan.expects_refusal:
        return "n/a", "loopback only, and no TWILIO_AUTH_TOKEN is set here"
    if facts.unsigned is None:
        return "go", "a call without a valid signature is refused"
    return "no-go", f"a call without a valid signature was {facts.unsigned}: set TWILIO_AUTH_TOKEN at the server"


def _readable(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    if facts.events_error:
        return "no-go", facts.events_error
    return "go", f"{len(facts.events)} events of this call"


def _session(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    started, failed = facts.of("session_started"), facts.of("session_failed")
    if not started:
        return "no-go", "no session_started came"
    after_s = started[0]["at"]
    good = len(started) == 1 and after_s <= SESSION_WITHIN_S and not failed
    said = f"{len(started)} started, the first {1000 * after_s:.0f} ms after the first frame"
    return _answer(good), said + (f"; {len(failed)} failed" if failed else "")


def _partials(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    with_partials = {event["utterance_id"] for event in facts.of("partial")}
    count, wanted = len(facts.of("partial")), len(plan.utterances)
    detail = f"{count} partials in {len(with_partials)} utterances; {wanted} were said"
    return _answer(len(with_partials) >= wanted > 0), detail


def _gaps_ms(facts: CallFacts) -> list[float]:
    """Between partials of one utterance."""
    at: dict[Any, list[float]] = {}
    for event in facts.of("partial"):
        at.setdefault(event["utterance_id"], []).append(event["at"])
    return [1000 * (later - earlier) for moments in at.values() for earlier, later in pairwise(moments)]


def _cadence(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    gaps = _gaps_ms(facts)
    if not gaps:
        return "no-go", "no two partials of one utterance came"
    least, middle = min(gaps), median(gaps)
    detail = f"every {middle:.0f} ms (median), never closer than {least:.0f} ms"
    good = least >= plan.debounce_ms - TOLERANCE_MS
    if plan.steady:
        good = good and MEDIAN_MS[0] <= middle <= MEDIAN_MS[1]
        detail += f"; {MEDIAN_MS[0]:.0f} to {MEDIAN_MS[1]:.0f} ms is wanted"
    return _answer(good), detail


def _texts(facts: CallFacts) -> list[str]:
    """The final text of each utterance, in order of time, without empty ones."""
    ends = {event["utterance_id"]: event for event in facts.of("utterance_end")}
    texts = {event["utterance_id"]: event["text"] or "" for event in facts.of("utterance_end", "amended")}
    return [texts[key] for key in sorted(ends, key=lambda key: ends[key]["start_ms"] or 0) if texts[key]]


def _finals(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    texts, wanted = _texts(facts), plan.utterances
    finals = len(facts.of("final"))
    detail = f"{len(texts)} utterances with words and {finals} finals; {len(wanted)} were said"
    if len(texts) < len(wanted) or not finals:
        return "no-go", detail
    wrong = [text for text, said in zip(texts, wanted, strict=False) if said and words(text) != words(said)]
    if wrong or (wanted[0] and len(texts) > len(wanted)):
        return "no-go", detail + f"; {len(wrong)} with other words, such as {wrong[:1]}"
    return "go", detail


def _first_response(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    if not facts.audio_at_s:
        return "n/a", "the handler never spoke"
    waits: list[float] = []
    for end_s, next_s in pairwise((*plan.ends_s, plan.call_s)):
        first = next((at for at in facts.audio_at_s if end_s <= at < next_s), None)
        if first is not None:
            waits.append(first - end_s)
    if not waits:
        return "n/a", "the handler spoke, but after no utterance"
    detail = f"at most {1000 * max(waits):.0f} ms after the end of speech, {len(waits)} of {len(plan.ends_s)} answered"
    return _answer(max(waits) < FIRST_RESPONSE_S), detail


def _open(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    if facts.ended_s is None:
        return "no-go", "the call never was open"
    early = [event for event in facts.of("session_closed") if event["at"] < plan.call_s - 0.5]
    if early:
        return "no-go", f"the session was closed after {early[0]['at']:.1f} s of {plan.call_s:.0f} s"
    if facts.error or facts.ended_s < plan.call_s - 0.5:
        why = facts.error or "the agent hung up"
        return "no-go", f"the stream ended after {facts.ended_s:.1f} s of {plan.call_s:.0f} s: {why}"
    return "go", f"{plan.call_s:.0f} s"


def _closed(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    if facts.ended_s is None:
        return "no-go", "the call never was open"
    closed, ended = len(facts.of("session_closed")), len(facts.of("call_ended"))
    detail = f"close code {facts.close_code}, {closed} session_closed, {ended} call_ended"
    return _answer(facts.error is None and facts.close_code == 1000 and closed == ended == 1), detail


def _violations(plan: CheckPlan, facts: CallFacts) -> tuple[Answer, str]:
    if facts.violations:
        return "no-go", f"{len(facts.violations)} messages that Twilio refuses, such as {facts.violations[0]}"
    if facts.discarded:
        return "no-go", f"31930: the server read too slowly, {facts.discarded} frames were discarded"
    if facts.ended_s is None:
        return "n/a", "nothing was said"
    return "go", "nothing that Twilio would log"
