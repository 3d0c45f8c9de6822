"""``fastcall simulate``."""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fastcall.errors import UsageError

if TYPE_CHECKING:
    from fastcall.simulator import CallReport, Conduct, TwilioCaller
    from fastcall.simulator.twilio_client import PhoneAudio

__all__ = ["HELP", "configure", "run"]

HELP = "places calls to a Media Streams server, as Twilio does and at its pace"

EPILOG = """\
examples:
  fastcall simulate ws://127.0.0.1:8080/media --audio hello.wav
  fastcall simulate ws://127.0.0.1:8080/media --tones "apple arrow [600] badge" --calls 50 --ramp-s 5
  fastcall simulate ws://127.0.0.1:8080/media --calls 200 --jitter-ms 40 --gap-ms 300 --drop-after-s 8 --faulty 0.1

The words of --tones are those of the emulator's engine `tones`; [600] is a pause of 600 ms. --audio and --tones may be
repeated: the calls use them in turn. Without either, the caller holds a short English conversation about a table.
Ctrl-C hangs up all calls and shows the report; a second one exits at once. With TWILIO_AUTH_TOKEN set, the calls are
signed with it.

Recognized words are read from the server's transcript stream, GET /events on the same port (with FASTCALL_ADMIN_TOKEN
if the server has one). If that is not possible, the report says so.

Exit status 0: every call succeeded (either side ended it properly, and if words were spoken some were recognized), and
the server sent nothing that Twilio would refuse.
"""

