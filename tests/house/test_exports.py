"""What the package gives away, and what it loads for it."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fastcall
from house import MODULES, SRC, name_of, tree_of


@pytest.mark.parametrize("name", fastcall.__all__)
def test_every_export_is_there(name):
    assert getattr(fastcall, name) is not None
    assert name in dir(fastcall)


def test_the_old_names_stay():
    assert {"StreamingSTTSession", "UtteranceDispatcher", "mulaw_decode_fast"} <= set(fastcall.__all__)
    assert fastcall.mulaw_decode_fast is importlib.import_module("fastcall._codec").mulaw_decode


def test_type_checkers_see_the_same_exports():
    tree = tree_of(SRC / "__init__.py")
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname or alias.name for node in checked.body for alias in node.names}
    assert seen | {"__version__"} == set(fastcall.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fastcall' has no attribute 'nothing'"):
        _ = fastcall.nothing


def modules_loaded_by(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "homes"),
    [
        ("import fastcall", {"fastcall._version"}),
        ("import fastcall.g711", {"fastcall._version", "fastcall.g711", "fastcall._codec"}),
        ("from fastcall import AudioRing", {"fastcall._version", "fastcall._codec"}),
        ("from fastcall import mulaw_decode_fast", {"fastcall._version", "fastcall._codec"}),
    ],
)
def test_names_load_only_their_homes(statement, homes):
    loaded = modules_loaded_by(statement)
    assert {name for name in loaded if name.startswith("fastcall.")} == homes
    assert not {"asyncio", "numpy", "websockets", "grpc", "google.cloud", "uvloop"} & loaded


def test_the_command_line_loads_no_extra():
    loaded = modules_loaded_by("from fastcall.cli.main import build_parser\nbuild_parser().format_help()")
    assert not {"numpy", "websockets", "grpc", "google.cloud", "uvloop", "webrtcvad", "pocketsphinx", "yaml"} & loaded


def declared_by(path: Path) -> list[str] | None:
    """The value of a module's ``__all__``, if it has one."""
    declared = [
        ast.literal_eval(node.value)
        for node in tree_of(path).body
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets)
    ]
    return declared[0] if declared else None


def test_all_is_true():
    declared = {path: names for path in MODULES if (names := declared_by(path)) is not None}
    assert len(declared) > 50
    wrong = []
    for path, names in declared.items():
        dotted = ".".join(path.relative_to(SRC.parent).with_suffix("").parts)
        module = importlib.import_module(dotted.removesuffix(".__init__"))
        wrong += [(name_of(path), name) for name in names if names.count(name) > 1 or not hasattr(module, name)]
    assert wrong == []
