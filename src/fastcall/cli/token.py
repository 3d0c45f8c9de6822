"""``fastcall token``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from fastcall.errors import UsageError

__all__ = ["HELP", "configure", "run"]

HELP = "a one-time token for a call's stream, for your own TwiML"

EPILOG = """\
With FASTCALL_STREAM_SECRET set, a server accepts only streams with a token made with that secret. Your own TwiML adds
it like this:

  <Response><Connect><Stream url="wss://YOUR-HOST/media">
    <Parameter name="fastcall_token" value="TOKEN"/>
  </Stream></Connect></Response>

A token is valid for one stream: each <Stream> of a call needs its own.

In Python: fastcall.make_stream_token(call_sid, secret). In other languages: four parts, separated by dots,

  1.EXPIRES.NONCE.MAC

EXPIRES is Unix time in whole seconds; NONCE 32 random hexadecimal digits in lower case; MAC, in hexadecimal,
HMAC-SHA256 with the secret over these strings, separated by NUL:
"fastcall stream token", "1", EXPIRES, NONCE, the CallSid.

example:
  FASTCALL_STREAM_SECRET=... fastcall token CA0123456789abcdef0123456789abcdef
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("call_sid", metavar="CALLSID", help="Twilio's id of the call, CA...")
    parser.add_argument(
        "--lifetime-s",
        type=float,
        default=120.0,
        metavar="S",
        help="how long the token is valid, from now (default: %(default)g)",
    )


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the token."""
    from fastcall.tokens import make_stream_token

    secret = environ.get("FASTCALL_STREAM_SECRET", "").strip()
    if not secret:
        raise UsageError("FASTCALL_STREAM_SECRET is not set: a token is made with the server's secret")
    try:
        token = make_stream_token(args.call_sid, secret, lifetime_s=args.lifetime_s)
    except ValueError as error:
        raise UsageError(str(error)) from error
    print(token)
    return 0
