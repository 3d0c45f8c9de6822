"""Updates the figures of benchmarks/README.md, and its plots: what `make bench-table` runs.

The gates are measured once more, and the cost of the loops by size. The table goes between the markers in README.md
with the machine and the date, the plots to benchmarks/plots. About two minutes; on an otherwise idle machine.
"""

from __future__ import annotations

import datetime
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from plots import draw
from sizes import COSTS, costs_by_size

HERE = Path(__file__).parent
README = HERE / "README.md"
BEGIN, END = "<!-- figures: make bench-table -->", "<!-- end of figures -->"


def processor() -> str:
    """As the system names it, with the instruction sets that the core uses."""
    from fastcall import _codec

    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return f"{named[1] if named else platform.machine()}, {_codec.instruction_sets()[-1]}"


def time_text(seconds: float) -> str:
    if seconds < 1e-6:
        return f"{seconds * 1e9:.0f} ns"
    return f"{seconds * 1e6:,.1f} us" if seconds < 1e-4 else f"{seconds * 1e6:,.0f} us"


def measured_gates() -> list[dict[str, Any]]:
    """What ``ratio.compare`` noted of each gate. Ends the program if one does not hold."""
    report = HERE.parent / "build" / "table.json"
    report.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", str(HERE), "-q", "-m", "gate", f"--benchmark-json={report}"]
    if subprocess.run(command, cwd=HERE.parent, check=False).returncode != 0:
        raise SystemExit("a gate does not hold (or did not run): no table is made of that")
    found = [entry["extra_info"] for entry in json.loads(report.read_text())["benchmarks"]]
    return [info for info in found if "ratio" in info]


def table(gates: list[dict[str, Any]]) -> str:
    """The rows, under the machine and the date."""
    python = platform.python_version()
    compiler = platform.python_compiler()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        f"{processor()}; Python {python} ({compiler}); {platform.system()} {platform.machine()}; {today}.",
        "",
        "| | ours | theirs | ratio | floor |",
        "|---|---|---|---|---|",
    ]
    for info in gates:
        ours, theirs = (time_text(info[side] / info["units"]) for side in ("ours_s", "theirs_s"))
        lines.append(f"| {info['name']} | {ours} | {theirs} | {info['ratio']:.1f} | {info['floor']:g} |")
    return "\n".join(lines)


def main() -> None:
    text = README.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{README} must have {BEGIN} and {END} once each")
    rows = table(measured_gates())
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n\n{rows}\n\n{END}{after}", encoding="utf-8")
    for name, title in COSTS.items():
        print(f"measuring: {title}", flush=True)
        draw(HERE / "plots" / f"{name}.svg", title, costs_by_size(name))
    print(f"written: {README} and {HERE / 'plots'}")


if __name__ == "__main__":
    main()
