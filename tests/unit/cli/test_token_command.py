"""``fastcall token``: what it prints opens a stream, and its help is a recipe."""

from __future__ import annotations

import hashlib
import hmac
import time

import pytest

from fastcall.cli import main as cli
from fastcall.twilio.stream_tokens import StreamTokens

SECRET = "a stream secret of some length"


def test_the_command_prints_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["token", "CA1", "--lifetime-s", "60"], {"FASTCALL_STREAM_SECRET": SECRET}) == 0
    token = capsys.readouterr().out.removesuffix("\n")
    assert StreamTokens(SECRET).spend(token, "CA1", now=time.time()) is None


@pytest.mark.parametrize(
    ("arguments", "environ", "says"),
    [
        (["CA1"], {}, "FASTCALL_STREAM_SECRET is not set"),
        (["CA1"], {"FASTCALL_STREAM_SECRET": "short"}, "16 random characters"),
        (["CA1", "--lifetime-s", "0"], {"FASTCALL_STREAM_SECRET": SECRET}, "lifetime_s=0"),
        ([""], {"FASTCALL_STREAM_SECRET": SECRET}, "CallSid"),
    ],
)
def test_the_command_says_what_is_missing(
    arguments: list[str], environ: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["token", *arguments], environ) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert says in err


def test_a_token_made_by_the_recipe_of_the_help_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["token", "--help"], {})
    assert '"fastcall stream token", "1", EXPIRES, NONCE, the CallSid' in capsys.readouterr().out
    expires, nonce = str(int(time.time()) + 60), "0123456789abcdef" * 2
    signed = "\0".join(("fastcall stream token", "1", expires, nonce, "CA1"))
    mac = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
    assert StreamTokens(SECRET).spend(f"1.{expires}.{nonce}.{mac}", "CA1", now=time.time()) is None
