"""A hundred calls with handlers, through a real server and a real recognizer, each a process of its own: `make agents`;
a short form of it is part of `make test`.

1. Barge-in. Each handler speaks without end, each caller breaks in again and again. Measured at the telephone: from the
   first frame of speech that was sent to `clear`, which waits for 300 ms of voice (BARGE_IN_MIN_MS); and what the
   server held to be heard against what had been played.
2. Isolation. Handlers that sleep, raise, or block a thread: does the age of the audio at the recognizer move against
   handlers that do nothing? The sorts take turns. A handler that keeps the event loop is measured as well, so that one
   sees that the measure would show it.
3. The speculative start. Handlers that think for 0.3 s, with and without SPECULATE_AFTER_MS: how soon do they answer?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fastcall.simulator import CallReport, ListeningCaller, TwilioCaller, place_calls
from fastcall.simulator.scripted_caller import Sentence
from fastcall.simulator.twilio_client import CallIds, PhoneAudio
from peers import ask, serve_process, start_emulator, tones, words_of_call

TESTS = str(Path(__file__).parents[1])
LATEST_CLEAR_MS = 450.0
HEARD_TOLERANCE_MS = 100.0
# A bucket of the histogram of ages that is not passed although somebody misbehaves.
CALM_S = 0.05

KINDS = {
    "does nothing": ("talkers:misbehave", ("nothing",)),
    "blocks a thread, or raises in it": ("talkers:misbehave", ("block", "raise")),
    "sleeps, or raises, on the loop": ("talkers:misbehave_async", ("sleep", "raise")),
}
CONTROL = ("talkers:keep_the_loop", ("",))
# They are enough to keep the loop from everything else.
CONTROL_CALLS = 10


@dataclass(frozen=True)
class BargeIns:
    """What the telephones saw, and what the server said; in ms."""

    clear_ms: list[float]
    heard_off_ms: list[float]
    reports: list[CallReport]

    def problems(self, expected: int) -> list[str]:
        """What is wrong, however slow the machine."""
        found = [f"{r.ids.call_sid}: {r.error or r.violations}" for r in self.reports if not r.ok]
        if len(self.clear_ms) != expected:
            found.append(f"of {expected} barge-ins {len(self.clear_ms)} were answered by clear")
        if len(self.heard_off_ms) != expected:
            found.append(f"of {expected} barge-ins the server reported {len(self.heard_off_ms)}")
        return found

    def delays(self) -> list[str]:
        """What came too late or was measured too coarsely. A machine that others use may be the reason."""
        found = []
        if percentile(self.clear_ms, 95) >= LATEST_CLEAR_MS:
            found.append(f"p95 of clear is {percentile(self.clear_ms, 95):.0f} ms")
        if percentile(self.heard_off_ms, 95) >= HEARD_TOLERANCE_MS:
            found.append(f"what was heard is off by {percentile(self.heard_off_ms, 95):.0f} ms (p95)")
        return found


def percentile(values: list[float], percent: float) -> float:
    """The value below or at which so many lie; infinite of none."""
    return float("inf") if not values else sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


async def barge_ins(emulator: str, *, calls: int, times: int) -> BargeIns:
    """Let each caller break in so often."""
    callers = []
    with tempfile.TemporaryDirectory() as folder:
        transcripts = f"{folder}/transcripts.ndjson"
        options = ["--handler", "talkers:talk_on", "--stt-endpoint", emulator, "--transcripts", transcripts]
        async with serve_process(*options, PYTHONPATH=TESTS) as process:
            for number in range(calls):
                words = words_of_call(number, 3 * times)
                said = [" ".join(words[at : at + 3]) for at in range(0, len(words), 3)]
                # Spread, so that not all break in at once.
                sentences = [Sentence(text, tones(text), 0.7 + number % 20 / 50) for text in said]
                callers.append(ListeningCaller(process.ready[1], sentences, ids=CallIds.derive("barge in", number)))
            placed = asyncio.create_task(place_calls(callers, ramp_s=1.0))
            reports = await _hang_up_when_done(placed, callers)
        text = await asyncio.to_thread(Path(transcripts).read_text, encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    told: dict[str, list[int]] = {}
    for record in records:
        if record["event"] == "barge_in":
            told.setdefault(record["call_sid"], []).append(record["heard_ms"])
    clear_ms, off_ms = [], []
    for caller in callers:
        seen = [said for said in caller.said if said.cleared_at is not None]
        clear_ms += [1000 * (said.cleared_at - said.began_at) for said in seen if said.cleared_at is not None]
        heard = told.get(caller.report.ids.call_sid, [])
        if len(heard) == len(seen):
            off_ms += [abs(said.played_ms - ms) for said, ms in zip(seen, heard, strict=True)]
    return BargeIns(clear_ms, off_ms, reports)


async def _hang_up_when_done(
    placed: asyncio.Task[list[CallReport]], callers: list[ListeningCaller]
) -> list[CallReport]:
    """All stay until the last has broken in for the last time: so long a hundred are live."""
    while not placed.done() and not all(map(_is_through, callers)):
        await asyncio.wait((placed,), timeout=0.1)
    for caller in callers:
        caller.hang_up()
    return await placed


def _is_through(caller: ListeningCaller) -> bool:
    """Everything was said, and the answer to the last of it has come."""
    return caller.is_done and caller.said[-1].answered_at is not None


@dataclass(frozen=True)
class Isolation:
    """What became of the audio of calls whose handlers are all of one kind."""

    reports: list[CallReport]
    values: dict[str, float]
    """The server's metrics afterwards, by name and labels."""

    def problems(self) -> list[str]:
        """Calls that failed, and audio that did not get to the recognizer."""
        found = [f"{r.ids.call_sid}: {r.error or r.violations}" for r in self.reports if not r.ok]
        sent, taken = sum(r.frames_sent for r in self.reports), self.values["fastcall_frames_total"]
        if taken != sent:
            found.append(f"{taken:.0f} of {sent} frames were taken")
        if dropped := self.values["fastcall_dropped_samples_total"]:
            found.append(f"{dropped:.0f} samples were dropped")
        return found

    def age_s(self, share: float) -> float:
        """The smallest bound of the histogram that the newest audio of so many requests was not older than."""
        found = {
            float(match[1]): value
            for name, value in self.values.items()
            if (match := re.fullmatch(r'fastcall_audio_age_seconds_bucket\{le="([\d.+Inf]+)"\}', name))
        }
        return min(bound for bound, count in found.items() if count >= share * found[float("inf")])


