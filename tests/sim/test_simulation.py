"""The simulation itself: its first seeds, each replays exactly, and rules that are broken on purpose are caught."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from sim.mutations import MUTATIONS, SEEDS, caught_after
from sim.run import failures, main, run_seed
from sim.scenario import scenario_of
from sim.world import simulate
from thoroughness import amount


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The calls' own log lines are those of hundreds of calls that go wrong on purpose."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, amount(60, thorough=250), 10))
def test_what_was_said_is_heard_once_in_order_at_its_own_utterance(first: int) -> None:
    found = {seed: verdict.problems for seed, verdict in failures(range(first, first + 10))}
    assert found == {}, "again with: make simulate-faults SEED=n VERBOSE=1"


@pytest.mark.parametrize("seed", [8, 56, 209])
def test_a_seed_replays_exactly(seed: int) -> None:
    told: list[list[str]] = [[], []]
    events = [simulate(scenario_of(seed), trace=lines.append).events for lines in told]
    assert len(told[0]) > 100
    assert told[0] == told[1]
    assert events[0] == events[1]
    assert simulate(scenario_of(seed + 1)).events != events[0]


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_broken_on_purpose_is_caught(name: str) -> None:
    assert caught_after(name) is not None, f"not within {SEEDS} seeds"


def test_a_failing_seed_says_how_to_play_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.run.be_quiet", lambda: None)
    owner, attribute, broken = MUTATIONS["a replay begins half a second late"]
    monkeypatch.setattr(owner, attribute, broken)
    seed, problems = next((seed, found) for seed in range(200) if (found := run_seed(seed).problems))
    assert main(["--seed", str(seed), "--verbose"]) == 1
    printed = capsys.readouterr().out
    assert f"seed {seed} FAILED; again with: make simulate-faults SEED={seed} VERBOSE=1" in printed
    assert problems[0] in printed
