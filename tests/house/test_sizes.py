"""Nothing grows past what one can read at a sitting."""

from __future__ import annotations

import ast

import pytest

from house import CORE, HEADERS, MODULES, ROOT, name_of, nodes_of

# A question at 400, an end at 600: a design that bends around a limit is worse than a long module.
MODULE_LINES = 600
FUNCTION_LINES = 50


def lines_of(path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_modules():
    lines = {name_of(path): lines_of(path) for path in MODULES + CORE + HEADERS}
    assert len(lines) > 150
    assert {name: count for name, count in lines.items() if count > MODULE_LINES} == {}, "what do they do twice?"


@pytest.mark.parametrize(("name", "limit"), [("setup.py", 50), ("Makefile", 120), ("CONTRIBUTING.md", 100)])
def test_files_of_the_workshop(name, limit):
    assert lines_of(ROOT / name) <= limit


def test_functions():
    lines = {
        (name_of(path), node.name, node.lineno): node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lines) > 1000
    assert {name: count for name, count in lines.items() if count > FUNCTION_LINES} == {}
