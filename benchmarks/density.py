"""How many live calls one core can handle: `python benchmarks/density.py [options]`, or `make density`.

The server runs on one core; the simulated calls (`callers.py`) and a cheap recognizer (`cheap_recognizer.py`) on
another. Each frame carries the time of sending, so the recognizer knows the age of the newest audio of each request
on arrival, and whether each frame came exactly once. The number of calls grows until the p99 of that age passes 10
ms, a frame is lost, or the core is full; then the limit is narrowed down. fastcall goes through this with either
transport, and the design that it replaces and the least that a C program can do go through the same, in the same run.

`--talking` asks something else: what it costs when every call plays audio all the time. The designs take turns, silent
and talking, `--rounds` times at each number of calls of `--steps`; of each the cheapest good round counts.

A step is *invalid* when load and recognizer kept their core over 90 % busy, or sent less than 98 % of what was due:
then they may be measured instead of the server. It is *disturbed* when other programs used more than 5 % of
either core; a disturbed step that fails is repeated, at most twice. On a shared machine, `--nice -15` (needs the
privilege) gives it priority over other programs. Linux only. Bounded: about 20 s a step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fastcall
from density_report import draw_svg, render_table
from fastcall.simulator.twilio_client import Lateness
from processes import Child, CoreTime, process_cpu_s, resident_bytes, running

HERE = Path(__file__).parent
ANSWER = Path(fastcall.__file__).parent / "data" / "booking.wav"
CEILING_MS = 10.0
FULL = 0.97
BUSY = 0.90
DISTURBED = 0.05
ENOUGH = 0.98
RETRIES = 2
CALLS_A_SECOND = 80
MESSAGES_A_SECOND = 50
STEPS = (100, 200, 300, 400, 500, 600, 800, 1000, 1250, 1500, 1750, 2000)


@dataclass
class Step:
    """The results for one number of calls."""

    design: str
    calls: int
    age_p50_ms: float
    age_p99_ms: float
    age_max_ms: float
    lost: int
    doubled: int
    again: int
    """Frames that another stream of their call had heard before: the session asks again for what was not answered."""
    messages_a_second: float
    requests_a_second: float
    responses_a_second: float
    server_share: float
    """Of its core, CPU time of the server's process."""
    callers_share: float
    """Of the load's core: the simulated calls."""
    recognizer_share: float
    """Of the load's core: the recognizer."""
    interrupt_share: float
    """Share of the load's core used by the kernel for no particular process."""
    foreign_share: float
    """Of either core, the greater: what is neither the server's nor the load's."""
    call_us: float
    """CPU time of the server for a second of a call."""
    message_us: float
    """The same for a message from the telephone, with all that follows from it."""
    call_kb: float
    """Resident memory a call."""
    sent_late_p99_ms: float
    verdict: str

    @property
    def load_share(self) -> float:
        """Of the load's core."""
        return self.callers_share + self.recognizer_share + self.interrupt_share

    @property
    def good(self) -> bool:
        return self.verdict == "good"


# --- designs ------------------------------------------------------------------------------------------------


def serve_fastcall(recognizer: str, uplink: str) -> tuple[list[str], str]:
    where = ["--port", "0", "--stt", "emulator", "--stt-endpoint", recognizer, "--uplink", uplink]
    return ["-m", "fastcall", "serve", *where], r"listening on (ws://\S+?),"


def serve_talking(recognizer: str) -> tuple[list[str], str]:
    arguments, ready = serve_fastcall(recognizer, "native")
    return [str(HERE / "talking_server.py"), *arguments[arguments.index("serve") + 1 :]], ready


def serve_replaced(recognizer: str) -> tuple[list[str], str]:
    return [str(HERE / "replaced_server.py"), recognizer], r"listening on (ws://\S+)"


def serve_floor(recognizer: str, *answer: str) -> tuple[list[str], str]:
    return [str(HERE / "floor" / "serve.py"), recognizer, *answer], r"listening on (ws://\S+)"


DESIGNS: dict[str, Callable[[str], tuple[list[str], str]]] = {
    "native": lambda recognizer: serve_fastcall(recognizer, "native"),
    "grpcio": lambda recognizer: serve_fastcall(recognizer, "grpcio"),
    "replaced": serve_replaced,
    "floor": serve_floor,
}
"""fastcall with either uplink, the design that it replaces, and the least that a C program can do."""

TALKING_DESIGNS: dict[str, Callable[[str], tuple[list[str], str]]] = {
    "native": DESIGNS["native"],
    "native talking": serve_talking,
    "floor": serve_floor,
    "floor talking": lambda recognizer: serve_floor(recognizer, str(ANSWER)),
}
"""Without answers, and with answers that never end."""


# --- a step -------------------------------------------------------------------------------------------------


def percentile_ms(ages: list[int], percent: float) -> float:
    """The upper edge of the 0.1 ms in which the percentile lies."""
    return 1000 * (Lateness(array("Q", ages)).percentile_s(percent) or 0.0)


