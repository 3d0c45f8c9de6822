"""Whether a call's transcript says what was said: every word once, in order, at its own utterance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fastcall.events import TranscriptEvent
from fastcall.recognition.provider_stream import CLOSING_SPEED
from fastcall.recognition.stall import STALL_S
from fastcall.recognition.utterance import COVER_TOLERANCE_SAMPLES
from fastcall.server.call_runner import CLOSE_TIMEOUT_S
from sim.scenario import RATE, Scenario
from sim.speech import EDGE_SAMPLES, SpokenWord
from sim.world import Observed

__all__ = ["Verdict", "judge"]

# How much farther than the nearest utterance that which got the word may be: detectors and recognizers round.
NEAR_SAMPLES = 200 * 8
# `close()` is given 5 s; then what there is counts.
CLOSE_WITHIN_S = 5.5
# A word that is missing, too many, or (twice as much) another one; against how far it is from its place.
PROBLEM = 1_000_000
# How long after the half-close the provider ends the stream at most.
FLUSH_S = 1.0
# What a stream may take longer to be accepted, now and then.
SLOW_ACCEPT_S = 3.0
# The longest back-off and the breaker's probes, with the provider's delays.
RECOVERY_S = 14.0
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
    verdict.problems += [f"a failure was told, and there was none: {text}" for text in _false_alarms(scenario, seen)]
    said = [word for word in scenario.words if word.end - EDGE_SAMPLES <= scenario.samples]
    excused, by_interim = _excused(scenario, said, seen, verdict)
    heard = [(token, u) for u in utterances for token in u.text.split()]
    verdict.heard = [token for token, _ in heard]
    pairs = _align(said, heard, excused, by_interim, verdict)
    by_fallback = [(e.start_sample or 0, e.end_sample or 0) for _, e in seen.events if e.event == "fallback"]
    for word, index in pairs:
        # Of an interim that was committed, or a text of the fallback's, the places of words are not known, but guessed.
        guessed = not scenario.provider.word_times or scenario.voice.deaf or word.end > seen.settled_to
        guessed = guessed or _touches_any(word, [(low, high) for low, high, _ in seen.evicted])
        guessed = guessed or _touches_any(word, by_fallback)
        _check_place(word, heard[index][1], utterances, verdict, guessed=guessed)
    _check_commits(scenario, seen, verdict)
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


def _false_alarms(scenario: Scenario, seen: Observed) -> list[str]:
    """Failures that were told of a provider which did all that it should."""
    provider = scenario.provider
    if not provider.is_healthy or provider.stream_limit_s <= scenario.settings.stt_rotate_by_s:
        return []
    alarms = [event.text or "" for _, event in seen.events if event.event == "session_failed"]
    # A new stream begins with what is not settled; where ages are short it may not have the time that this takes.
    connect_s = provider.connect_s[1] + (SLOW_ACCEPT_S if provider.slow_accept else 0)
    catch_up_s = seen.unsettled_at_hang_up / RATE / CLOSING_SPEED
    if connect_s + catch_up_s + provider.final_s[1] + FLUSH_S > CLOSE_TIMEOUT_S:
        alarms = [text for text in alarms if "of the call within" not in text]
    return alarms


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


def _check_commits(scenario: Scenario, seen: Observed, verdict: Verdict) -> None:
    """What the provider had told of an utterance's words when it was committed is there, if only at a neighbour.

    Not of the last 300 ms: finals that reach so far cover the utterance. What a neighbour may have claimed is not yet
    told in two cases: the one after it is still open, and the debouncer holds its partial; or a neighbour was committed
    before, and amends its text with its final. Then only the first and the last word can be the neighbour's.
    """
    said = scenario.words
    if scenario.provider.rewrites or seen.lost or len({word.text for word in said}) < len(said):
        return
    texts: dict[int | None, list[str]] = {}
    open_ids: set[int | None] = set()
    over_from: set[int] = set()
    settled: set[str] = set()
    for at, event in seen.events:
        if event.event == "utterance_begin":
            open_ids.add(event.utterance_id)
        elif event.event == "utterance_end":
            open_ids.discard(event.utterance_id)
            if event.start_sample is not None:
                over_from.add(event.start_sample)
        if event.event == "final":
            settled.update((event.text or "").split())
        if event.event not in ("partial", "utterance_end", "amended"):
            continue
        texts[event.utterance_id] = (event.text or "").split()
        if event.event != "utterance_end" or event.start_sample is None or event.end_sample is None:
            continue
        if len(open_ids) > 1:
            continue  # of a neighbour that is open, but not the newest, no text is told before its end
        there = settled.union(*texts.values())
        covered_from = event.end_sample - COVER_TOLERANCE_SAMPLES - scenario.provider.rounding_samples
        inside = [w for w in said if event.start_sample <= w.start < covered_from]
        told_by = at - scenario.settings.stt_partial_debounce_ms / 1000 if open_ids else at
        for index, word in enumerate(inside):
            if seen.told.get(word.number, at) >= told_by or word.text in there:
                continue
            is_last = index == len(inside) - 1
            if index == 0:
                verdict.counts["first words that were known and not committed"] += 1
            elif is_last and any(0 <= start - event.end_sample < NEAR_SAMPLES for start in over_from):
                verdict.counts["last words that were known and not committed"] += 1
            else:
                verdict.problems.append(f"known and not committed at {at - seen.began_at:.2f} s: {_where(word)}")


# --- the words ---------------------------------------------------------------------------------------


def _excused(
    scenario: Scenario, said: list[SpokenWord], seen: Observed, verdict: Verdict
) -> tuple[list[bool], list[bool]]:
    """Which words may be missing or wrong: those in audio that outgrew the replay bound, and those after the settled
    end if the session reported a failure that was not over and had had no time to make it good.
    A word that the provider told of is not excused: what was known is never lost.

    :return: of each word whether it may be missing, and whether no final came for it, so that the last interim, which
        may have misheard it or have a word too many, is all there is
    """
    trouble = False
    for _, event in seen.events:
        if event.event == "session_failed":
            trouble = True
        elif event.event == "session_rotated":
            trouble = False
    since = _not_made_good_since(scenario, seen)
    borders, unheard = _fallback_borders(seen), _unheard_by_fallback(scenario, seen)
    excused, by_interim = [], []
    for word in said:
        evicted = _touches_any(word, [(low, high + NEAR_SAMPLES) for low, high, _ in seen.evicted])
        by_interim.append(evicted or (trouble and word.end > seen.settled_to - 400))
        given_up = _touches_any(word, [(low, high) for low, high, told in seen.evicted if word.number not in told])
        if word.number in seen.told and not given_up and not _touches_any(word, seen.lost_in_reach):
            excused.append(False)
            continue
        beyond = given_up or _touches_any(word, seen.lost + unheard)
        beyond = beyond or any(word.start < border < word.end for border in borders)
        unsettled = trouble and word.end > max(seen.settled_to - 400, since)
        verdict.counts["excused: beyond the bound"] += beyond
        verdict.counts["excused: the call ended in a failure that was told"] += unsettled and not beyond
        excused.append(beyond or unsettled)
    verdict.counts["calls that ended in a failure that was told"] += trouble
    return excused, by_interim


def _not_made_good_since(scenario: Scenario, seen: Observed) -> int:
    """The sample of the call before which everything was to be settled when it ended, whatever had failed."""
    provider, settings = scenario.provider, scenario.settings
    connect_s = provider.connect_s[1] + (SLOW_ACCEPT_S if provider.slow_accept else 0)
    backlog_s = seen.unsettled_at_last_fault / RATE + RECOVERY_S
    catch_up_s = connect_s + backlog_s / (settings.stt_replay_speed - 1) + provider.final_s[1]
    made_good_s = RECOVERY_S + catch_up_s + (STALL_S * 2**seen.ill_streams if seen.ill_streams else 0)
    if catch_up_s > settings.stt_rotate_after_s or seen.hung_up_at - seen.last_fault_at < made_good_s:
        return 0  # a stream that is replaced before it has caught up makes nothing good
    return max((samples for at, samples in seen.fed if at < seen.hung_up_at - made_good_s), default=0)


def _touches_any(word: SpokenWord, spans: list[tuple[int, int]]) -> bool:
    return any(word.start < high and word.end > low for low, high in spans)


def _fallback_borders(seen: Observed) -> list[int]:
    """Where speech without a pause was cut, between what the fallback settled and what it did not."""
    spans = [(e.start_sample, e.end_sample) for _, e in seen.events if e.event == "final" and e.source == "whisper"]
    return [border for span in spans for border in span if border is not None]


def _unheard_by_fallback(scenario: Scenario, seen: Observed) -> list[tuple[int, int]]:
    """What it was told to have failed for; and what no detector took for speech, and nobody heard because the fallback
    settled words after it, or because it was all there was."""
    asks, unheard = [], []
    settled = 0
    for _, event in seen.events:
        span = (event.start_sample or 0, event.end_sample or 0)
        if event.event == "fallback":
            (unheard if (event.text or "").startswith("failed") else asks).append(span)
        elif event.event == "final":
            if event.source == "whisper":
                unheard.append((settled, max(low for low, high in asks if low < span[1] <= high)))
            settled = max(settled, span[1])
    if not scenario.settings.enable_streaming_stt:
        ends = [0, *sorted(high for _, high in asks)]
        unheard += zip(ends, [*sorted(low for low, _ in asks), 1 << 60], strict=True)
    return unheard


def _align(
    said: list[SpokenWord],
    given: list[tuple[str, _Utterance]],
    excused: list[bool],
    by_interim: list[bool],
    verdict: Verdict,
) -> list[tuple[SpokenWord, int]]:
    """Pairs each word with its token. What is missing, doubled or wrong without excuse is a problem."""
    heard = [token for token, _ in given]
    if [word.text for word in said] == heard:
        return list(zip(said, range(len(heard)), strict=True))
    # The cheapest way from said to heard. Free are: equal words, an excused word missing, an excused word wrong. Of
    # ways that cost the same, one on which words that sound alike are where they were said.
    rows, columns = len(said) + 1, len(heard) + 1
    cost = [[0] * columns for _ in range(rows)]
    step = [[""] * columns for _ in range(rows)]
    near_excused = [False] * rows
    may_be_wrong = [one or other for one, other in zip(excused, by_interim, strict=True)]
    for i, flag in enumerate(may_be_wrong):
        near_excused[i] |= flag
        near_excused[i + 1] |= flag
    for i in range(rows):
        for j in range(columns):
            ways: list[tuple[int, str]] = [] if i or j else [(0, "")]
            if i and j and said[i - 1].text == heard[j - 1]:
                ways.append((cost[i - 1][j - 1] + _displaced(said[i - 1], given[j - 1][1]), "same"))
            elif i and j:
                free = may_be_wrong[i - 1] and heard[j - 1][0] in _STRAY
                ways.append((cost[i - 1][j - 1] + (0 if free else 2 * PROBLEM), "wrong"))
            if i:
                ways.append((cost[i - 1][j] + (0 if excused[i - 1] else PROBLEM), "missing"))
            if j:
                stray = near_excused[i] and heard[j - 1][0] in _STRAY
                ways.append((cost[i][j - 1] + (0 if stray else PROBLEM), "extra"))
            cost[i][j], step[i][j] = min(ways, key=lambda way: way[0])
    pairs = []
    i, j = rows - 1, columns - 1
    while i or j:
        what = step[i][j]
        if what == "extra":
            if cost[i][j] >= cost[i][j - 1] + PROBLEM:
                verdict.problems.append(f"heard but not said here: {heard[j - 1]!r} (token {j - 1})")
            j -= 1
        elif what == "missing":
            if cost[i][j] >= cost[i - 1][j] + PROBLEM:
                verdict.problems.append(f"said but not heard: {_where(said[i - 1])}")
            else:
                verdict.counts["excuses used"] += 1
            i -= 1
        else:
            i, j = i - 1, j - 1
            if what == "same":
                pairs.append((said[i], j))
            elif cost[i + 1][j + 1] >= cost[i][j] + PROBLEM:
                verdict.problems.append(f"{_where(said[i])} was heard as {heard[j]!r}")
            else:
                verdict.counts["excuses used"] += 1
    return pairs[::-1]


def _where(word: SpokenWord) -> str:
    return f"{word.text!r} at {word.start / 8000:.2f}-{word.end / 8000:.2f} s"


def _distance(word: SpokenWord, utterance: _Utterance) -> int:
    """How far the word's middle is outside the utterance."""
    middle = (word.start + word.end) // 2
    return max(utterance.start - middle, middle - utterance.end, 0)


def _displaced(word: SpokenWord, utterance: _Utterance) -> int:
    """The distance as a cost that all words of a call together do not make a problem."""
    return min(_distance(word, utterance) // 800, 100)


def _check_place(
    word: SpokenWord, got: _Utterance, utterances: list[_Utterance], verdict: Verdict, *, guessed: bool
) -> None:
    """A word's own utterance is the one that is nearest to its middle."""
    own = min(utterances, key=lambda u: _distance(word, u))
    if _distance(word, got) <= _distance(word, own) + NEAR_SAMPLES:
        return
    if guessed:
        verdict.counts["words without times that are at a neighbour"] += 1
    else:
        verdict.problems.append(f"{_where(word)} is at utterance {got.id} and not at {own.id}")
