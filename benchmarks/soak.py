"""Calls that start and end for a long time: `python benchmarks/soak.py [minutes] [calls]`, or `make soak MINUTES=20`.

A server by `fastcall serve` with a recognizer that understands tones, both in processes of their own; each
caller places calls of 6 to 20 s, one after the other. Criteria at the end:

* nothing is lost: each word of each call is in the server's transcript, in order;
* the server's memory is flat: after the first quarter (5 of 20 minutes) its resident size does not grow by more than
  3 % or 4 MB (not judged in runs of less than 5 minutes, which see little but the beginning);
* nothing leaks: when all calls are over the server has as many descriptors, threads and sockets as before the first.

Bounded: minutes, and then at most 30 s. Exit status 0: all criteria are met.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from fastcall.audio.tones import VOCABULARY, synthesize
from fastcall.simulator import CallReport, Pacer, TwilioCaller
from fastcall.simulator.twilio_client import CallIds, PhoneAudio
from processes import resident_bytes, running

SAMPLE_S = 1.0
GROWTH = 0.03
JUDGED_MINUTES = 5.0
GROWTH_BYTES = 4_000_000
END_S = 30.0
SCRIPTS = 40
UTTERANCES = (2, 6)
WORDS = (2, 5)
TAIL_S = 2.0


@dataclass
class Said:
    """One text and its audio, shared by the calls that say it."""

    words: list[str]
    audio: PhoneAudio

    @property
    def seconds(self) -> float:
        assert self.audio.frames is not None
        return self.audio.frames / 50


@dataclass
class Outcome:
    """The results."""

    calls: int = 0
    words: int = 0
    wrong: list[str] = field(default_factory=list)
    rss: list[tuple[float, int]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def growth_bytes(self, seconds: float) -> int:
        """From the mean of the second eighth to the mean of the last: single samples jump by an arena."""
        early = [size for at, size in self.rss if 0.25 * seconds <= at <= 0.375 * seconds]
        late = [size for at, size in self.rss if 0.875 * seconds <= at <= seconds]
        return round(sum(late) / len(late) - sum(early) / len(early)) if early and late else 0


def make_said(chance: random.Random) -> Said:
    tokens: list[str] = ["[400]"]
    said: list[str] = []
    for _ in range(chance.randint(*UTTERANCES)):
        utterance = chance.sample(VOCABULARY, chance.randint(*WORDS))
        said += utterance
        tokens += [*utterance, "[1200]"]
    mulaw = synthesize(tokens, word_ms=200, gap_ms=100, encoding="mulaw")
    return Said(said, PhoneAudio(mulaw, tail_s=TAIL_S))


def holdings(pid: int) -> dict[str, int]:
    """What a process holds: descriptors, sockets among them, threads."""
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(descriptor))
    return {
        "descriptors": len(links),
        "sockets": sum(link.startswith("socket:") for link in links),
        "threads": len(list(Path(f"/proc/{pid}/task").iterdir())),
    }


# --- calls --------------------------------------------------------------------------------------------------


async def keep_calling(
    url: str, scripts: list[Said], calls: int, seconds: float, said: dict[str, list[str]]
) -> list[str]:
    """So many callers, each of whom calls again and again until the time is over.

    :param said: gets the words of each call, by CallSid
    :return: what went wrong
    """
    pacer, chance, wrong = Pacer(), random.Random(7), []
    ends_at = time.monotonic() + seconds

    async def caller(number: int) -> None:
        await asyncio.sleep(number / calls * min(10.0, seconds / 4))
        turn = 0
        while True:
            script = chance.choice(scripts)
            if time.monotonic() + script.seconds > ends_at:
                return
            turn += 1
            ids = CallIds.derive("soak", number * 1_000_000 + turn)
            report: CallReport = await TwilioCaller(url, script.audio, ids=ids, keep_received=False, pacer=pacer).run()
            if not report.ok:
                wrong.append(f"{ids.call_sid}: {report.error or report.violations or 'frames discarded'}")
            said[ids.call_sid] = script.words

    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            group.create_task(caller(number))
    return wrong


async def watch(pid: int, outcome: Outcome, seconds: float) -> None:
    """The server's memory, each second; a line of progress each minute."""
    began = time.monotonic()
    while (at := time.monotonic() - began) < seconds:
        outcome.rss.append((at, resident_bytes(pid)))
        if len(outcome.rss) % 60 == 0:
            print(f"{at / 60:5.1f} min: {outcome.rss[-1][1] / 1e6:.1f} MB", file=sys.stderr, flush=True)
        await asyncio.sleep(SAMPLE_S)


