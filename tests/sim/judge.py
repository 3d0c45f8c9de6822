"""Whether a call's transcript says what was said: every word once, in order, at its own utterance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fastcall.events import TranscriptEvent
from sim.scenario import Scenario
from sim.speech import EDGE_SAMPLES, SpokenWord
from sim.world import Observed

__all__ = ["Verdict", "judge"]

# How much farther than the nearest utterance that which got the word may be: detectors and recognisers round.
NEAR_SAMPLES = 200 * 8
# `close()` is given 5 s; then what there is counts.
CLOSE_WITHIN_S = 5.5
# How a token begins that may stand beside an excused word: a half word, or a hypothesis that was never put right.
_STRAY = "~u"


@dataclass(slots=True)
class _Utterance:
    id: int
    start: int
    end: int = -1
    text: str = ""
    ends: int = 0
    partial_at: float = -1e9
    partial: str | None = None


@dataclass(slots=True)
class Verdict:
    """What was found. A call passes if there are no ``problems``; ``counts`` tells how hard it was."""

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    heard: list[str] = field(default_factory=list)


def judge(scenario: Scenario, seen: Observed) -> Verdict:
    """Compare what was said with what came out. See ``_excused`` for the words that may be missing."""
    verdict = Verdict(list(seen.problems))
    utterances = _utterances(scenario, seen, verdict)
    for event in ("call_started", "session_started", "session_closed", "call_ended"):
        times = sum(e.event == event for _, e in seen.events)
        if times != 1:
            verdict.problems.append(f"{event}: {times} times")
    if seen.over_at - seen.hung_up_at > CLOSE_WITHIN_S:
        verdict.problems.append(f"over only {seen.over_at - seen.hung_up_at:.1f} s after the hang-up")
    if scenario.provider.is_healthy and scenario.provider.stream_limit_s > scenario.settings.stt_rotate_by_s:
        false_alarms = [event.text for _, event in seen.events if event.event == "session_failed"]
        verdict.problems += [f"a failure was told, and there was none: {text}" for text in false_alarms]
    said = [word for word in scenario.words if word.end - EDGE_SAMPLES <= scenario.samples]
    excused = _excused(scenario, said, seen, verdict)
    heard = [(token, u) for u in utterances for token in u.text.split()]
    verdict.heard = [token for token, _ in heard]
    pairs = _align(said, [token for token, _ in heard], excused, verdict)
    if len(pairs) < len(heard) and len({word.text for word in said}) < len(said):
        pairs = []  # which of the words that sound alike is missing cannot be told
    by_fallback = [(e.start_sample or 0, e.end_sample or 0) for _, e in seen.events if e.event == "fallback"]
    for word, index in pairs:
        # Of an interim that was committed, or a text of the fallback's, the places of words are not known, but guessed.
        guessed = not scenario.provider.word_times or scenario.voice.deaf or word.end > seen.settled_to
        guessed |= any(low < word.end and word.start < high for low, high in by_fallback)
        _check_place(word, heard[index][1], utterances, verdict, guessed=guessed)
    verdict.counts["calls"] += 1
    verdict.counts["words"] += len(said)
    for _, e in seen.events:
        if e.event == "session_rotated":
            verdict.counts[f"rotated: {e.text}"] += 1
        elif e.event in ("session_failed", "amended"):
            verdict.counts[e.event] += 1
    for name, count in seen.counts.items():
        verdict.counts[f"provider: {name}"] += count
    verdict.counts["calls with audio beyond the bound"] += bool(seen.lost)
    return verdict


# --- the events --------------------------------------------------------------------------------------


def _utterances(scenario: Scenario, seen: Observed, verdict: Verdict) -> list[_Utterance]:
    """The utterances with their last text, by time; checks the order of their events."""
    found: dict[int, _Utterance] = {}
    for at, event in seen.events:
        if event.utterance_id is None:
            continue
        utterance = found.get(event.utterance_id)
        if event.event == "utterance_begin":
            if utterance is not None:
                verdict.problems.append(f"utterance {event.utterance_id} begins twice")
            found[event.utterance_id] = _Utterance(event.utterance_id, event.start_sample or 0)
        elif utterance is None:
            verdict.problems.append(f"{event.event} of utterance {event.utterance_id}, which has not begun")
        else:
            _take(event, at, utterance, scenario.settings.stt_partial_debounce_ms / 1000, verdict)
    for utterance in found.values():
        if utterance.ends != 1:
            verdict.problems.append(f"utterance {utterance.id} ends {utterance.ends} times")
        elif utterance.start > utterance.end:
            verdict.problems.append(f"utterance {utterance.id} is from {utterance.start} to {utterance.end}")
    return sorted(found.values(), key=lambda u: (u.start, u.id))


def _take(event: TranscriptEvent, at: float, utterance: _Utterance, debounce_s: float, verdict: Verdict) -> None:
    text = event.text or ""
    if event.event == "partial":
        if utterance.ends:
            verdict.problems.append(f"a partial of utterance {utterance.id} after its end")
        if text == utterance.partial:
            verdict.problems.append(f"the partial {text!r} is repeated")
        if at < utterance.partial_at + debounce_s - 1e-6:
            verdict.problems.append(f"partials only {at - utterance.partial_at:.3f} s apart")
        utterance.partial, utterance.partial_at = text, at
    elif event.event == "utterance_end":
        utterance.ends += 1
        utterance.text = text
        utterance.end = event.end_sample if event.end_sample is not None else -1
    elif event.event == "amended":
        if not utterance.ends:
            verdict.problems.append(f"utterance {utterance.id} is amended before its end")
        if text == utterance.text:
            verdict.problems.append(f"utterance {utterance.id} is amended to the same text")
        utterance.text = text


# --- the words ---------------------------------------------------------------------------------------


def _excused(scenario: Scenario, said: list[SpokenWord], seen: Observed, verdict: Verdict) -> list[bool]:
    """Which words may be missing or wrong: those in audio that outgrew the replay bound, and, if the session
    told of a failure that was not over, or could not settle all before the call's end and said so, those after F."""
    trouble = False
    for _, event in seen.events:
        if event.event == "session_failed":
            trouble = True
        elif event.event == "session_rotated":
            trouble = False
    borders = _fallback_borders(seen)
    gaps = _gaps(seen, is_all=not scenario.settings.enable_streaming_stt)
    given_up = [
        (event.start_sample or 0, event.end_sample or 0)
        for _, event in seen.events
        if event.event == "fallback" and (event.text or "").startswith("failed")
    ]
    excused = []
    for word in said:
        beyond = any(word.start < high and word.end > low for low, high in seen.lost)
        beyond |= any(word.start < border < word.end for border in borders)
        beyond |= any(word.start < high and word.end > low for low, high in given_up + gaps)
        unsettled = trouble and word.end > seen.settled_to - 400
        verdict.counts["excused: beyond the bound"] += beyond
        verdict.counts["excused: the call ended in a failure that was told"] += unsettled and not beyond
        excused.append(beyond or unsettled)
    verdict.counts["calls that ended in a failure that was told"] += trouble
    return excused


