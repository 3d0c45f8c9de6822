"""``fastcall simulate``."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
from collections import Counter
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
the caller holds a short English conversation about a table. Ctrl-C hangs all calls up and shows the summary; a second
one ends it at once. With TWILIO_AUTH_TOKEN set, the calls are signed with it. Exit status 0: every call went through,
and the server sent nothing that Twilio would refuse.
"""

MAX_CALLS = 5000
MAX_PROBLEMS = 20
MAX_S = 86_400
PROGRESS_S = 1.0
BAR_CELLS = 30
OTHER_FILES = 64
BUFFER_OVERFLOW = 31930


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
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="say it N times, 0 until Ctrl-C (default: 1)"
    )
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
    if not (0 <= args.ramp_s <= MAX_S and 0 <= args.tail_s <= MAX_S and args.repeat >= 0):
        raise UsageError(f"--ramp-s, --tail-s and --repeat must not be negative, nor above {MAX_S} s")
    check_url(args.url)
    audio, parameters, lateness = _audio(args), _parameters(args.param), Lateness()
    _allow_sockets(args.calls)
    seed = secrets.token_hex(8)

    async def place() -> list[CallReport]:
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
        return await _place(callers, args.ramp_s)

    reports = uvloop.run(place())
    print("\n".join(_summary(reports, lateness)))
    return 0 if all(report.ok for report in reports) else 1


def _allow_sockets(count: int) -> None:
    """Let this process open that many sockets: up to the hard limit anyone may raise its own."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UsageError(f"--calls {count} needs {wanted} open files, and the limit is {hard}: raise it (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
    if not mulaw:
        raise UsageError("--tones: there are no words in it")
    return PhoneAudio(mulaw, passes=args.repeat or None, tail_s=args.tail_s)


def _parameters(given: list[str]) -> dict[str, str]:
    pairs = [item.partition("=") for item in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError(f"--param {name}{equals}: say NAME=VALUE")
    return {name: value for name, _, value in pairs}


async def _place(callers: list[TwilioCaller], ramp_s: float) -> list[CallReport]:
    from fastcall.adapters.simulator import place_calls

    loop = asyncio.get_running_loop()

    def hang_up() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        for caller in callers:
            caller.hang_up()

    loop.add_signal_handler(signal.SIGINT, hang_up)
    shown = asyncio.create_task(_show_progress(callers))
    try:
        return await place_calls(callers, ramp_s=ramp_s)
    finally:
        shown.cancel()
        loop.remove_signal_handler(signal.SIGINT)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


async def _show_progress(callers: list[TwilioCaller]) -> None:
    """On stderr: a bar that stays in its place on a terminal, elsewhere a line each ten seconds."""
    terminal = sys.stderr.isatty()
    while True:
        await asyncio.sleep(PROGRESS_S if terminal else 10 * PROGRESS_S)
        live = sum(caller.live for caller in callers)
        failed = sum(caller.report.error is not None for caller in callers)
        share = sum(caller.share_said for caller in callers) / len(callers)
        bar = f"[{'#' * round(share * BAR_CELLS):{BAR_CELLS}}] " if terminal else ""
        text = f"{bar}{share:4.0%} said, {live} of {len(callers)} calls live, {failed} failed"
        print(f"\r{text}\x1b[K" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)


def _summary(reports: list[CallReport], lateness: Lateness) -> list[str]:
    good = sum(report.ok for report in reports)
    lines = [
        f"calls: {good} went through, {len(reports) - good} did not",
        f"messages: {sum(r.messages_sent for r in reports)} sent, {sum(r.messages_received for r in reports)} back",
    ]
    p50, p99 = lateness.percentile_s(50), lateness.percentile_s(99)
    if p50 is not None and p99 is not None:
        lines.append(f"frames sent late by: p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms")
    codes = Counter(report.close_code for report in reports if report.close_code is not None)
    if codes:
        lines.append("close codes: " + ", ".join(f"{code} ({count} x)" for code, count in sorted(codes.items())))
    lines.append(f"messages that Twilio would refuse: {sum(report.violation_count for report in reports)}")
    problems = Counter(problem for report in reports for problem in _problems(report))
    lines += [f"{count} x {problem}" for problem, count in problems.most_common(MAX_PROBLEMS)]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS} other problems")
    return lines


def _problems(report: CallReport) -> list[str]:
    """What went wrong in one call, with the number that Twilio's debugger would show."""
    found = [f"{violation.code}: {violation.detail}" for violation in report.violations]
    if report.error:
        found.append(f"{report.twilio_code}: {report.error}" if report.twilio_code else report.error)
    if report.frames_discarded:
        found.append(f"{BUFFER_OVERFLOW}: {report.frames_discarded} frames discarded: the server did not read")
    return found