def words_heard(transcripts: Path) -> dict[str, list[str]]:
    """What the server makes of each call in the end, by CallSid."""
    starts: dict[tuple[str, int], int] = {}
    texts: dict[tuple[str, int], str] = {}
    with transcripts.open() as lines:
        for line in lines:
            record = json.loads(line)
            key = record["call_sid"], record["utterance_id"]
            if record["event"] == "utterance_end":
                starts[key], texts[key] = record["start_ms"], record["text"]
            elif record["event"] == "amended":
                texts[key] = record["text"]
    heard: dict[str, list[str]] = {}
    for key in sorted(starts, key=lambda key: starts[key]):
        heard.setdefault(key[0], []).extend(texts[key].split())
    return heard


def wait_until_over(transcripts: Path, calls: int) -> int:
    """Until so many calls have ended in the transcript; how many have."""
    until = time.monotonic() + END_S
    while (ended := transcripts.read_text().count('"call_ended"')) < calls and time.monotonic() < until:
        time.sleep(0.2)
    return ended


def compare_holdings(before: dict[str, int], pid: int) -> list[str]:
    """What is left, once closing is done (grpc and the kernel take a moment)."""
    until = time.monotonic() + END_S / 3
    while True:
        now = holdings(pid)
        # The recognizer's connections stay for the next calls: one for 80 streams.
        more = [f"{now[name] - before[name]} {name} more than before" for name in now if now[name] > before[name]]
        if not more or time.monotonic() > until:
            return more
        time.sleep(0.2)


def soak(minutes: float, calls: int, serve_arguments: list[str]) -> Outcome:
    chance, outcome = random.Random(3), Outcome()
    scripts = [make_said(chance) for _ in range(SCRIPTS)]
    said: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        transcripts = Path(folder) / "transcripts.ndjson"
        emulator = ["-m", "fastcall", "emulator", "--engine", "tones", "--port", "0"]
        emulator += ["--requests-per-minute", "0", "--final-delay-s", "0"]
        with running(emulator, r"emulator listening on (\S+)", Path(folder) / "emulator.log") as (_, address):
            serve = ["-m", "fastcall", "serve", "--port", "0", "--stt", "emulator", "--stt-endpoint", address]
            serve += ["--transcripts", str(transcripts), *serve_arguments]
            with running(serve, r"listening on (ws://\S+?),", Path(folder) / "serve.log") as (pid, url):
                # As many calls at once as later, briefly: pools and channels are made once and stay.
                uvloop.run(first_calls(url, calls))
                wait_until_over(transcripts, calls)
                before = holdings(pid)
                began = transcripts.read_text().count('"call_ended"')

                async def both() -> None:
                    watcher = asyncio.create_task(watch(pid, outcome, 60 * minutes))
                    outcome.wrong += await keep_calling(url, scripts, calls, 60 * minutes, said)
                    watcher.cancel()

                uvloop.run(both())
                ended = wait_until_over(transcripts, began + len(said)) - began
                outcome.left = compare_holdings(before, pid)
        heard = words_heard(transcripts)
        log = (Path(folder) / "serve.log").read_text()
        outcome.wrong += [
            part[:2000] for part in re.findall(r"[^\n]*internal error.*?(?=\n\S*(?:INFO|WARNING)|\Z)", log, re.S)[:1]
        ]
    outcome.calls, outcome.words = len(said), sum(map(len, said.values()))
    if ended != len(said):
        outcome.wrong.append(f"{ended} of {len(said)} calls ended in the transcript")
    outcome.wrong += [
        f"{sid}: said {' '.join(words)!r}, heard {' '.join(heard.get(sid, []))!r}"
        for sid, words in said.items()
        if heard.get(sid) != words
    ]
    return outcome


async def first_calls(url: str, calls: int) -> None:
    pacer, audio = Pacer(), PhoneAudio(b"", tail_s=2.0)
    callers = [TwilioCaller(url, audio, pacer=pacer, keep_received=False) for _ in range(calls)]
    began = time.monotonic()
    await asyncio.gather(*(caller.run(began + number / 100) for number, caller in enumerate(callers)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=float, default=20.0)
    parser.add_argument("calls", nargs="?", type=int, default=200)
    parser.add_argument("--uplink", help="passed on to `fastcall serve`")
    options = parser.parse_args(arguments)
    outcome = soak(options.minutes, options.calls, ["--uplink", options.uplink] if options.uplink else [])
    seconds = 60 * options.minutes
    growth = outcome.growth_bytes(seconds)
    least = min(size for _, size in outcome.rss)
    flat = options.minutes < JUDGED_MINUTES or growth <= max(GROWTH_BYTES, GROWTH * least)
    print(f"calls: {outcome.calls}, {outcome.calls / options.minutes:.0f} a minute; words: {outcome.words}")
    print(f"memory: {outcome.rss[-1][1] / 1e6:.1f} MB, {growth / 1e6:+.1f} MB since the first quarter")
    print(f"left: {', '.join(outcome.left) or 'nothing'}")
    print(f"wrong: {len(outcome.wrong)}")
    for text in outcome.wrong[:10]:
        print(f"  {text}")
    good = flat and not outcome.left and not outcome.wrong
    print("all of it holds" if good else "it does NOT hold")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