async def misbehaving(emulator: str, kind: tuple[str, tuple[str, ...]], *, calls: int, seconds: float) -> Isolation:
    """Place calls whose handlers are all of that kind: a handler, and what it is told."""
    handler, ways = kind
    speech = PhoneAudio(tones("[300] " + " [900] ".join(words_of_call(1, 8)))[: int(8000 * seconds)], tail_s=0.0)
    options = ["--handler", handler, "--stt-endpoint", emulator]
    async with serve_process(*options, PYTHONPATH=TESTS) as process:
        callers = [
            TwilioCaller(
                process.ready[1],
                speech,
                ids=CallIds.derive(handler, number),
                parameters={"kind": ways[number % len(ways)]},
            )
            for number in range(calls)
        ]
        reports = await place_calls(callers, ramp_s=0.5)
        port = int(process.ready[1].rpartition(":")[2].partition("/")[0])
        text = (await ask(port, "/metrics")).body
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return Isolation(reports, {name: float(value) for name, _, value in lines})


async def first_responses(emulator: str, *, speculate_after_ms: int, calls: int, times: int) -> list[dict[str, float]]:
    """The records of the turns of handlers that think for 0.3 s."""
    with tempfile.TemporaryDirectory() as folder:
        transcripts = f"{folder}/transcripts.ndjson"
        options = ["--handler", "talkers:think", "--stt-endpoint", emulator, "--transcripts", transcripts]
        settings = {"PYTHONPATH": TESTS, "SPECULATE_AFTER_MS": str(speculate_after_ms)}
        async with serve_process(*options, **settings) as process:
            callers = []
            for number in range(calls):
                words = words_of_call(number, 3 * times)
                said = [" ".join(words[at : at + 3]) for at in range(0, len(words), 3)]
                sentences = [Sentence(text, tones(text)) for text in said]
                callers.append(ListeningCaller(process.ready[1], sentences, speaks_first=True))
            await place_calls(callers, ramp_s=1.0)
        text = await asyncio.to_thread(Path(transcripts).read_text, encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    return [record for record in records if record["event"] == "first_response"]


def main(arguments: list[str] | None = None) -> int:
    """The command; exit status 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(prog="agents", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=100, help="at once (default: %(default)s)")
    parser.add_argument("--times", type=int, default=10, help="barge-ins of each call (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of isolation (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6.0, help="each sort of handler (default: %(default)g)")
    args = parser.parse_args(arguments)
    emulator = start_emulator("--final-delay-s", "0", "--rewrite-rate", "0")
    try:
        problems = asyncio.run(prove(emulator.ready[1], args))
    finally:
        emulator.stop()
    print("\n".join(problems) if problems else "nothing wrong")
    return 1 if problems else 0


async def prove(emulator: str, args: argparse.Namespace) -> list[str]:
    """Both parts, told as they come.

    :return: what is wrong
    """
    found = await barge_ins(emulator, calls=args.calls, times=args.times)
    problems = found.problems(args.calls * args.times) + found.delays()
    if found.clear_ms:
        spread = ", ".join(f"p{p} {percentile(found.clear_ms, p):.0f}" for p in (50, 95, 99))
        print(f"{len(found.clear_ms)} barge-ins of {args.calls} calls: first speech to clear, ms: {spread}")
        print(f"what was heard: off by {percentile(found.heard_off_ms, 95):.0f} ms (p95)", flush=True)
    kinds = {**KINDS, "keeps the loop (control)": CONTROL}
    best = dict.fromkeys(kinds, float("inf"))
    for _ in range(args.rounds):
        for name, kind in kinds.items():
            calls = CONTROL_CALLS if kind is CONTROL else args.calls
            seen = await misbehaving(emulator, kind, calls=calls, seconds=args.seconds)
            problems += [f"{name}: {problem}" for problem in seen.problems()]
            best[name] = min(best[name], seen.age_s(0.99))
    for name, age in best.items():
        print(f"each handler {name}: age of the audio p99 <= {1000 * age:g} ms")
        if name in KINDS and age > max(CALM_S, best["does nothing"]):
            problems.append(f"{name}: the audio's age moves to {1000 * age:g} ms")
    median_ms = {}
    for after_ms in (0, 150):
        turns = await first_responses(emulator, speculate_after_ms=after_ms, calls=10, times=args.times)
        waits, gains = ([turn[name] for turn in turns] for name in ("total_ms", "gained_ms"))
        median_ms[after_ms] = percentile(waits, 50)
        print(
            f"a handler that thinks 0.3 s, SPECULATE_AFTER_MS={after_ms}: first response {median_ms[after_ms]:.0f} ms "
            f"(median of {len(turns)}), gained {percentile(gains, 50):.0f} ms"
        )
    if median_ms[150] >= median_ms[0]:
        problems.append("the speculative start gains nothing")
    if best["keeps the loop (control)"] <= CALM_S:
        problems.append("a handler that keeps the loop does not show: the measure is worth nothing")
    return problems


if __name__ == "__main__":
    raise SystemExit(main())
