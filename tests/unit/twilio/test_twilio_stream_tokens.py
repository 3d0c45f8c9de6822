"""One-time tokens: one stream, one call, for a while."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from fastcall.errors import UsageError
from fastcall.twilio.stream_tokens import LIFETIME_S, StreamTokens, console_tickets, mint_token

SECRET = "a secret of more than sixteen characters"
NOW = 1_800_000_000.25
NONCE = "0f" * 16


def token(call_sid: str = "CA1", nonce: str = NONCE, now: float = NOW) -> str:
    return mint_token(SECRET, call_sid, now=now, nonce=nonce)


def test_a_token_opens_one_stream_once() -> None:
    tokens = StreamTokens(SECRET)
    made = tokens.mint("CA1", now=NOW, nonce=NONCE)
    assert tokens.spend(made, "CA1", now=NOW + 1) is None
    assert tokens.spend(made, "CA1", now=NOW + 1) == "token_used"
    assert tokens.spend(token(nonce="1f" * 16), "CA1", now=NOW + 1) is None


def test_a_token_is_for_its_call_and_its_time() -> None:
    tokens = StreamTokens(SECRET)
    assert tokens.spend(token(), "CA2", now=NOW) == "token_forged"
    assert tokens.spend(token(), "CA1", now=NOW + LIFETIME_S + 1) == "token_expired"
    assert tokens.spend(token(), "CA1", now=NOW + LIFETIME_S - 1) is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "token_missing"),
        ("hello", "token_forged"),
        (token()[:-1] + ("0" if token()[-1] != "0" else "1"), "token_forged"),
        (token().replace("1.", "2.", 1), "token_forged"),
        (token().replace(NONCE, "1f" * 16), "token_forged"),
        (f"1.{'9' * 10}.{NONCE}.{'0' * 64}", "token_forged"),
        (f"1.nan.{NONCE}.{'0' * 64}", "token_forged"),
        (f"1.٣.{NONCE}.{'0' * 64}", "token_forged"),
        ("1.1.1.\udcff", "token_forged"),
        ("." * 10_000, "token_forged"),
        (mint_token(SECRET + "x", "CA1", now=NOW, nonce=NONCE), "token_forged"),
    ],
)
def test_what_is_no_token_of_ours_does_not_pass(given: str, reason: str) -> None:
    assert StreamTokens(SECRET).spend(given, "CA1", now=NOW) == reason


def test_a_later_expiry_cannot_be_written_into_a_token() -> None:
    version, expires_at, nonce, mac = token().split(".")
    longer = ".".join((version, str(int(expires_at) + 1000), nonce, mac))
    assert StreamTokens(SECRET).spend(longer, "CA1", now=NOW) == "token_forged"


def test_spent_tokens_are_forgotten_when_they_have_expired_and_never_before() -> None:
    tokens = StreamTokens(SECRET, max_spent=2)
    for number in range(2):
        assert tokens.spend(token(nonce=f"{number:032x}"), "CA1", now=NOW) is None
    assert tokens.spend(token(nonce="f" * 32), "CA1", now=NOW) == "token_used"
    later = NOW + LIFETIME_S + 2
    answers = [tokens.spend(token(nonce=digit * 32, now=later), "CA1", now=later) for digit in "fed"]
    assert answers == [None, None, "token_used"]


def test_a_short_secret_is_none() -> None:
    with pytest.raises(UsageError, match="FASTCALL_STREAM_SECRET"):
        StreamTokens("short")


def test_a_check_spends_nothing() -> None:
    tokens = StreamTokens(SECRET)
    made = tokens.mint("CA1", now=NOW, nonce=NONCE, lifetime_s=30)
    assert [tokens.check(made, "CA1", now=NOW) for _ in range(2)] == [None, None]
    assert tokens.check(made, "CA2", now=NOW) == "token_forged"
    assert tokens.check(made, "CA1", now=NOW + 31) == "token_expired"
    assert [tokens.spend(made, "CA1", now=NOW) for _ in range(2)] == [None, "token_used"]


def test_tickets_are_the_same_in_all_processes_and_no_tokens() -> None:
    one, other = console_tickets(SECRET, None), console_tickets(SECRET, "an admin token")
    assert one is not None
    assert other is not None
    ticket = one.mint("CA1", now=NOW, nonce=NONCE)
    assert other.check(ticket, "CA1", now=NOW) is None
    assert StreamTokens(SECRET).check(ticket, "CA1", now=NOW) == "token_forged"
    assert one.check(token(), "CA1", now=NOW) == "token_forged"
    by_admin = console_tickets(None, "short")
    assert by_admin is not None
    assert by_admin.check(ticket, "CA1", now=NOW) == "token_forged"
    assert console_tickets(None, None) is None


def test_no_piece_of_a_token_can_be_moved_into_another() -> None:
    """The parts are signed with a NUL between them: a nonce that took a piece of the id would be one more token."""
    tokens = StreamTokens(SECRET)
    pieces = ["a", "b", "c", "d", "CA1"]
    made = token(call_sid="\0".join(pieces))
    passed = []
    for moved in range(len(pieces)):
        version, expires_at, nonce, mac = made.split(".")
        longer = ".".join((version, expires_at, "\0".join((nonce, *pieces[:moved])), mac))
        passed.append(tokens.spend(longer, "\0".join(pieces[moved:]), now=NOW))
    assert passed == [None, *["token_forged"] * 4]


@pytest.mark.parametrize("nonce", ["", "0f" * 15, "0f" * 17, "0F" * 16, "g" * 32, "0" * 31 + "\0", "0" * 31 + "\n"])
def test_a_nonce_is_32_hexadecimal_digits(nonce: str) -> None:
    with pytest.raises(ValueError, match="32 hexadecimal"):
        mint_token(SECRET, "CA1", now=NOW, nonce=nonce)


def test_who_learns_a_ticket_guesses_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each guess at an admin token costs what the derivation costs; the key is not a hash of the secret."""
    costs = []
    scrypt = hashlib.scrypt

    def counted(password: bytes, **how: Any) -> bytes:
        costs.append(how["n"] * how["r"])
        return scrypt(password, **how)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    for guess in range(3):
        assert console_tickets(None, f"{'guess' * 4}{guess}") is not None
    assert len(costs) == 3
    assert min(costs) >= 2**17
