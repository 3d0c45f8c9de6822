"""Where things are, for the tests of the house rules."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SRC = ROOT / "src" / "fastcall"
TESTS = ROOT / "tests"

MODULES = sorted(SRC.rglob("*.py"))
CORE = sorted([*SRC.glob("_*.pyx"), *SRC.glob("_core/*.pxi")])
HEADERS = sorted(SRC.glob("_core/*.h"))
TEST_FILES = sorted([*TESTS.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All of a file's tree: several rules look at each node."""
    return tuple(ast.walk(tree_of(path)))
