"""One-time tokens for your own TwiML."""

from __future__ import annotations

import secrets
import time

from fastcall.twilio.stream_tokens import LIFETIME_S, check_secret, mint_token

__all__ = ["make_stream_token"]

MAX_LIFETIME_S = 3600.0


def make_stream_token(call_sid: str, secret: str, *, lifetime_s: float = LIFETIME_S) -> str:
    """The value of the ``<Parameter name="fastcall_token">`` that admits one stream of one call.

    :param call_sid: the ``CallSid`` of the webhook that returns the TwiML
    :param secret: the server's ``FASTCALL_STREAM_SECRET``, 16 characters or more
    :param lifetime_s: how long the token is valid, from now, 1 to 3,600 s
    :raises UsageError: the secret is too short
    :raises ValueError: the id is empty, or the lifetime out of range

    Any thread. Synchronise the clocks of the two machines: the token contains Unix time.
    """
    check_secret("FASTCALL_STREAM_SECRET", secret)
    if not call_sid:
        raise ValueError("a token is for one call: give its CallSid")
    if not 1 <= lifetime_s <= MAX_LIFETIME_S:
        raise ValueError(f"lifetime_s={lifetime_s:g}: must be from 1 to {MAX_LIFETIME_S:g}")
    return mint_token(secret, call_sid, now=time.time(), nonce=secrets.token_hex(16), lifetime_s=lifetime_s)
