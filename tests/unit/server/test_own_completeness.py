"""A user's own function that judges texts."""

from __future__ import annotations

import logging
import sys

import pytest

from fastcall.errors import UsageError
from fastcall.server.own_completeness import load_completeness
from fastcall.turns.completeness import UNDECIDED


def halves(text: str) -> float:
    return len(text) / 2


def odd(text: str) -> object:
    if text == "raise":
        raise LookupError("no such text")
    if text == "exit":
        sys.exit("for good")
    return {"nan": float("nan"), "none": None, "words": "many", "number": "0.25"}[text]


def no_text() -> float:
    return 1.0


async def later(text: str) -> float:
    return 1.0


class _Later:
    async def __call__(self, text: str) -> float:
        return 1.0


later_object = _Later()


def test_its_answer_is_taken_as_it_is() -> None:
    assert load_completeness(f"{__name__}:halves")("abc") == 1.5


@pytest.mark.parametrize("text", ["raise", "exit", "nan", "none", "words", "unknown"])
def test_whatever_else_it_does_leaves_the_text_undecided(text: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    judge = load_completeness(f"{__name__}:odd")
    assert judge(text) == UNDECIDED
    assert ("TURN_COMPLETENESS failed" in caplog.text) == (text != "nan")
    assert judge("number") == 0.25


def test_one_that_fails_for_every_text_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    judge = load_completeness(f"{__name__}:odd")
    assert {judge("raise") for _ in range(100)} == {UNDECIDED}
    assert caplog.text.count("TURN_COMPLETENESS failed") == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_text", "is not a function of one argument"),
        ("later", "is async: use a plain function"),
        ("later_object", "is async: use a plain function"),
        ("missing", "cannot be loaded"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=f"TURN_COMPLETENESS .*{told}"):
        load_completeness(f"{__name__}:{name}")
