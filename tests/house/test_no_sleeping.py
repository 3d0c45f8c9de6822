"""Tests wait for events, never for time to pass: a sleep is either too long or too short."""

from __future__ import annotations

import ast

import pytest

from house import TEST_FILES, name_of, tree_of

# Here the sleep is not a wait but the very thing that is tested: a loop that stands still, or the pace of a source.
SUBJECT = {
    ("tests/peers.py", "speak"),
    ("tests/talkers.py", "talk_without_end"),
    ("tests/wire/test_simulator.py", "stall"),
}


def sleeps(tree: ast.Module):
    """(function, line) of each call of something called sleep; ``asyncio.sleep(0)``, one turn of the loop, is none."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "sleep"):
                continue
            if [ast.unparse(argument) for argument in node.args] != ["0"]:
                yield function.name, node.lineno


@pytest.mark.parametrize("path", [path for path in TEST_FILES if "tests" in path.parts], ids=name_of)
def test_no_sleep(path):
    found = list(sleeps(tree_of(path)))
    allowed = {name for file, name in SUBJECT if file == name_of(path)}
    lines = {line for name, line in found if name in allowed}
    assert [(name, line) for name, line in found if line not in lines] == []


def test_the_check_can_fail():
    assert list(sleeps(ast.parse("async def f():\n    await asyncio.sleep(0.1)\n    await asyncio.sleep(0)")))