MAX_CALLS = 5000
MAX_S = 86_400
PROGRESS_S = 1.0
BAR_CELLS = 30
OTHER_FILES = 64
PLANS = 16
LAST_WORDS_S = 8.0  # from the end of the calls to the server's last transcript of them


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("url", metavar="URL", help="ws:// or wss:// URL of the Media Streams endpoint")
    add = parser.add_argument_group("audio").add_argument
    add("--audio", action="append", default=[], metavar="FILE", help="WAV (8 kHz mono), or headerless mu-law *.ulaw")
    add("--tones", action="append", default=[], metavar="TEXT", help="words of the tones engine, [600]: a pause in ms")
    add("--word-ms", type=int, default=200, help="length of a word of --tones (default: %(default)s)")
    add("--repeat", type=int, default=1, metavar="N", help="repeat it N times; 0: until Ctrl-C (default: 1)")
    add("--tail-s", type=float, default=2.0, metavar="S", help="silence at the end (default: %(default)g)")
    add = parser.add_argument_group("calls").add_argument
    add("--calls", type=int, default=1, metavar="N", help="calls at once (default: %(default)s)")
    add("--ramp-s", type=float, default=0.0, metavar="S", help="spread their starts over S seconds")
    add("--param", action="append", default=[], metavar="NAME=VALUE", help="a <Parameter> of the stream")
    add = parser.add_argument_group("faults").add_argument
    add("--faulty", type=float, default=1.0, metavar="SHARE", help="share of the calls with faults (default: 1)")
    add("--jitter-ms", type=float, default=0.0, metavar="MS", help="delay frames by up to this")
    add("--burst-ms", type=float, default=0.0, metavar="MS", help="hold frames for so long, then send them at once")
    add("--gap-ms", type=float, default=0.0, metavar="MS", help="drop so much audio")
    add("--every-s", type=float, default=5.0, metavar="S", help="a burst or gap every S seconds (default: 5)")
    add("--duplicates", type=float, default=0.0, metavar="SHARE", help="share of frames sent twice")
    add("--reorder", type=float, default=0.0, metavar="SHARE", help="share of frames sent after the next one")
    add("--no-stop", action="store_true", help="close the socket without a `stop`")
    add("--drop-after-s", type=float, metavar="S", help="lose the connection after S seconds")
    add("--slow-reader-s", type=float, default=0.0, metavar="S", help="wait so long after each message from the server")
    add("--second-socket", action="store_true", help="open a second connection for the same call")
    add = parser.add_argument_group("the report").add_argument
    add("--events", metavar="URL", help="URL of the server's transcript stream, if not /events")
    add("--json", action="store_true", help="print the report as JSON, with every call")
    add("--rows", type=int, default=20, metavar="N", help="calls in the table, failed ones first (default: 20)")


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Place the calls, show progress on stderr, print the report."""
    import uvloop

    from fastcall.simulator import Pacer, TwilioCaller, check_url
    from fastcall.simulator.summary import render_report, report_json
    from fastcall.simulator.twilio_client import CallIds, Lateness

    _check_numbers(args)
    check_url(args.url)
    audios, parameters, lateness = _audios(args), _parameters(args.param), Lateness()
    conducts = _conducts(args)
    _allow_sockets(args.calls * (2 if args.second_socket else 1))
    seed = secrets.token_hex(8)
    ids = [CallIds.derive(seed, index) for index in range(args.calls)]

    async def place() -> list[tuple[CallReport, bool]]:
        pacer = Pacer(lateness)
        callers = [
            TwilioCaller(
                args.url,
                audios[index % len(audios)],
                ids=ids[index],
                parameters=parameters,
                first_timestamp_ms=100 + index * 7 % 100,
                auth_token=environ.get("TWILIO_AUTH_TOKEN", "").partition(",")[0].strip(),
                keep_received=False,
                pacer=pacer,
                conduct=conducts(index),
            )
            for index in range(args.calls)
        ]
        reports = await _place(callers, args.ramp_s)
        return [(report, caller.share_said == 1.0) for report, caller in zip(reports, callers, strict=True)]

    reports, unread = _place_and_judge(args, environ, [each.call_sid for each in ids], lambda: uvloop.run(place()))
    if args.json:
        print(report_json(reports, lateness))
    else:
        lines = render_report(reports, lateness, args.rows)
        print("\n".join(lines if unread is None else [*lines, f"words recognized: unknown: {unread}"]))
    return 0 if all(report.ok for report in reports) else 1


def _place_and_judge(
    args: argparse.Namespace,
    environ: Mapping[str, str],
    call_sids: list[str],
    place: Callable[[], list[tuple[CallReport, bool]]],
) -> tuple[list[CallReport], str | None]:
    """The reports of the calls, with whether words were recognized, and why that is unknown."""
    from fastcall.simulator import HeardWords
    from fastcall.simulator.check import CheckOptions, EventReader

    heard = HeardWords(call_sids)
    where = CheckOptions(args.url, events_url=args.events, admin_token=environ.get("FASTCALL_ADMIN_TOKEN", ""))
    with EventReader(where, heard.take) as reader:
        ends = place()
        if reader.error is None:
            answered = [report.ids.call_sid for report, _ in ends if report.first_frame_at is not None]
            heard.wait_for_ends(answered, LAST_WORDS_S)
        unread = reader.error
    for report, is_said in ends:
        heard.judge(report, words_were_said=is_said and not args.audio)
    return [report for report, _ in ends], unread


def _check_numbers(args: argparse.Namespace) -> None:
    if not 1 <= args.calls <= MAX_CALLS:
        raise UsageError(f"--calls must be from 1 to {MAX_CALLS}")
    durations = (args.ramp_s, args.tail_s, args.slow_reader_s, args.drop_after_s or 0.0)
    if not all(0 <= value <= MAX_S for value in durations) or args.repeat < 0 or args.rows < 0:
        raise UsageError(f"durations and counts must not be negative, nor above {MAX_S} s")
    if not 0 <= args.faulty <= 1:
        raise UsageError("--faulty is a share, from 0 to 1")


def _conducts(args: argparse.Namespace) -> Callable[[int], Conduct]:
    """The faults of each call, by its number. Faulty calls are spread evenly."""
    from fastcall.simulator import Conduct
    from fastcall.simulator.impairments import LineFaults, plan_line

    try:
        faults = LineFaults(args.jitter_ms, args.burst_ms, args.gap_ms, args.every_s, args.duplicates, args.reorder)
    except ValueError as error:
        raise UsageError(f"invalid faults: {error}") from error
    chance = random.Random(1)
    faulty = [
        Conduct(
            plan_line(faults, chance.random),
            no_stop=args.no_stop,
            drop_after_s=args.drop_after_s,
            read_pause_s=args.slow_reader_s,
            second_socket=args.second_socket,
        )
        for _ in range(PLANS)
    ]

    def conduct_of(index: int) -> Conduct:
        is_faulty = int((index + 1) * args.faulty) > int(index * args.faulty)
        return faulty[index % PLANS] if is_faulty else Conduct()

    return conduct_of


def _allow_sockets(count: int) -> None:
    """Let this process open that many sockets; any process may raise its limit up to the hard one."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UsageError(f"so many calls need {wanted} open files, but the limit is {hard}: raise it (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _audios(args: argparse.Namespace) -> list[PhoneAudio]:
    """The audio of the calls, used in turn."""
    from fastcall.simulator.twilio_client import PhoneAudio

    said = [_read(Path(name)) for name in args.audio] + [_synthesize(text, args.word_ms) for text in args.tones]
    said = said or [_read(Path(__file__).parents[1] / "data" / "booking.wav")]
    return [PhoneAudio(mulaw, passes=args.repeat or None, tail_s=args.tail_s) for mulaw in said]


def _read(path: Path) -> bytes:
    from fastcall.audio.wav import read_audio

    try:
        mulaw = read_audio(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not mulaw:
        raise UsageError(f"{path}: it contains no audio")
    return mulaw


def _synthesize(text: str, word_ms: int) -> bytes:
    from fastcall.audio.tones import synthesize

    try:
        mulaw = synthesize(text, word_ms=word_ms, encoding="mulaw")
    except ValueError as error:
        raise UsageError(f"--tones: {error}") from error
    if not mulaw:
        raise UsageError("--tones: it contains no words")
    return mulaw


def _parameters(given: list[str]) -> dict[str, str]:
    pairs = [item.partition("=") for item in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError(f"--param {name}{equals}: must be NAME=VALUE")
    return {name: value for name, _, value in pairs}


async def _place(callers: list[TwilioCaller], ramp_s: float) -> list[CallReport]:
    from fastcall.simulator import place_calls

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
    """Show progress on stderr: a bar on a terminal, else a line every ten seconds."""
    terminal = sys.stderr.isatty()
    while True:
        await asyncio.sleep(PROGRESS_S if terminal else 10 * PROGRESS_S)
        live = sum(caller.live for caller in callers)
        failed = sum(caller.report.error is not None for caller in callers)
        share = sum(caller.share_said for caller in callers) / len(callers)
        bar = f"[{'#' * round(share * BAR_CELLS):{BAR_CELLS}}] " if terminal else ""
        text = f"{bar}{share:4.0%} sent, {live} of {len(callers)} calls live, {failed} failed"
        print(f"\r{text}\x1b[K" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
