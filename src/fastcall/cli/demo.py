"""``fastcall demo``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace

from fastcall.settings import Settings

__all__ = ["HELP", "configure", "run"]

HELP = "a call on this machine: a caller books a table with an agent; shows the results (about 35 s)"

EPILOG = """\
Everything runs on loopback and ends by itself. The server is that of `fastcall serve`, with the handler
fastcall.demo.agent:agent; the caller speaks Twilio's protocol, listens, and interrupts once; the recognizer speaks
Google's. Exit status 0: every word was recognized, every reply began within 1.2 s of the end of speech, and the agent
learned what the caller had heard when it was interrupted.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--engine",
        choices=("auto", "pocketsphinx", "tones"),
        default="auto",
        help="recognizer: pocketsphinx hears a short English conversation, tones hears test tones, each "
        "sentence of which stands for one of that conversation; "
        "auto: pocketsphinx if it is installed (default: %(default)s)",
    )


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Place the call and print the table."""
    from fastcall.demo.run import choose_engine, run_demo

    settings = replace(Settings.from_environ(environ), language="en-US", model="default")
    engine, remark = choose_engine(args.engine)
    if remark:
        print(remark)
    right, table = run_demo(engine, settings)
    print("\n".join(table))
    return 0 if right else 1
