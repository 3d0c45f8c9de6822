"""One-time tokens: proof that a stream was requested by our TwiML, for this call, a moment ago.

A token is sent as a ``<Parameter>`` of the TwiML and comes back in the stream's ``start``. It is an HMAC-SHA256 over
version, expiry, a random part and the call's id: it opens one stream, of one call, before it expires. Several streams
of a call need a token each. The random part of a spent token is remembered until the token expires.

A *ticket* is such a token for users of the console: it also replaces Twilio's signature, which a browser cannot make.
It is made with a different secret, so that a token, which TwiML shows to others, is never a ticket.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import math
import re

from fastcall.errors import UsageError

__all__ = ["PARAMETER", "TICKET", "TICKET_LIFETIME_S", "StreamTokens", "check_secret", "console_tickets", "mint_token"]

PARAMETER = "fastcall_token"
"""The name of the ``<Parameter>``."""
TICKET = "fastcall_ticket"
"""The name of a ticket, in the query of the upgrade and among the parameters of the stream's start."""

LIFETIME_S = 120.0
TICKET_LIFETIME_S = 30.0
VERSION = "1"
MIN_SECRET_CHARS = 16
# Each takes a valid token, so only the holder of the secret can fill it.
MAX_SPENT = 100_000
# Version, expiry (Unix time), nonce, HMAC. No part can contain the NUL that separates the parts in the signed text, so
# characters cannot move from one part to another.
_TOKEN = re.compile(rf"{VERSION}\.([0-9]{{1,12}})\.([0-9a-f]{{32}})\.([0-9a-f]{{64}})")
_NONCE = re.compile("[0-9a-f]{32}")

# scrypt (RFC 7914): 16 MB and about 50 ms a guess.
TICKET_KEY_COST = 2**14


def check_secret(name: str, secret: str) -> None:
    """Refuse a secret that can be guessed.

    :param name: the variable with the secret
    :raises UsageError: it has fewer than 16 characters
    """
    if len(secret) < MIN_SECRET_CHARS:
        raise UsageError(
            f"{name} is too short: use at least {MIN_SECRET_CHARS} random characters, such as those of "
            '`python3 -c "import secrets; print(secrets.token_hex(32))"`'
        )


def mint_token(secret: str, call_sid: str, *, now: float, nonce: str, lifetime_s: float = LIFETIME_S) -> str:
    """A token that opens one stream of the call ``call_sid``.

    :param now: Unix time in seconds
    :param nonce: random, 32 hexadecimal digits in lower case
    :raises ValueError: an invalid nonce
    """
    if not _NONCE.fullmatch(nonce):
        raise ValueError("a nonce has 32 hexadecimal digits in lower case")
    expires_at = math.ceil(now + lifetime_s)
    return f"{VERSION}.{expires_at}.{nonce}.{_mac(secret, call_sid, str(expires_at), nonce)}"


def _mac(secret: str, call_sid: str, expires_at: str, nonce: str) -> str:
    signed = "\0".join(("fastcall stream token", VERSION, expires_at, nonce, call_sid))
    return hmac.new(secret.encode(), signed.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def console_tickets(stream_secret: str | None, admin_token: str | None) -> StreamTokens | None:
    """The tickets of a server with these secrets: the same ones in all its processes.

    Their key is derived slowly: a ticket, which a proxy may log, must not make it possible to guess the admin token.
    The first call with a secret takes about 50 ms.

    :return: None without a secret: such a server is protected by loopback only, and needs no tickets
    """
    secret = stream_secret or admin_token
    return StreamTokens(_ticket_key(secret)) if secret else None


@functools.lru_cache(maxsize=4)
def _ticket_key(secret: str) -> str:
    password = secret.encode("utf-8", "surrogateescape")
    key = hashlib.scrypt(password, salt=b"fastcall console ticket", n=TICKET_KEY_COST, r=8, p=1, dklen=32)
    return key.hex()


class StreamTokens:
    """Checks tokens, and accepts each once. Pure; one thread.

    :raises UsageError: the secret is too short
    """

    def __init__(self, secret: str, *, max_spent: int = MAX_SPENT) -> None:
        check_secret("FASTCALL_STREAM_SECRET", secret)
        self._secret = secret
        self._max_spent = max_spent
        self._spent: dict[str, float] = {}

    def mint(self, call_sid: str, *, now: float, nonce: str, lifetime_s: float = LIFETIME_S) -> str:
        """A token for the call ``call_sid``; see :func:`mint_token`."""
        return mint_token(self._secret, call_sid, now=now, nonce=nonce, lifetime_s=lifetime_s)

    def spend(self, token: str, call_sid: str, *, now: float) -> str | None:
        """Accept the token, once.

        :param now: Unix time in seconds
        :return: None, or why it is refused: as ``check``, and ``token_used``
        """
        reason = self.check(token, call_sid, now=now)
        if reason is not None:
            return reason
        _, expires_at, nonce, _ = token.split(".")
        if nonce in self._spent or not self._has_room(now):
            return "token_used"
        self._spent[nonce] = float(expires_at)
        return None

    def check(self, token: str, call_sid: str, *, now: float) -> str | None:
        """Whether the token is ours, for this call, and not expired; it may have been spent.

        :param now: Unix time in seconds
        :return: None, or why it is invalid: ``token_missing``, ``token_forged``, ``token_expired``
        """
        if not token:
            return "token_missing"
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return "token_forged"
        expires_at, nonce, mac = parts.groups()
        if not hmac.compare_digest(_mac(self._secret, call_sid, expires_at, nonce), mac):
            return "token_forged"
        return "token_expired" if now >= float(expires_at) else None

    def _has_room(self, now: float) -> bool:
        if len(self._spent) >= self._max_spent:
            self._spent = {nonce: until for nonce, until in self._spent.items() if until > now}
        return len(self._spent) < self._max_spent