def _fallback_borders(seen: Observed) -> list[int]:
    """Where speech without a pause was cut, between what the fallback settled and what it did not."""
    spans = [(e.start_sample, e.end_sample) for _, e in seen.events if e.event == "final" and e.source == "whisper"]
    return [border for span in spans for border in span if border is not None]


def _gaps(seen: Observed, *, is_all: bool) -> list[tuple[int, int]]:
    """What no detector took for speech, and what nobody heard because the fallback settled words after it; or, because
    it ``is_all`` there is, at the end of the call."""
    gaps, asks = [], []
    settled = 0
    for _, event in seen.events:
        if event.event == "fallback":
            asks.append((event.start_sample or 0, event.end_sample or 0))
        elif event.event == "final" and event.end_sample is not None:
            if event.source == "whisper":
                heard_from = max(low for low, high in asks if low < event.end_sample <= high)
                gaps.append((settled, heard_from))
            settled = max(settled, event.end_sample)
    if is_all:
        heard = [0, *sorted(high for _, high in asks)]
        gaps = list(zip(heard, [*sorted(low for low, _ in asks), 1 << 60], strict=True))
    return gaps


def _align(
    said: list[SpokenWord], heard: list[str], excused: list[bool], verdict: Verdict
) -> list[tuple[SpokenWord, int]]:
    """Pairs each word with its token. What is missing, doubled or wrong without excuse is a problem."""
    if [word.text for word in said] == heard:
        return list(zip(said, range(len(heard)), strict=True))
    # The cheapest way from said to heard. Free are: equal words, an excused word missing, an excused word wrong.
    rows, columns = len(said) + 1, len(heard) + 1
    cost = [[0] * columns for _ in range(rows)]
    step = [[""] * columns for _ in range(rows)]
    near_excused = [False] * rows
    for i, flag in enumerate(excused):
        near_excused[i] |= flag
        near_excused[i + 1] |= flag
    for i in range(rows):
        for j in range(columns):
            ways: list[tuple[int, str]] = [] if i or j else [(0, "")]
            if i and j:
                same = said[i - 1].text == heard[j - 1]
                wrong = 0 if excused[i - 1] and heard[j - 1][0] in _STRAY else 2
                ways.append((cost[i - 1][j - 1] + (0 if same else wrong), "same" if same else "wrong"))
            if i:
                ways.append((cost[i - 1][j] + (0 if excused[i - 1] else 1), "missing"))
            if j:
                stray = near_excused[i] and heard[j - 1][0] in _STRAY
                ways.append((cost[i][j - 1] + (0 if stray else 1), "extra"))
            cost[i][j], step[i][j] = min(ways, key=lambda way: way[0])
    pairs = []
    i, j = rows - 1, columns - 1
    while i or j:
        what = step[i][j]
        if what == "extra":
            if cost[i][j] > cost[i][j - 1]:
                verdict.problems.append(f"heard but not said here: {heard[j - 1]!r} (token {j - 1})")
            j -= 1
        elif what == "missing":
            if cost[i][j] > cost[i - 1][j]:
                verdict.problems.append(f"said but not heard: {_where(said[i - 1])}")
            else:
                verdict.counts["excuses used"] += 1
            i -= 1
        else:
            i, j = i - 1, j - 1
            if what == "same":
                pairs.append((said[i], j))
            elif cost[i + 1][j + 1] > cost[i][j]:
                verdict.problems.append(f"{_where(said[i])} was heard as {heard[j]!r}")
            else:
                verdict.counts["excuses used"] += 1
    return pairs[::-1]


def _where(word: SpokenWord) -> str:
    return f"{word.text!r} at {word.start / 8000:.2f}-{word.end / 8000:.2f} s"


def _check_place(
    word: SpokenWord, got: _Utterance, utterances: list[_Utterance], verdict: Verdict, *, guessed: bool
) -> None:
    """A word's own utterance is the one that is nearest to its middle."""
    middle = (word.start + word.end) // 2
    distances = {u.id: max(u.start - middle, middle - u.end, 0) for u in utterances}
    nearest = min(distances.values())
    if distances[got.id] <= nearest + NEAR_SAMPLES:
        return
    if guessed:
        verdict.counts["words without times that are at a neighbour"] += 1
    else:
        own = min(distances, key=lambda key: distances[key])
        verdict.problems.append(f"{_where(word)} is at utterance {got.id} and not at {own}")
