"""What decisions about turns are worth, by a set's labels; the same measures as the set's own score.py."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median
from typing import Any

from fastcall.events import SAMPLES_PER_MS

__all__ = ["Ends", "Stops", "lost_words", "score_ends", "score_stops", "within"]

# An interruption that stops the agent later than this does not count.
STOP_WITHIN_MS = 2000

Clips = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Ends:
    """How the ends of turns were found."""

    cut_pct: float
    """Of the pauses within turns, how many were taken for the end."""
    missed_pct: float
    """Of the turns, how many had no end before the clip's."""
    dead_air_ms: float
    """From the true end to the one that was found, mean; a missed one counts up to the clip's end."""


@dataclass(frozen=True)
class Stops:
    """How often the agent was stopped."""

    stopped_pct: float
    """Of the interruptions, how many within 2 s, and not before they began."""
    after_ms: float
    """How long after their beginning, median."""
    false_pct: Mapping[str, float]
    """By kind of what is no interruption, how often it stopped the agent."""


def score_ends(turns: Clips, ends: Mapping[str, Sequence[float]]) -> Ends:
    """A pause is cut if an end is declared after it began, and before the next pause, or the true end, begins."""
    cuts: list[bool] = []
    missed: list[bool] = []
    waits: list[float] = []
    for turn in turns:
        found = ends.get(turn["id"], ())
        true_end, clip_end = turn["turn_end"] / SAMPLES_PER_MS, turn["samples"] / SAMPLES_PER_MS
        starts = [pause["start"] / SAMPLES_PER_MS for pause in turn["pauses"]] + [true_end]
        cuts += [any(start <= at < after for at in found) for start, after in pairwise(starts)]
        right = [at for at in found if at >= true_end]
        missed.append(not right)
        waits.append(min(right, default=clip_end) - true_end)
    return Ends(_pct(cuts), _pct(missed), mean(waits))


def score_stops(cases: Clips, stops: Mapping[str, Sequence[float]]) -> Stops:
    """Only the first stop in a clip counts."""
    hits: list[bool] = []
    after: list[float] = []
    wrong: dict[str, list[bool]] = defaultdict(list)
    for case in cases:
        first = min(stops.get(case["id"], ()), default=None)
        if case["expected"] != "stop":
            wrong[case["kind"]].append(first is not None)
            continue
        wait = None if first is None else first - case["start"] / SAMPLES_PER_MS
        hits.append(wait is not None and 0 <= wait <= STOP_WITHIN_MS)
        after += [wait] if wait is not None and hits[-1] else []
    false_pct = {kind: _pct(each) for kind, each in sorted(wrong.items())}
    return Stops(_pct(hits), median(after) if after else float("nan"), false_pct)


def within(scores: Mapping[str, Ends], budget_pct: float) -> tuple[str, Ends] | None:
    """The point with the least dead air among those that cut at most ``budget_pct`` of the pauses."""
    allowed = [(name, score) for name, score in scores.items() if score.cut_pct <= budget_pct]
    return min(allowed, key=lambda each: each[1].dead_air_ms, default=None)


def lost_words(clip: dict[str, Any], texts: Sequence[str]) -> int:
    """How many words of a clip are in none of its utterances' texts."""
    said = Counter(word.strip(".,;:!?").lower() for word, _, _ in clip["words"])
    told = Counter(word.strip(".,;:!?").lower() for text in texts for word in text.split())
    return (said - told).total()


def _pct(flags: Sequence[bool]) -> float:
    return 100 * sum(flags) / len(flags) if flags else 0.0
