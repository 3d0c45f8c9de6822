"""Nothing grows past what one can read at a sitting."""

from __future__ import annotations

import ast

import pytest

from house import CORE, HEADERS, MODULES, ROOT, name_of, tree_of

# A question at 400, an end at 600: a design that bends around a limit is worse than a long module.
MODULE_LINES = 600
FUNCTION_LINES = 50


def lines_of(path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", MODULES + CORE + HEADERS, ids=name_of)
def test_modules(path):
    assert lines_of(path) <= MODULE_LINES, "what does this module do twice?"


@pytest.mark.parametrize(("name", "limit"), [("setup.py", 50), ("Makefile", 120), ("CONTRIBUTING.md", 100)])
def test_files_of_the_workshop(name, limit):
    assert lines_of(ROOT / name) <= limit


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions(path):
    functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = {node.name: node.end_lineno - node.lineno + 1 for node in functions}
    assert {name: lines for name, lines in too_long.items() if lines > FUNCTION_LINES} == {}
