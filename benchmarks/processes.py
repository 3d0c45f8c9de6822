"""A benchmark's child processes: start, wait, query, measure, stop. Measuring is for Linux only."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Child", "CoreTime", "process_cpu_s", "resident_bytes", "running"]

START_S = 120.0
END_S = 15.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Child:
    """A Python process that answers lines with lines."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise SystemExit(f"{self.process.args} ended with status {self.process.wait()}")
        return text.strip()

    def ask(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.line())
        return answer

    def finish(self) -> str:
        """End of its stdin; its last words."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        last = self.process.stdout.read()
        self.process.wait(60)
        return last.strip()

    def stop(self) -> None:
        end(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@contextlib.contextmanager
def running(
    arguments: Sequence[str], ready: str, output: Path, *, core: int | None = None
) -> Iterator[tuple[int, str]]:
    """Start a Python process and wait until it is ready; returns its process id and the pattern's match in its output.

    :param output: the file for all its output
    :param core: where it and its threads are to run; None: anywhere
    """
    # taskset, not setaffinity afterwards: every thread is to be born there.
    place = () if core is None else ("taskset", "-c", str(core))
    with output.open("w") as file:
        process = subprocess.Popen([*place, sys.executable, *arguments], stdout=file, stderr=file)
    try:
        until = time.monotonic() + START_S
        while (found := re.search(ready, output.read_text())) is None:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{' '.join(arguments)} does not start: {output.read_text()[-2000:]}")
            time.sleep(0.1)
        yield process.pid, found[1]
    finally:
        end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """By SIGTERM, or else by SIGKILL."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class CoreTime:
    """CPU time that was spent on a core since boot, in seconds."""

    busy_s: float
    interrupts_s: float

    @classmethod
    def of(cls, core: int) -> CoreTime:
        with open("/proc/stat") as file:
            values = next(line for line in file if line.startswith(f"cpu{core} ")).split()[1:9]
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(value) / TICKS_A_SECOND for value in values)
        return cls(user + nice + system + irq + softirq + steal, irq + softirq)

    def since(self, earlier: CoreTime) -> CoreTime:
        return CoreTime(self.busy_s - earlier.busy_s, self.interrupts_s - earlier.interrupts_s)


def process_cpu_s(pid: int) -> float:
    """CPU time of a process and all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
