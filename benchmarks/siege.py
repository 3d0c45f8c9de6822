"""The server under attack: `python benchmarks/siege.py [options]`, or `make siege`.

`fastcall serve --workers 2` with live calls (`callers.py`) and a cheap recognizer (`ear.py`), in processes of their
own. After a quiet time, in which the age of the audio at the recognizer is measured, all attacks by strangers and
broken peers are run at once, repeatedly (`attacks.py`). Criteria:

* no call loses audio: each frame comes to the recognizer once, and all calls are live to the end;
* no process is lost, and the server's memory is flat;
* the log has under 1,000 lines that are not of transcripts;
* with `--judge-ages`: the p99 of the age stays within twice that of the quiet time of the same run.

Unlike real attackers, these share the machine with the server: they run at the lowest priority, and each connection
sends at most `--mbit` megabits a second. A hostile recognizer is not among them: a server has one, and here
it is that which measures (tests/wire/test_http2_channel.py has its attacks).

Loopback only. Bounded: the two times, and at most a minute. Linux only. Exit status 0: all criteria are met.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from density import percentile_ms, settled
from processes import Child, process_cpu_s, resident_bytes, running

HERE = Path(__file__).parent
TOKEN = "a token for the siege"
WITHIN = 2.0
MAX_LINES = 1000
MAX_GROWTH_BYTES = 64 * 1024 * 1024
TRANSCRIPT = ("🟡", "🟢", "[STT]")
CALLS_A_SECOND = 40
SETTLE_S = 2.0


@dataclass
class Outcome:
    """The results."""

    lost: int
    doubled: int
    quiet_p99_ms: float
    siege_p99_ms: float
    quiet_cpu: float
    """Cores that the server used, of all its processes."""
    siege_cpu: float
    grown_bytes: int
    lines: list[str]
    errors: list[str]
    attacks: dict[str, int]

    def wrong(self, *, judge_ages: bool) -> Iterator[str]:
        """The failed criteria, as sentences."""
        if self.lost or self.doubled:
            yield f"{self.lost} frames lost, {self.doubled} doubled"
        if self.errors:
            yield f"calls failed: {self.errors[0]}"
        if gone := [line for line in self.lines if "calls lost" in line or "killing it" in line]:
            yield f"a process was lost: {gone[0]}"
        if self.grown_bytes > MAX_GROWTH_BYTES:
            yield f"memory grew by {self.grown_bytes >> 20} MiB"
        if len(self.lines) >= MAX_LINES:
            yield f"{len(self.lines)} lines in the log"
        if tracebacks := [line for line in self.lines if "Traceback" in line]:
            yield f"{len(tracebacks)} tracebacks in the log"
        if judge_ages and self.siege_p99_ms > WITHIN * self.quiet_p99_ms:
            yield f"p99 of the age is over {WITHIN:g} times that of the quiet time"
        if not all(self.attacks.values()):
            yield f"not every attack came about: {self.attacks}"


def family(pid: int) -> list[int]:
    """A process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def cpu_of(pids: list[int]) -> float:
    return sum(process_cpu_s(pid) for pid in pids)


