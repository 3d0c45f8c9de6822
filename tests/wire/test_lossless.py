"""The proof of `make lossless`, in its short form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proofs.lossless import main
from proofs.trials import differences

PROGRAM = Path(__file__).parents[1] / "proofs" / "lossless.py"


def prove(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), "--short", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_text_is_what_was_said_whatever_breaks() -> None:
    done = prove("--trials")
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
