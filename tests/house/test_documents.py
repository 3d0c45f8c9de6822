"""The documents' commands are understood and their programs are Python; every page is in the site."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from fastcall.cli.main import build_parser
from fastcall.metrics import METRICS
from house import ROOT, name_of

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *PAGES]
# What stands before a command in a line.
BEFORE = r"^(?:\$ |[A-Z_]+=\S+ |sudo |exec )*(?:\S*/)?fastcall "
VERBS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def blocks(path: Path, *kinds: str) -> list[str]:
    found = re.findall(r"^```(\w+)[^\n]*\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for kind, text in found if kind in kinds]


def shell_lines(path: Path) -> list[str]:
    return [line for block in blocks(path, "sh") for line in block.replace("\\\n", " ").splitlines()]


def commands(path: Path) -> list[list[str]]:
    """The arguments of each `fastcall` that a shell line runs."""
    lines = [line for line in shell_lines(path) if re.match(BEFORE, line)]
    return [shlex.split(re.sub(BEFORE, "", line).rstrip("& "), comments=True) for line in lines]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_are_understood(path: Path) -> None:
    for command in commands(path):
        build_parser().parse_args(command)
    for verb in (word for line in shell_lines(path) for word in re.findall(r"^make ([a-z-]+)", line)):
        assert verb in VERBS


def test_the_commands_are_found() -> None:
    assert len([command for path in DOCUMENTS for command in commands(path)]) >= 25
    assert ["serve", "--handler", "my_agent:agent"] in commands(DOCS / "tutorial.md")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_programs_are_python(path: Path) -> None:
    for program in blocks(path, "python"):
        compile(program, str(path), "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def test_every_metric_has_its_row() -> None:
    rows = []
    for name, metric in METRICS.items():
        is_counter = metric.kind in ("counter", "labelled")
        full_name = f"fastcall_{name}" + "_total" * is_counter + f"{{{metric.label}}}" * bool(metric.label)
        rows.append(f"| `{full_name}` | {'counter' if is_counter else metric.kind} | {metric.help} |")
    page = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert rows == [line for line in page.splitlines() if line.startswith("| `")]


def test_every_page_is_in_the_site() -> None:
    """A page that no list of contents names cannot be found by reading."""
    listed = re.findall(r"^([a-z0-9/-]+)$", "".join(blocks_of_contents()), re.MULTILINE)
    assert sorted(listed) == sorted(
        path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES if path.name != "index.md"
    )


def blocks_of_contents() -> list[str]:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    return re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
