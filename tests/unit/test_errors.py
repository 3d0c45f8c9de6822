"""The exception tree."""

from __future__ import annotations

import pytest

from fastcall.errors import BacklogError, ClosedError, FastcallError, RecognizerError, UsageError


def test_the_base_is_caught_and_never_raised_itself() -> None:
    with pytest.raises(TypeError):
        FastcallError("no")
    for error in (UsageError("a"), ClosedError("b"), BacklogError("c"), RecognizerError("UNAVAILABLE", "down")):
        assert isinstance(error, FastcallError)


def test_a_recognizer_error_says_status_and_message() -> None:
    error = RecognizerError("UNAVAILABLE", "down")
    assert (error.code, error.message, str(error)) == ("UNAVAILABLE", "down", "UNAVAILABLE: down")
