"""What users import is public, and a type checker knows it from what they misspelt."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from house import ROOT, name_of

# Modules that users may import from; what they may import is in ``__all__`` (``fastcall.g711``: all that it has).
PUBLIC = {"fastcall", "fastcall.audioop", "fastcall.demo", "fastcall.g711"}

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def imports(source: str) -> Iterator[tuple[str, str]]:
    """(module, name) of each import from this package; the name is empty where a module is imported whole."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "fastcall":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "fastcall")


def programs(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [text] if path.suffix == ".py" else re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def internal(source: str) -> list[str]:
    """The imports that users should not need."""
    found = []
    for module, name in imports(source):
        if module == "fastcall" and f"fastcall.{name}" in PUBLIC:
            continue
        if module not in PUBLIC:
            found.append(module)
        elif name and name not in getattr(importlib.import_module(module), "__all__", (name,)):
            found.append(f"{module}.{name}")
    return found


@pytest.mark.parametrize("path", [*EXAMPLES, *DOCUMENTS], ids=name_of)
def test_users_are_shown_public_names_only(path: Path) -> None:
    assert [name for program in programs(path) for name in internal(program)] == []


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("from fastcall import Speech", []),
        ("from fastcall import g711", []),
        ("import fastcall.g711 as audioop", []),
        ("from fastcall import Speach", ["fastcall.Speach"]),
        ("from fastcall.agent.player import Speech", ["fastcall.agent.player"]),
    ],
)
def test_the_check(program: str, found: list[str]) -> None:
    assert internal(program) == found


def test_a_misspelt_name_does_not_pass_the_type_checker(tmp_path: Path) -> None:
    """A module's ``__getattr__`` that type checkers can see makes every name a name of type Any."""
    (tmp_path / "mistakes.py").write_text(
        "import fastcall\n"
        "from fastcall import ClosedError, RecognizerError, SessionFailed, Speech, StreamingSTTSesion\n"
        "\n"
        "fastcall.UterranceDispatcher()\n"
        "text: int = fastcall.UtteranceDispatcher().end().result(1.0)\n"
        "error: type[Exception] = ClosedError\n"
        "more: tuple[object, ...] = (RecognizerError, SessionFailed, Speech, StreamingSTTSesion)\n"
    )
    # With the settings of `make check`, so that either finds the other's cache of the package.
    mypy = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-pretty"]
    done = subprocess.run(
        [*mypy, str(tmp_path / "mistakes.py")],
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if "mistakes.py:" in line and " error: " in line]
    assert len(errors) == 3, done.stdout
    assert all(
        mistake in error
        for mistake, error in zip(("StreamingSTTSesion", "UterranceDispatcher", "assignment"), errors, strict=True)
    )
