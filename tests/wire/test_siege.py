"""benchmarks/siege.py, shortened: all attacks at once, beside calls that lose nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from siege import Outcome

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "siege.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the recognizer of the benchmark needs epoll")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the recognizer is placed on a core")
def test_calls_beside_every_attack_lose_nothing() -> None:
    """How old their audio is on a machine that others use is not a test's matter."""
    # As long as it takes every attack to come about; not forked, for it measures the processes that its server starts.
    short = ("--calls", "10", "--quiet-s", "1", "--siege-s", "3", "--mbit", "3", "--show-log")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *short], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 frames lost, 0 doubled, of 10 calls" in done.stdout
    assert done.stdout.endswith("all of it holds\n")


def outcome(**changes: object) -> Outcome:
    good: dict[str, object] = {
        "lost": 0,
        "doubled": 0,
        "quiet_p99_ms": 5.0,
        "siege_p99_ms": 10.0,
        "quiet_cpu": 0.5,
        "siege_cpu": 0.9,
        "grown_bytes": 0,
        "lines": ["WARNING refused"],
        "errors": [],
        "attacks": {"flood": 1},
    }
    return Outcome(**(good | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"lost": 1}, ["1 frames lost, 0 doubled"]),
        ({"errors": ["gone"]}, ["calls failed: gone"]),
        ({"siege_p99_ms": 10.1}, ["p99 of the age is over 2 times that of the quiet time"]),
        ({"grown_bytes": 65 << 20}, ["memory grew by 65 MiB"]),
        ({"lines": ["x"] * 1000}, ["1000 lines in the log"]),
        ({"lines": ["    Traceback (most"]}, ["1 tracebacks in the log"]),
        (
            {"lines": ["ERROR worker 1 was killed by signal 9; 3 calls lost"]},
            ["a process was lost: ERROR worker 1 was killed by signal 9; 3 calls lost"],
        ),
        ({"attacks": {"flood": 0}}, ["not every attack came about: {'flood': 0}"]),
    ],
)
def test_what_does_not_hold_is_said(changes: dict[str, object], wrong: list[str]) -> None:
    assert list(outcome(**changes).wrong(judge_ages=True)) == wrong
    assert not any("age" in what for what in outcome(**changes).wrong(judge_ages=False) if "p99" in what)
