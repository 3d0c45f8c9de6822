"""A docstring describes the parameters that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from house import MODULES, name_of, nodes_of

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def parameters_of(node: Documented) -> set[str]:
    """Of a class those of its constructor, and its fields."""
    functions = [node] if not isinstance(node, ast.ClassDef) else [f for f in node.body if is_constructor(f)]
    names = {
        argument.arg
        for function in functions
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in ast.walk(function.args)
        if isinstance(argument, ast.arg)
    }
    fields = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
    return names | {target.id for target in fields if isinstance(target, ast.Name)}


def is_constructor(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name in ("__init__", "__new__")


def strangers(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """(class or function, parameter) of each that is described and is none."""
    for node in nodes:
        if isinstance(node, Documented):
            described = re.findall(r"^:param (\w+):", ast.get_docstring(node) or "", re.MULTILINE)
            known = parameters_of(node)
            if known or not isinstance(node, ast.ClassDef):  # a class that inherits its constructor says nothing here
                yield from ((node.name, name) for name in described if name not in known)


def test_described_parameters_exist():
    assert {name_of(path): found for path in MODULES if (found := list(strangers(nodes_of(path))))} == {}


def test_one_that_does_not_exist_is_found():
    tree = ast.parse('class A:\n    """A.\n\n    :param b: is none\n    """\n    def __init__(self, a): ...\n')
    assert list(strangers(ast.walk(tree))) == [("A", "b")]
