"""``fastcall simulate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fastcall.errors import UsageError

if TYPE_CHECKING:
    from fastcall.adapters.simulator import CallReport, TwilioCaller
    from fastcall.rules.caller import Lateness, PhoneAudio

__all__ = ["HELP", "configure", "run"]

HELP = "a Twilio that places calls to a Media Streams server, paced as Twilio paces them"

EPILOG = """\
examples:
  fastcall simulate ws://127.0.0.1:8080/media --audio hello.wav
  fastcall simulate ws://127.0.0.1:8080/media --tones "apple arrow [600] badge" --calls 50 --ramp-s 5

The words of --tones are those of the emulator's engine `tones`; [600] is a pause of 600 ms. Without --audio and --tones
the caller holds a short English conversation about a table. Exit status 0: every call went through, and the server sent
nothing that Twilio would refuse.
"""

MAX_CALLS = 5000
PROGRESS_S = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("url", metavar="URL", help="ws:// or wss:// URL of the Media Streams endpoint")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--audio", metavar="FILE", help="WAV (8 kHz mono, PCM or mu-law), or headerless mu-law *.ulaw")
    what.add_argument("--tones", metavar="TEXT", help="words of the tones engine, [600] for a pause of 600 ms")
    parser.add_argument("--word-ms", type=int, default=200, help="length of a word of --tones (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=1, metavar="N", help="calls at once (default: %(default)s)")
    parser.add_argument("--ramp-s", type=float, default=0.0, metavar="S", help="spread their starts over S seconds")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="say it N times (default: %(default)s)")
    parser.add_argument(
        "--tail-s", type=float, default=2.0, metavar="S", help="silence at the end (default: %(default)g)"
    )
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="a <Parameter> of the stream"
    )


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Place the calls, show progress on stderr, print the summary."""
    import uvloop

    from fastcall.adapters.simulator import TwilioCaller, check_url
    from fastcall.rules.caller import CallIds, Lateness

    if not 1 <= args.calls <= MAX_CALLS:
        raise UsageError(f"--calls must be from 1 to {MAX_CALLS}")
    if args.ramp_s < 0 or args.tail_s < 0 or args.repeat < 1:
        raise UsageError("--ramp-s and --tail-s must not be negative, and --repeat at least 1")
    check_url(args.url)
    audio, parameters, lateness = _audio(args), _parameters(args.param), Lateness()
    seed = CallIds.derive(f"{args.url} {id(lateness)}", 0).call_sid
    callers = [
        TwilioCaller(
            args.url,
            audio,
            ids=CallIds.derive(seed, index),
            parameters=parameters,
            first_timestamp_ms=100 + index * 7 % 100,
            auth_token=environ.get("TWILIO_AUTH_TOKEN", ""),
            keep_received=False,
            lateness=lateness,
        )
        for index in range(args.calls)
    ]
    reports = uvloop.run(_place(callers, args.ramp_s))
    print("\n".join(_summary(reports, lateness)))
    return 0 if all(report.ok for report in reports) else 1


def _audio(args: argparse.Namespace) -> PhoneAudio:
    from fastcall.rules.caller import PhoneAudio
    from fastcall.rules.wav import read_audio

    if args.tones is not None:
        from fastcall.rules.tones import synthesize

        try:
            mulaw = synthesize(args.tones, word_ms=args.word_ms, encoding="mulaw")
        except ValueError as error:
            raise UsageError(f"--tones: {error}") from error
    else:
        path = Path(args.audio) if args.audio else Path(__file__).parents[1] / "data" / "booking.wav"
        try:
            mulaw = read_audio(path.read_bytes(), str(path))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return PhoneAudio(mulaw, passes=args.repeat, tail_s=args.tail_s)


def _parameters(given: list[str]) -> dict[str, str]:
    pairs = [item.partition("=") for item in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError(f"--param {name}{equals}: say NAME=VALUE")
    return {name: value for name, _, value in pairs}


async def _place(callers: list[TwilioCaller], ramp_s: float) -> list[CallReport]:
    import asyncio

    from fastcall.adapters.simulator import place_calls

    async def progress() -> None:
        end = "\r" if sys.stderr.isatty() else "\n"
        while True:
            await asyncio.sleep(PROGRESS_S if sys.stderr.isatty() else 10 * PROGRESS_S)
            live = sum(caller.live for caller in callers)
            said = sum(caller.share_said for caller in callers) / len(callers)
            print(f"{live} of {len(callers)} calls live, {said:4.0%} said ", end=end, file=sys.stderr, flush=True)

    shown = asyncio.create_task(progress())
    try:
        return await place_calls(callers, ramp_s=ramp_s)
    finally:
        shown.cancel()
        if sys.stderr.isatty():
            print(" " * 60, end="\r", file=sys.stderr, flush=True)


def _summary(reports: list[CallReport], lateness: Lateness) -> list[str]:
    good = sum(report.ok for report in reports)
    lines = [f"calls: {good} went through, {len(reports) - good} did not"]
    lines.append(
        f"messages: {sum(r.messages_sent for r in reports)} sent, {sum(r.messages_received for r in reports)} back"
    )
    p50, p99 = lateness.percentile_s(50), lateness.percentile_s(99)
    if p50 is not None and p99 is not None:
        lines.append(f"frames sent late by: p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms")
    problems: dict[str, int] = {}
    for report in reports:
        found = [f"{v.code}: {v.detail}" for v in report.violations]
        if report.error:
            found.append(f"{report.twilio_code or ''} {report.error}".strip())
        if report.frames_discarded:
            found.append(f"{report.twilio_code}: {report.frames_discarded} frames discarded; the server did not read")
        for problem in found:
            problems[problem] = problems.get(problem, 0) + 1
    return lines + [f"{count} x {problem}" for problem, count in problems.items()]
