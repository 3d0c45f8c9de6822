"""The proof of `make lossless`, in its short form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import forkserver
from fastcall.metrics import Metrics
from fastcall.server.prometheus import render
from proofs.lossless import main
from proofs.outage import judge_call, judge_numbers, numbers_of
from proofs.trials import TRIALS, differences

PROGRAM = Path(__file__).parents[1] / "proofs" / "lossless.py"


def prove(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forkserver.run(
        [sys.executable, str(PROGRAM), "--short", *arguments], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("half", [0, 1])
def test_the_text_is_what_was_said_whatever_breaks(half: int) -> None:
    """Half of the trials at a time: each is a server, a recognizer and two callers."""
    chosen = [each.name for each in TRIALS][half::2]
    assert len(chosen) >= 4
    done = prove("--trials", *(option for name in chosen for option in ("--only", name)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost, nothing doubled, no storm" in done.stdout


@pytest.mark.parametrize(
    ("said", "heard", "lost", "extra"),
    [
        ("apple [500] arrow", "apple arrow", 0, 0),
        ("apple arrow", "arrow", 1, 0),
        ("apple arrow", "apple arrow arrow", 0, 1),
        ("apple arrow autumn", "apple autumn arrow", 1, 1),
    ],
)
def test_what_is_missing_or_doubled_is_found(said: str, heard: str, lost: int, extra: int) -> None:
    found = differences(said.split(), heard.split())
    assert found[:2] == (lost, extra)
    assert bool(found[2]) == bool(lost or extra)


def test_help_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    assert "does the text equal" in capsys.readouterr().out


BACK_AT = 100.0


def call_in_an_outage() -> list[dict[str, Any]]:
    """As the events tell of it when all is well: utterance 2 is said within it."""
    rows: list[tuple[str, int | None, str, str | None, float]] = [
        ("utterance_begin", 1, "", None, 80.0),
        ("session_failed", None, "UNAVAILABLE: gone", None, 81.0),
        ("utterance_end", 1, "one", "emulator", 81.5),
        ("utterance_begin", 2, "", None, 82.0),
        ("fallback", 2, "outage", "whisper", 84.0),
        ("utterance_end", 2, "two", "whisper", 84.5),
        ("session_rotated", None, "reconnect", None, 102.0),
        ("utterance_begin", 3, "", None, 103.0),
        ("utterance_end", 3, "three", "emulator", 105.0),
    ]
    return [dict(zip(("event", "utterance_id", "text", "source", "at"), row, strict=True)) for row in rows]


def test_an_outage_that_is_told_as_it_was_is_no_problem() -> None:
    assert judge_call(call_in_an_outage(), BACK_AT) == []


@pytest.mark.parametrize(
    ("row", "change", "problem"),
    [
        (1, None, "no event tells of the outage"),
        (4, None, "no event tells that the fallback was asked for utterance 2"),
        (5, {"source": "emulator"}, "utterance 2 of the outage comes from emulator"),
        (6, None, "no event tells that the recognizer serves again"),
        (6, {"at": 90.0}, "no event tells that the recognizer serves again"),
        (8, {"source": "whisper"}, "after the outage the recognizer does not serve"),
    ],
)
def test_an_outage_that_is_told_otherwise_is_one(row: int, change: dict[str, Any] | None, problem: str) -> None:
    records = call_in_an_outage()
    records[row : row + 1] = [] if change is None else [records[row] | change]
    assert problem in judge_call(records, BACK_AT)


def test_numbers_that_do_not_tell_of_an_outage_are_found() -> None:
    metrics = Metrics()
    metrics.calls_interrupted = 2
    metrics.session_failures["UNAVAILABLE"] = 2
    within = numbers_of(render(metrics.snapshot()))
    metrics.calls_interrupted = 0
    metrics.rotations["reconnect"] = 2
    metrics.utterances["whisper"] = metrics.fallbacks["outage"] = 3
    after = numbers_of(render(metrics.snapshot()))
    assert judge_numbers(within, after, calls=2, by_whisper=3) == []
    assert judge_numbers(within, after, calls=2, by_whisper=4) == [
        "/metrics after it: fastcall_utterances_total whisper is 3, not 4",
        "/metrics after it: fastcall_fallbacks_total outage is 3, not 4 or more",
    ]
    assert len(judge_numbers({}, within, calls=2, by_whisper=3)) == 6