def judge(step: Step, errors: list[str]) -> str:
    """The first failed criterion, or `good`."""
    if errors:
        return f"calls failed: {errors[0]}"
    if step.load_share > BUSY:
        return f"invalid: the load's core was {step.load_share:.0%} busy"
    if step.messages_a_second < ENOUGH * MESSAGES_A_SECOND * step.calls:
        return f"invalid: {step.messages_a_second:.0f} messages/s were sent, not {MESSAGES_A_SECOND * step.calls}"
    if step.lost or step.doubled:
        return f"{step.lost} frames lost, {step.doubled} doubled"
    if step.age_p99_ms > CEILING_MS:
        return f"p99 of the age over {CEILING_MS:g} ms"
    if step.server_share > FULL:
        return "the core is full"
    return "good"


def measure(design: str, calls: int, options: argparse.Namespace) -> Step:
    """Measure one number of calls, with new processes."""
    recognizer = Child([str(HERE / "cheap_recognizer.py"), str(options.load_core)])
    callers: Child | None = None
    try:
        arguments, ready = {**DESIGNS, **TALKING_DESIGNS}[design](recognizer.line())
        # What the server prints goes into a file that nobody keeps.
        with (
            tempfile.NamedTemporaryFile() as output,
            running(arguments, ready, Path(output.name), core=options.server_core) as (pid, url),
        ):
            empty_bytes = resident_bytes(pid)
            ramp_s = calls / CALLS_A_SECOND
            callers = Child([str(HERE / "callers.py"), str(options.load_core), url, str(calls), str(ramp_s)])
            callers.line()
            time.sleep(options.settle_s)
            recognizer_before, load_before = recognizer.ask(), callers.ask()
            cores = CoreTime.of(options.server_core), CoreTime.of(options.load_core)
            server_before, began = process_cpu_s(pid), time.monotonic()
            time.sleep(options.seconds)
            took_s = time.monotonic() - began
            server_s = process_cpu_s(pid) - server_before
            server_core = CoreTime.of(options.server_core).since(cores[0])
            load_core = CoreTime.of(options.load_core).since(cores[1])
            full_bytes = resident_bytes(pid)
            tally, load = recognizer.ask(), callers.ask()
            last = json.loads(callers.finish())
            after = settled(recognizer)
    finally:
        for child in (callers, recognizer):
            if child is not None:
                child.stop()
    everything = (recognizer_before, tally, after)
    recognizer_s, callers_s = tally["cpu_s"] - recognizer_before["cpu_s"], load["cpu_s"] - load_before["cpu_s"]
    foreign_s = max(
        server_core.busy_s - server_core.interrupts_s - server_s,
        load_core.busy_s - load_core.interrupts_s - recognizer_s - callers_s,
        0.0,
    )
    step = Step(
        design,
        calls,
        percentile_ms(tally["ages"], 50),
        percentile_ms(tally["ages"], 99),
        tally["age_max_ms"],
        last["sent"] - sum(part["frames"] - part["doubled"] - part["again"] for part in everything) + last["discarded"],
        sum(part["doubled"] for part in everything),
        sum(part["again"] for part in everything),
        (load["sent"] - load_before["sent"]) / took_s,
        tally["requests"] / took_s,
        tally["responses"] / took_s,
        server_s / took_s,
        callers_s / took_s,
        recognizer_s / took_s,
        load_core.interrupts_s / took_s,
        foreign_s / took_s,
        1e6 * server_s / took_s / calls,
        1e6 * server_s / took_s / calls / MESSAGES_A_SECOND,
        (full_bytes - empty_bytes) / calls / 1000,
        load["late_p99_ms"] or 0.0,
        "",
    )
    # What is heard again begins anywhere in a frame, so odd sizes are no error; a frame that was spoilt is lost.
    wrong = last["errors"] + [f"recognizer: {part['errors']} errors" for part in everything if part["errors"]]
    if design.endswith("talking") and last["heard_s"] < calls * options.seconds:
        wrong.append(f"callers heard {last['heard_s']:.0f} s")
    step.verdict = judge(step, wrong)
    return step


def settled(recognizer: Child) -> dict[str, Any]:
    """What arrived after the callers had hung up, once no stream is left (or after 10 s)."""
    total = recognizer.ask()
    for _ in range(100):
        if not total["live_streams"]:
            break
        time.sleep(0.1)
        more = recognizer.ask()
        for name in ("frames", "doubled", "again", "errors", "odd"):
            total[name] += more[name]
        total["live_streams"] = more["live_streams"]
    return total


def attempt(design: str, calls: int, options: argparse.Namespace) -> list[Step]:
    """A step, repeated if it was disturbed and failed; the last one counts."""
    steps = []
    for _ in range(1 + RETRIES):
        steps.append(measure(design, calls, options))
        print(render_table(steps[-1:], header=False)[0], flush=True)
        if steps[-1].good or steps[-1].foreign_share <= DISTURBED:
            break
        steps[-1].verdict += " (disturbed)"
    return steps


