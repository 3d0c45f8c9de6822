"""Which Pythons `make test-pythons` takes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from house import ROOT

SPEC = importlib.util.spec_from_file_location("pythons", ROOT / "tools" / "pythons.py")
assert SPEC is not None
assert SPEC.loader is not None
pythons = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pythons)


@pytest.fixture
def pyenv(tmp_path, monkeypatch):
    """A pyenv with interpreters that say what the test has them say; nothing else is on the PATH."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "")

    def add(folder: str, version: str | None, kind: str = "final False") -> str:
        python = tmp_path / "versions" / folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho {version} {kind}\n" if version else "#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
        return str(python)

    return add


def test_each_minor_version_once_and_not_the_one_that_runs(pyenv, capsys, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    pyenv("3.10.1", "3 10")
    pyenv("3.11.9", "3 11")
    twelve = pyenv("3.12.1", "3 12")
    pyenv("3.13.0", None)
    pythons.main()
    assert capsys.readouterr().out == f"{twelve}\n"


def test_one_that_does_not_start_gives_way_to_one_that_does(pyenv, capsys, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    pyenv("3.13.2", None)
    thirteen = pyenv("3.13.0", "3 13")
    pythons.main()
    assert capsys.readouterr().out == f"{thirteen}\n"


def test_neither_free_threaded_builds_nor_what_is_not_released_yet(pyenv, capsys, monkeypatch, tmp_path):
    """Whatever its folder is called: a free-threaded one may stand on the PATH as python3.13."""
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    on_path = tmp_path / "versions" / "free" / "bin"
    pyenv("free", "3 13", "final True")
    (on_path / "python3.13").symlink_to(on_path / "python")
    monkeypatch.setenv("PATH", str(on_path))
    pyenv("3.13.1t", "3 13", "final True")
    pyenv("3.14.0a1", "3 14", "alpha False")
    pythons.main()
    assert capsys.readouterr().out == ""
    thirteen = pyenv("3.13.0", "3 13")
    pythons.main()
    assert capsys.readouterr().out == f"{thirteen}\n"


def test_what_this_python_is():
    """The question that the others are asked, put to a real one."""
    wanted = sys.version_info[:2] if sys.version_info.releaselevel == "final" and "t" not in sys.abiflags else None
    assert pythons.version_of(sys.executable) == wanted


def test_each_has_an_environment_of_its_own():
    """What would be run for this Python, named as one of the others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--dry-run", "test-pythons", f"PYTHONS={sys.executable}", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    folder = f".venv-{sys.version_info.major}.{sys.version_info.minor}"
    assert f"{folder}/bin/python -m pytest -q -n" in done.stdout
    assert ".venv/" not in done.stdout.replace(sys.executable, "")
