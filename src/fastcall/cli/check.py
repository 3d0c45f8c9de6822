"""``fastcall check``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict

__all__ = ["HELP", "configure", "run"]

HELP = "GO or NO-GO: places a call to a running server and checks the results (about 2 minutes)"

EPILOG = """\
The call is placed as Twilio does; the results are read from the server's transcript stream, GET /events on the same
port (with FASTCALL_ADMIN_TOKEN if the server has one), or from the file of `serve --transcripts`.

Without --audio, a short call comes first: if the recognizer understands the words of the engine `tones`, it gets a new
word every 100 ms, and the cadence of the partials is checked too; otherwise it hears a short English conversation.

examples:
  fastcall check ws://127.0.0.1:8080/media
  fastcall check wss://voice.example.com/media --json         (TWILIO_AUTH_TOKEN set as at the server)
  fastcall check ws://127.0.0.1:8080/media --quick            about 25 s; does not test a stream of 100 s

Exit status 0: GO; 1: NO-GO; 2: usage error.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("url", metavar="URL", help="ws:// or wss:// URL of the Media Streams endpoint")
    parser.add_argument(
        "--audio", default="auto", metavar="WHAT", help="tones, speech, or a WAV file (default: automatic)"
    )
    parser.add_argument("--quick", action="store_true", help="a call of 20 s instead of 105 s")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--transcripts", metavar="FILE", help="read the transcript stream from FILE, while written")
    source.add_argument("--events", metavar="URL", help="URL of the transcript stream, if not /events")
    parser.add_argument("--signed-url", metavar="URL", help="the URL to sign, if it differs because of a proxy")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Place the call and print the table."""
    from fastcall.settings import Settings
    from fastcall.simulator import check_url
    from fastcall.simulator.check import CheckOptions, run_check
    from fastcall.simulator.check_report import render_rows

    options = CheckOptions(
        check_url(args.url),
        audio=args.audio,
        quick=args.quick,
        transcripts=args.transcripts,
        events_url=args.events,
        admin_token=environ.get("FASTCALL_ADMIN_TOKEN", ""),
        auth_token=environ.get("TWILIO_AUTH_TOKEN", "").partition(",")[0].strip(),
        signed_url=args.signed_url,
        debounce_ms=Settings.from_environ(environ).stt_partial_debounce_ms,
    )

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rows, _ = asyncio.run(run_check(options, say))
    good = all(row.answer != "no-go" for row in rows)
    if args.json:
        print(json.dumps({"go": good, "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print("\n".join(render_rows(rows)))
    return 0 if good else 1
