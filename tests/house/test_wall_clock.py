"""Durations are of the monotonic clock: an administrator or NTP may set the other one back by an hour.

What is named here stamps records with the time of day, or judges tokens and credentials, whose ends are times of day.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from house import CORE, HEADERS, MODULES, SRC, name_of, tree_of

STAMPS = {
    "demo/run.py": {"run_demo"},
    "emulator/server.py": {"__init__"},
    "google/access_tokens.py": {"__init__"},
    "server/authorizer.py": {"may_open_stream"},
    "server/call_manager.py": {"_report_batch", "_sink"},
    "server/console.py": {"_calls"},
    "server/http_frontend.py": {"enter"},
    "server/routes.py": {"_twiml"},
    "server/workers/handle.py": {"_on_exit"},
    "server/workers/worker.py": {"enter"},
    "simulator/check.py": {"_facts"},
    "tokens.py": {"make_stream_token"},
}

WALL = {"time", "time_ns", "localtime", "gmtime", "ctime", "now", "utcnow", "today"}
MODULE_NAMES = {"time", "datetime", "date"}


def is_wall(node: ast.AST) -> bool:
    """``time.time``, called or handed on, and its kind; ``loop.time`` is monotonic."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "time" and bool(WALL & {each.name for each in node.names})
    if not isinstance(node, ast.Attribute) or node.attr not in WALL:
        return False
    owner = node.value
    name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
    return name in MODULE_NAMES


def readers(node: ast.AST, function: str = "the module") -> Iterator[str]:
    """The name of the function around each look at the wall clock."""
    for child in ast.iter_child_nodes(node):
        if is_wall(child):
            yield function
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from readers(child, child.name if is_function else function)


def test_the_time_of_day_is_for_stamps_only():
    found = {path.relative_to(SRC).as_posix(): set(readers(tree_of(path))) for path in MODULES}
    assert {name: functions for name, functions in found.items() if functions} == STAMPS


def test_the_core_does_not_know_it():
    names = ("gettimeofday", "CLOCK_REALTIME", "time(NULL)", "time.time")
    texts = {name_of(path): path.read_text(encoding="utf-8") for path in CORE + HEADERS}
    assert len(texts) > 10
    assert [(path, name) for path, text in texts.items() for name in names if name in text] == []


def test_what_is_named_here_is_there():
    assert [name for name in STAMPS if not (SRC / name).exists()] == []


@pytest.mark.parametrize(
    ("statement", "is_found"),
    [
        ("began_at = time.time()", True),
        ("self._now = now or time.time", True),
        ("datetime.datetime.now(datetime.UTC)", True),
        ("from time import monotonic, time", True),
        ("began_at = time.monotonic()", False),
        ("began_at = asyncio.get_running_loop().time()", False),
        ("began_at = self._loop.time()", False),
    ],
)
def test_the_check(statement, is_found):
    assert list(readers(ast.parse(f"def f():\n    {statement}"))) == (["f"] if is_found else [])
