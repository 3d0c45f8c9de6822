"""Tests know of the product what its users know: what it does, its public names, and what they hand it.

A private attribute that a test reads or replaces is a promise that nobody made, and each change of the inside breaks
it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from house import TEST_FILES, TESTS, name_of, tree_of

Nodes = Sequence[ast.AST]

OURS = {"fastcall", *(path.stem for path in TESTS.iterdir())}
SETTERS = {"setattr", "delattr", "getattr", "object"}
"""``object``: of ``unittest.mock.patch``."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def root_of(node: ast.expr) -> str:
    """The name at the beginning of a chain of attributes and calls."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def own_names(nodes: Nodes) -> set[str]:
    """Private names that the file itself gives: functions, classes, fields, and what its objects set on themselves."""
    names = {"super"}
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and root_of(node) in ("self", "cls"):
            names.add(node.attr)
    return names


def others(nodes: Nodes) -> set[str]:
    """What is imported from neither the product nor the tests."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found = [(each.name, each.asname or each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [(node.module or "", each.asname or each.name) for each in node.names]
        else:
            continue
        names |= {name.split(".")[0] for module, name in found if module.split(".")[0] not in OURS}
    return names


def replaced(call: ast.Call) -> tuple[str, str]:
    """The root and the name of what a call of ``setattr`` and its kind is about."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else root_of(function)
    texts = [each.value if isinstance(each, ast.Constant) else None for each in call.args[:2]]
    if name not in SETTERS or not texts:
        return "", ""
    if isinstance(texts[0], str):
        return texts[0].split(".")[0], texts[0].rpartition(".")[2]
    return root_of(call.args[0]), texts[-1] if isinstance(texts[-1], str) else ""


def pokes(nodes: Nodes) -> Iterator[tuple[int, str]]:
    """The line and the name of each private attribute of somebody else's."""
    own, outside = own_names(nodes), others(nodes) | {"self", "cls", "super"}
    for node in nodes:
        root, name = "", ""
        if isinstance(node, ast.Attribute):
            # Of what a chain leads to, only its beginning is known: `self.x._y` is not self's.
            is_own = isinstance(node.value, ast.Name) or root_of(node.value) not in ("self", "cls")
            root, name = root_of(node.value) if is_own else "", node.attr
        elif isinstance(node, ast.Call):
            root, name = replaced(node)
        if is_private(name) and name not in own and root not in outside:
            yield node.lineno, name


def may_poke(path: Path) -> bool:
    """Whether a name begins with an underscore after a dot or at the beginning of a text."""
    return re.search(r"""[.'"]\s*_""", path.read_text(encoding="utf-8")) is not None


def test_no_private_attribute_of_the_product_is_touched():
    files = [path for path in TEST_FILES if TESTS in path.parents]
    assert len(files) > 100
    found = {name_of(path): list(pokes(tuple(ast.walk(tree_of(path))))) for path in files if may_poke(path)}
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("server._x", True),
        ("server\n    ._x", True),
        ("setattr(server, '_x', 1)", True),
        ('patch("fastcall.server._x")', True),
        ("import __future__\n_x = a.b", False),
    ],
)
def test_which_files_are_read(tmp_path, text, may):
    (tmp_path / "some.py").write_text(text)
    assert may_poke(tmp_path / "some.py") is may


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("server._calls.count()", ["_calls"]),
        ("self.server._calls", ["_calls"]),
        ("made()._x = 1", ["_x"]),
        ("server._calls[0]._timer", ["_calls", "_timer"]),
        ("monkeypatch.setattr(server, '_calls', 1)", ["_calls"]),
        ("monkeypatch.setattr('fastcall.server.app._set_aside', 1)", ["_set_aside"]),
        ("with patch.object(server, '_calls'): pass", ["_calls"]),
        ("from fastcall import threaded\nthreaded._make()", ["_make"]),
        ("class Stub:\n    def __init__(self): self._x = 1\n\nStub()._x", []),
        ("self._x", []),
        ("super()._x()", []),
        ("import os\nos._exit(1)", []),
        ("server.__dict__", []),
        ("from fastcall import _codec\n_codec.Ring()", []),
    ],
)
def test_the_check(statement, names):
    assert sorted(name for _, name in pokes(list(ast.walk(ast.parse(statement))))) == names
