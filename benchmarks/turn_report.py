"""How well turns are judged on a labelled set: what `make turns` prints.

The default settings by condition; the dead air at which 5 % of the pauses are cut, by silence alone, by default, and if
the agent says what it expects (``call.expect``); callers who are 18 dB weaker. The plot has the cut pauses against the
dead air of all settings that were tried. What is played, and how, is in turns.py; some 20 seconds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from turn_plot import draw_turns
from turn_scores import Ends, Stops, lost_words, score_ends, score_stops, within
from turns import DEFAULT, SILENCE, SWEEP, Decisions, Point, as_scored, checked_set, parser_of, play, print_tables

WEAKER_DB = 18
BUDGETS_PCT = (5, 10)
OLD, NEW, EXPECTING = "silence alone", "adaptive", "with expectations"

Played = dict[str, Decisions]


def ends_of(clips: Sequence[dict[str, Any]], played: Played) -> Ends:
    return score_ends(clips, {clip["id"]: played[clip["id"]].ends for clip in clips})


def stops_of(labels: dict[str, Any], played: Played) -> Stops:
    cases = labels["interruptions"]
    return score_stops(cases, {case["id"]: played[case["id"]].stops for case in cases})


def print_defaults(folder: Path, labels: dict[str, Any], points: Sequence[Point], played: Sequence[Played]) -> None:
    """The scorer's tables by condition, or, for a set without a scorer, ours."""
    print("\n## Default settings\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        decisions = Path(temporary) / "decisions.json"
        decisions.write_text(json.dumps(as_scored(labels, points, played)))
        if not print_tables(folder, decisions, "--by", "condition"):
            for point, each in zip(points, played, strict=True):
                print_point(labels, point.name, each)


def print_point(labels: dict[str, Any], name: str, played: Played) -> None:
    """A table by condition, and the interruptions."""
    print(f"{name}\n\n| condition | turns | cut % | missed % | dead air ms |\n|---|---:|---:|---:|---:|")
    for condition in ["all", *sorted({turn["condition"] for turn in labels["turns"]})]:
        turns = [turn for turn in labels["turns"] if condition in ("all", turn["condition"])]
        ends = ends_of(turns, played)
        figures = f"{ends.cut_pct:.1f} | {ends.missed_pct:.1f} | {ends.dead_air_ms:.0f}"
        print(f"| {condition} | {len(turns)} | {figures} |")
    stops = stops_of(labels, played)
    print(f"\ninterruptions: {stops.stopped_pct:.0f} % stop the agent, after {stops.after_ms:.0f} ms (median)")
    print("".join(f"{kind}: {pct:.0f} % stop it\n" for kind, pct in stops.false_pct.items()))


def print_budgets(ways: dict[str, dict[str, Ends]]) -> None:
    """The least dead air of each way at a share of cut pauses."""
    print("\n## The least mean dead air, by how many pauses are cut\n")
    print("| | " + " | ".join(f"at {budget} %" for budget in BUDGETS_PCT) + " |\n|---|" + "---:|" * len(BUDGETS_PCT))
    for name, scores in ways.items():
        best = [within(scores, budget) for budget in BUDGETS_PCT]
        cells = [f"{each[1].dead_air_ms:.0f} ms ({each[0]})" if each else "none tried" for each in best]
        print(f"| {name} | {' | '.join(cells)} |")


def print_quiet(labels: dict[str, Any], played: Played) -> None:
    """How callers fare who are far from the telephone."""
    clean = [turn for turn in labels["turns"] if turn["condition"] == "clean"]
    ends, stops = ends_of(clean, played), stops_of(labels, played)
    words = sum(len(turn["words"]) for turn in clean)
    lost = sum(lost_words(turn, list(played[turn["id"]].texts.values())) for turn in clean)
    print(f"\n## Callers who are {WEAKER_DB} dB weaker, {len(clean)} clean turns\n")
    print(f"ends missed: {ends.missed_pct:.1f} %; words lost: {lost} of {words}")
    print(f"pauses cut: {ends.cut_pct:.1f} %; mean dead air: {ends.dead_air_ms:.0f} ms")
    print(f"interruptions that stop the agent, which is not weaker: {stops.stopped_pct:.0f} %")


def main() -> None:
    """Play the set with each setting, print the tables, write the plot."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--plot", type=Path, help="SVG file to write")
    arguments = parser.parse_args()
    labels = checked_set(parser, arguments.set)
    defaults = [DEFAULT, replace(DEFAULT, name=f"default, {EXPECTING}", expects=True)]
    sweeps = {OLD: SILENCE, NEW: SWEEP, EXPECTING: [replace(point, expects=True) for point in SWEEP]}
    points = [*defaults, *(point for sweep in sweeps.values() for point in sweep)]
    played = play(arguments.set, labels, points, lag_ms=arguments.lag_ms)
    (quiet,) = play(arguments.set, labels, [DEFAULT], lag_ms=arguments.lag_ms, weaker_db=WEAKER_DB)
    swept = iter(played[len(defaults) :])
    ways = {
        name: {point.name: ends_of(labels["turns"], next(swept)) for point in sweep} for name, sweep in sweeps.items()
    }
    print_defaults(arguments.set, labels, defaults, played[: len(defaults)])
    print_budgets(ways)
    print_quiet(labels, quiet)
    if arguments.plot is not None:
        curves = {name: [(ends.dead_air_ms, ends.cut_pct) for ends in scores.values()] for name, scores in ways.items()}
        ends = ends_of(labels["turns"], played[0])
        heading = f"Pauses taken for the end of a turn, of {len(labels['turns'])} turns"
        draw_turns(arguments.plot, heading, curves, (ends.dead_air_ms, ends.cut_pct))
        print(f"\nwritten: {arguments.plot}")


if __name__ == "__main__":
    main()
