"""The ``fastcall`` program: dispatches commands, reads the environment, prints errors.

Each command is a module of ``fastcall.cli`` with ``HELP``, ``configure(parser)`` and
``run(args, environ)``; third-party packages load only when a command runs, so ``--help`` needs no extra.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence

from fastcall import __version__
from fastcall.errors import FastcallError, missing_extra

__all__ = ["main"]

COMMANDS = ("check", "demo", "emulator", "serve", "simulate", "token")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="fastcall",
        description="Live telephone calls in, transcripts out: one streaming recognition session per call.",
        epilog="Start with `fastcall demo`: it places a call on this machine and shows what was recognized.",
    )
    parser.add_argument("--version", action="version", version=f"fastcall {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"fastcall.cli.{name}")
        sub = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.configure(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the command line.

    :return: the exit status: 0 success, 1 negative result, 2 usage or setup error, 130 interrupted
    """
    # gRPC's C core logs to stderr; whatever matters also arrives as a status, which we log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode still gets every line
    args = build_parser().parse_args(argv)
    try:
        status: int = args.run(args, os.environ if environ is None else environ)
        return status
    except FastcallError as error:
        print(f"fastcall {args.command}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        advice = missing_extra(error)
        if advice is None:
            raise
        print(f"fastcall {args.command}: {advice}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