def find_limit(design: str, options: argparse.Namespace) -> list[Step]:
    """Steps up to the first that fails, then between it and the best."""
    done: list[Step] = []
    best, worst = 0, 0
    for calls in options.steps:
        done += attempt(design, calls, options)
        if not done[-1].good:
            worst = calls
            break
        best = calls
    while worst and worst - best > max(10, options.resolution * worst) and not options.no_narrowing:
        middle = round((best + worst) / 20) * 10
        done += attempt(design, middle, options)
        if done[-1].good:
            best = middle
        else:
            worst = middle
    return done


def compare_talking(options: argparse.Namespace) -> list[Step]:
    """All designs at each number of calls, round after round; of each the cheapest good round, or else the cheapest."""
    best: list[Step] = []
    for calls in options.steps:
        rounds = [attempt(design, calls, options)[-1] for _ in range(options.rounds) for design in TALKING_DESIGNS]
        for design in TALKING_DESIGNS:
            steps = [step for step in rounds if step.design == design]
            # A server that does not get the processor does more at once, and so costs less: a good round counts first.
            best.append(min(steps, key=lambda step: (not step.good, step.call_us)))
    return best


def describe_talking(best: list[Step]) -> list[str]:
    """The ratios of CPU time, of each number of calls."""
    lines = []
    for calls in sorted({step.calls for step in best}):
        us = {step.design: step.call_us for step in best if step.calls == calls}
        lines += [
            f"{calls} calls: native talking {us['native talking'] / us['native']:.2f} times silent, "
            f"floor talking {us['floor talking'] / us['floor']:.2f} times silent; "
            f"native talking {us['native talking'] / us['floor talking']:.2f} times the floor, "
            f"silent {us['native'] / us['floor']:.2f} times; what talking adds "
            f"{us['native talking'] - us['native']:.0f} us a call-second, "
            f"the floor's {us['floor talking'] - us['floor']:.0f}"
        ]
    return lines


# --- the program --------------------------------------------------------------------------------------------


def take_priority(niceness: int) -> None:
    """For this process and its children; where the kernel groups processes by session, for the group."""
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
    group = Path("/proc/self/autogroup")
    if group.exists():
        with contextlib.suppress(PermissionError):  # already a leader of its own session
            os.setsid()
        group.write_text(str(niceness))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    cores = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="density", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--designs", default=",".join(DESIGNS), help="which, in this order (default: %(default)s)")
    parser.add_argument("--steps", default="", help="numbers of calls, by commas (default: 100,200 ... 2000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each is measured (default: 10)")
    parser.add_argument("--settle-s", type=float, default=2.0, help="how long it settles before (default: 2)")
    parser.add_argument("--resolution", type=float, default=0.05, help="how near to narrow the limit down (0.05)")
    parser.add_argument("--no-narrowing", action="store_true", help="only the steps")
    parser.add_argument("--talking", action="store_true", help="what endless answers cost (--steps: 200)")
    parser.add_argument("--rounds", type=int, default=3, help="of --talking (3)")
    parser.add_argument("--server-core", type=int, default=cores[0])
    parser.add_argument("--load-core", type=int, default=cores[-1])
    parser.add_argument("--nice", type=int, default=0, help="niceness of server, calls and recognizer (0)")
    parser.add_argument("--out", default=str(HERE), help="folder for density.json and density.svg (default: here)")
    options = parser.parse_args(arguments)
    steps = (200,) if options.talking else STEPS
    options.steps = tuple(int(n) for n in options.steps.split(",")) if options.steps else steps
    options.designs = options.designs.split(",")
    if options.server_core == options.load_core:
        parser.error("two cores are needed: one for the server, one for the load")
    if options.nice:
        take_priority(options.nice)
    if unknown := set(options.designs) - DESIGNS.keys():
        parser.error(f"no such design: {', '.join(sorted(unknown))}")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    print(render_table([])[0], flush=True)
    if options.talking:
        best = compare_talking(options)
        print("\n" + "\n".join((*render_table(best), *describe_talking(best))))
        return 0 if all(step.good for step in best) else 1
    steps = [step for design in options.designs for step in find_limit(design, options)]
    limits = {
        design: max((step.calls for step in steps if step.design == design and step.good), default=0)
        for design in options.designs
    }
    print("\n" + "\n".join(render_table(steps)))
    for design, calls in limits.items():
        print(f"{design}: {calls} calls on one core")
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    result = {"ceiling_ms": CEILING_MS, "best": limits, "steps": [asdict(step) for step in steps]}
    (out / "density.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "density.svg").write_text(draw_svg(steps, CEILING_MS))
    return 0 if all(limits.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
