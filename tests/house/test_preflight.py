"""What a machine without the tools to build is told: one sentence that says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from house import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import preflight

INCLUDE = sysconfig.get_path("include")


def run_preflight(**environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "preflight.py")]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A directory for PATH in which there is nothing yet."""
    return tmp_path


def put(path: Path, name: str, script: str = "exit 0") -> None:
    (path / name).write_text(f"#!/bin/sh\n{script}\n")
    (path / name).chmod(0o755)


def test_this_machine_is_ready():
    done = run_preflight()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("version", [(3, 10), (3, 6), (2, 7)])
def test_old_pythons(version):
    problem = preflight.first_problem(version, dict(os.environ), INCLUDE)
    assert problem.startswith(f"Python 3.11 or newer is needed, and this is {version[0]}.{version[1]};")


@pytest.mark.parametrize("version", [(3, 11), (3, 14), (4, 0)])
def test_new_pythons(version):
    assert preflight.missing_python(version) is None


def test_no_compiler_at_all(bare_path):
    done = run_preflight(PATH=str(bare_path), CC="gcc")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No C compiler was found (looked for gcc, cc, gcc, clang)." in done.stderr
    assert "apt-get install build-essential" in done.stderr


def test_another_compiler_than_the_one_that_will_be_called(bare_path):
    put(bare_path, "clang")
    done = run_preflight(PATH=str(bare_path), CC="gcc-99 -pthread")
    assert done.returncode == 1
    assert "The C compiler gcc-99 is not on the PATH, but clang is; use it: make CC=clang build" in done.stderr


def test_no_header(tmp_path):
    problem = preflight.first_problem((3, 12), dict(os.environ), str(tmp_path))
    assert f"Python.h of this Python is missing (no {tmp_path}/Python.h)." in problem
    assert "apt-get install python3-dev" in problem


def test_a_compiler_that_cannot_compile(bare_path):
    put(bare_path, "broken", 'echo "trial.c:1: fatal error: stdio.h: No such file" >&2; echo "more" >&2; exit 1')
    done = run_preflight(PATH=f"{bare_path}:/usr/bin:/bin", CC="broken")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "The C compiler broken cannot compile against Python.h: trial.c:1: fatal error: stdio.h" in done.stderr


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_no_module_for_environments(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    problem = preflight.missing_venv()
    assert problem.startswith(f"This Python has no {module} module")
    assert "apt-get install python3-venv" in problem


def test_make_says_so_when_there_is_no_such_python(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "setup.py").touch()
    done = subprocess.run(
        ["make", "PYTHON=python-that-is-not", "build"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "there is no python-that-is-not on the PATH; install Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_file_is_read_by_old_pythons():
    """What says that a Python is too old must itself be within that Python's syntax: no f-strings, no annotations."""
    text = (ROOT / "tools" / "preflight.py").read_text(encoding="utf-8")
    assert ' f"' not in text
    assert "->" not in text
    assert ":=" not in text
