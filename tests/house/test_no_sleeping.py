"""Tests wait for events, never for time to pass: a sleep is either too long or too short."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from house import TEST_FILES, TESTS, name_of, tree_of

# Here the sleep is not a wait but the very thing that is tested: a loop that stands still, a source that never ends.
SUBJECT = {
    ("tests/talkers.py", "talk_without_end"),
    ("tests/talkers.py", "keep_the_loop"),
    ("tests/talkers.py", "think"),
    ("tests/talkers.py", "reply"),
    ("tests/wire/test_simulator.py", "stall"),
}


def is_wait(call: ast.Call) -> bool:
    """``sleep(0)`` is one turn of the loop. A time computed from the clock is the pace of speech: until a moment."""
    argument = ast.unparse(call.args[0])
    return argument != "0" and not any(clock in argument for clock in (".time()", ".monotonic()"))


def name_called(call: ast.Call) -> str:
    function = call.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def sleeps(tree: ast.Module):
    """(function, line) of each call of something called sleep that waits."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and name_called(node) == "sleep" and is_wait(node):
                yield function.name, node.lineno


def waits_of(path: Path) -> list[tuple[str, int]]:
    """Those that are not allowed. What has no such word has no such call, and need not be parsed."""
    found = list(sleeps(tree_of(path))) if "sleep" in path.read_text(encoding="utf-8") else []
    allowed = {name for file, name in SUBJECT if file == name_of(path)}
    lines = {line for name, line in found if name in allowed}
    return [(name, line) for name, line in found if line not in lines]


def test_no_sleep():
    files = [path for path in TEST_FILES if TESTS in path.parents]
    assert len(files) > 100
    assert {name_of(path): waits for path in files if (waits := waits_of(path))} == {}


@pytest.mark.parametrize(
    ("statement", "waits"),
    [
        ("await asyncio.sleep(0.1)", True),
        ("time.sleep(PATIENCE_S)", True),
        ("await asyncio.sleep(0)", False),
        ("time.sleep(begins_at + 0.02 * number - time.monotonic())", False),
    ],
)
def test_the_check(statement, waits):
    assert bool(list(sleeps(ast.parse(f"async def f():\n    {statement}")))) is waits
