"""Line coverage of the compiled core, nogil code and C headers too: what `make coverage` prints after the tests.

    .venv/bin/python tools/core_coverage.py --floor 97

Reads the counts of a trace build of the core (gcov). They are of lines of C; Cython writes the source line before each
statement, so a line of the sources was executed if any of its C was. Fails if the total is below the floor, in percent.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path

BUILD = Path("build/trace")
ORIGIN = re.compile(r'^\s*/\* "(?:src/)?(fastcall/[\w.]+)":(\d+)$')
Counts = dict[tuple[str, int], int]


def gcov_command() -> list[str]:
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    return ["llvm-cov", "gcov"] if "clang" in version else ["gcov"]


def counted_lines() -> list[tuple[str, int, int]]:
    """(file, line, count) of everything that was compiled."""
    counters = [str(path) for path in BUILD.rglob("*.gcda")]
    if not counters:
        raise SystemExit(f"nothing was counted in {BUILD}: run `make coverage`, which builds and runs the tests")
    command = [*gcov_command(), "--json-format", "--stdout", *counters]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [
        (file["file"], line["line_number"], line["count"])
        for report in map(json.loads, output.splitlines())
        for file in report["files"]
        for line in file["lines"]
    ]


@functools.cache
def origins(generated: Path) -> dict[int, tuple[str, int]]:
    """Of each line of generated C the source line that it was made of; not of Cython's own functions."""
    found: dict[int, tuple[str, int]] = {}
    here = None
    for number, line in enumerate(generated.read_text(encoding="utf-8").split("\n"), 1):
        mark = ORIGIN.match(line)
        if mark:
            here = mark[1], int(mark[2])
        elif line.startswith("}"):
            here = None
        elif here is not None:
            found[number] = here
    return found


def coverage_of_sources() -> Counts:
    """How often each line of the core's sources and headers ran."""
    counts: Counts = defaultdict(int)
    for file, line, count in counted_lines():
        name = Path(file).name
        if name.endswith(".c") and file.startswith(str(BUILD)):
            origin = origins(Path(file)).get(line)
        else:
            origin = (f"fastcall/{name}", line) if Path("src/fastcall", name).suffix == ".h" else None
        if origin is not None and Path("src", origin[0]).exists():
            counts[origin] = max(counts[origin], count)
    return counts


def spans(numbers: list[int]) -> str:
    """``3-5, 9``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--floor", type=float, default=0.0, help="percent of all lines that must have run")
    floor = parser.parse_args().floor
    counts = coverage_of_sources()
    print(f"{'source':<32}{'lines':>6}{'ran':>6}{'%':>8}   not run")
    for file in sorted({file for file, _ in counts}):
        lines = {line: count for (name, line), count in counts.items() if name == file}
        missed = sorted(line for line, count in lines.items() if not count)
        share = 100 * (1 - len(missed) / len(lines))
        print(f"{file:<32}{len(lines):>6}{len(lines) - len(missed):>6}{share:>8.1f}   {spans(missed)}")
    ran = sum(count > 0 for count in counts.values())
    share = 100 * ran / len(counts)
    print(f"{'all':<32}{len(counts):>6}{ran:>6}{share:>8.1f}   floor {floor:g}")
    return int(share < floor)


if __name__ == "__main__":
    sys.exit(main())