def memory_of(pids: list[int]) -> int:
    return sum(resident_bytes(pid) for pid in pids)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def server(recognizer: str, workers: int, output: Path) -> Iterator[tuple[int, int]]:
    """Its process id and its port. Upgrades must be signed, so its own address is needed before it has one."""
    port = free_port()
    for name in [each for each in os.environ if each.startswith(("FASTCALL_", "TWILIO_", "GOOGLE_", "SPEECH_"))]:
        del os.environ[name]
    os.environ |= {"TWILIO_AUTH_TOKEN": TOKEN, "FASTCALL_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    where = ["--port", str(port), "--stt", "emulator", "--stt-endpoint", recognizer, "--workers", str(workers)]
    with running(["-m", "fastcall", "serve", *where], r"listening on (ws://\S+?),", output) as (pid, _):
        yield pid, port


def besiege(options: argparse.Namespace) -> Outcome:
    """The quiet time, the siege, and what is left of it."""
    core = str(sorted(os.sched_getaffinity(0))[-1])
    recognizer = Child([str(HERE / "cheap_recognizer.py"), core])
    callers: Child | None = None
    attackers: Child | None = None
    try:
        with (
            tempfile.NamedTemporaryFile() as output,
            server(recognizer.line(), options.workers, Path(output.name)) as (pid, port),
        ):
            url = f"ws://127.0.0.1:{port}/media"
            callers = Child(
                [str(HERE / "callers.py"), core, url, str(options.calls), str(options.calls / CALLS_A_SECOND)]
            )
            callers.line()
            time.sleep(SETTLE_S)
            parts = [recognizer.ask()]
            pids = family(pid)
            cpu = [cpu_of(pids)]
            time.sleep(options.quiet_s)
            parts.append(quiet := recognizer.ask())
            cpu.append(cpu_of(pids))
            before = memory_of(pids)
            attackers = Child(
                [str(HERE / "attacks.py"), str(port), TOKEN, str(options.siege_s), str(options.mbit), options.only]
            )
            attacks = json.loads(attackers.line())
            parts.append(siege := recognizer.ask())
            cpu.append(cpu_of([each for each in pids if Path(f"/proc/{each}").exists()]))
            errors = callers.ask()["errors"]
            if set(pids) - set(family(pid)):
                errors.append("a process of the server is gone")
            grown = memory_of(pids) - before if not errors else 0
            last = json.loads(callers.finish())
            parts.append(settled(recognizer))
            lines = Path(output.name).read_text().splitlines()
    finally:
        for child in (attackers, callers, recognizer):
            if child is not None:
                child.stop()
    heard = sum(part["frames"] - part["doubled"] - part["again"] for part in parts)
    return Outcome(
        last["sent"] - heard - last["discarded"],
        sum(part["doubled"] for part in parts),
        percentile_ms(quiet["ages"], 99),
        percentile_ms(siege["ages"], 99),
        (cpu[1] - cpu[0]) / options.quiet_s,
        (cpu[2] - cpu[1]) / options.siege_s,
        grown,
        [line for line in lines if not line.startswith(TRANSCRIPT)],
        errors + last["errors"],
        attacks,
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="siege", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=200, help="live calls (default: 200)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quiet-s", type=float, default=10.0, help="how long the quiet time is (default: 10)")
    parser.add_argument("--siege-s", type=float, default=60.0, help="how long the siege is (default: 60)")
    parser.add_argument("--mbit", type=float, default=10.0, help="a stranger's megabits a second (default: 10)")
    parser.add_argument("--only", default="", metavar="NAME", help="only the attacks in whose names this is")
    parser.add_argument("--judge-ages", action="store_true", help="judge the age of the audio: for a quiet machine")
    parser.add_argument("--show-log", action="store_true", help="print the lines of the log that are no transcripts")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    outcome = besiege(options)
    if options.show_log:
        print("\n".join(outcome.lines))
    done: dict[str, Any] = dict(outcome.attacks)
    print("attacks    " + ", ".join(f"{count} {name}" for name, count in done.items()))
    print(f"strangers  {options.mbit:g} Mbit/s each, {len(done)} at once, lowest priority")
    print(f"audio      {outcome.lost} frames lost, {outcome.doubled} doubled, of {options.calls} calls")
    print(f"age p99    {outcome.quiet_p99_ms:.1f} ms quiet, {outcome.siege_p99_ms:.1f} ms in the siege")
    print(f"server     {outcome.quiet_cpu:.2f} cores quiet, {outcome.siege_cpu:.2f} in the siege")
    print(f"memory     {outcome.grown_bytes / 2**20:+.1f} MiB")
    print(f"log        {len(outcome.lines)} lines")
    wrong = list(outcome.wrong(judge_ages=options.judge_ages))
    print("\n".join(f"WRONG      {what}" for what in wrong) or "all of it holds")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
