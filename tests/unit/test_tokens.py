"""Tokens for TwiML of one's own: the function makes what the server takes."""

from __future__ import annotations

import time

import pytest

import fastcall
from fastcall import UsageError
from fastcall.twilio.stream_tokens import StreamTokens

SECRET = "a stream secret of some length"


def test_the_function_makes_what_the_server_takes_once() -> None:
    token = fastcall.make_stream_token("CA1", SECRET)
    assert token != fastcall.make_stream_token("CA1", SECRET)
    tokens = StreamTokens(SECRET)
    now = time.time()
    assert tokens.check(token, "CA2", now=now) == "token_forged"
    assert tokens.check(token, "CA1", now=now + 122) == "token_expired"
    assert tokens.spend(token, "CA1", now=now) is None
    assert tokens.spend(token, "CA1", now=now) == "token_used"
    long = fastcall.make_stream_token("CA1", SECRET, lifetime_s=3600)
    assert tokens.check(long, "CA1", now=now + 3000) is None


def test_what_makes_no_token_says_why() -> None:
    with pytest.raises(UsageError, match="16 random characters"):
        fastcall.make_stream_token("CA1", "short")
    with pytest.raises(ValueError, match="CallSid"):
        fastcall.make_stream_token("", SECRET)
    for lifetime_s in (0, 3601, float("nan")):
        with pytest.raises(ValueError, match="lifetime_s"):
            fastcall.make_stream_token("CA1", SECRET, lifetime_s=lifetime_s)
