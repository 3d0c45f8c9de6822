"""How well the default settings judge turns, within bounds.

These are no times, and the same on every machine. The bounds leave some slack against what was reached: see the table
in README.md. The labelled set is looked for in TURNS_SET; a set made of test tones is always there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tone_turns import write_set
from turn_scores import Ends, score_ends, score_stops
from turns import DEFAULT, Decisions, decide_all, read_set

SET = Path(os.environ.get("TURNS_SET") or Path(__file__).parents[2] / "shared" / "turns")
# Voices and music in the background, which used to keep a turn open.
LASTING = ("babble-14", "babble-20", "hold-20")

Played = dict[str, Decisions]


@pytest.fixture(scope="module")
def labels() -> dict[str, Any]:
    if not (SET / "labels.json").is_file():
        pytest.skip(f"there is no labelled set in {SET}: name one in TURNS_SET")
    return read_set(SET)


@pytest.fixture(scope="module")
def played(labels: dict[str, Any]) -> Played:
    return decide_all(SET, labels, DEFAULT)


def ends_of(turns: Sequence[dict[str, Any]], played: Played) -> Ends:
    ends = score_ends(turns, {turn["id"]: played[turn["id"]].ends for turn in turns})
    print(
        f"\n{len(turns)} turns: {ends.cut_pct:.1f} % of the pauses cut, {ends.missed_pct:.1f} % of the ends missed, "
        f"{ends.dead_air_ms:.0f} ms dead air"
    )
    return ends


@pytest.mark.gate
def test_the_ends_of_turns(labels: dict[str, Any], played: Played) -> None:
    ends = ends_of(labels["turns"], played)
    assert ends.cut_pct <= 17
    assert ends.missed_pct <= 1
    assert ends.dead_air_ms <= 800


@pytest.mark.gate
def test_background_voices_and_music_do_not_keep_a_turn_open(labels: dict[str, Any], played: Played) -> None:
    ends = ends_of([turn for turn in labels["turns"] if turn["condition"] in LASTING], played)
    assert ends.missed_pct <= 3


@pytest.mark.gate
def test_what_stops_the_agent(labels: dict[str, Any], played: Played) -> None:
    cases = labels["interruptions"]
    stops = score_stops(cases, {case["id"]: played[case["id"]].stops for case in cases})
    print(f"\n{stops.stopped_pct:.0f} % stopped after {stops.after_ms:.0f} ms; by mistake: {stops.false_pct}")
    assert stops.stopped_pct >= 97
    bounds = {"noise": 0, "echo": 5, "sidetalk": 25, "backchannel": 30}
    assert {kind: pct for kind, pct in stops.false_pct.items() if pct > bounds[kind]} == {}


@pytest.mark.gate
def test_turns_of_test_tones(tmp_path: Path) -> None:
    labels = write_set(tmp_path / "set")
    played = decide_all(tmp_path / "set", labels, DEFAULT)
    ends = ends_of(labels["turns"], played)
    assert (ends.cut_pct, ends.missed_pct) == (0, 0)
    assert ends.dead_air_ms <= 900
    cases = labels["interruptions"]
    stops = score_stops(cases, {case["id"]: played[case["id"]].stops for case in cases})
    assert stops.stopped_pct == 100
    assert set(stops.false_pct.values()) == {0}, stops.false_pct
