"""Which Pythons `make test-pythons` takes."""

from __future__ import annotations

import importlib.util
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
    """A pyenv with interpreters that say a version of the test's; nothing else is on the PATH."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "")

    def add(folder: str, says: str) -> str:
        python = tmp_path / "versions" / folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho {says}\n" if says else "#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
        return str(python)

    return add


def test_each_minor_version_once_and_not_the_one_that_runs(pyenv, capsys, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    pyenv("3.10.1", "3 10")
    pyenv("3.11.9", "3 11")
    twelve = pyenv("3.12.1", "3 12")
    pyenv("3.13.0t", "3 13")
    pyenv("3.13.0", "")
    pythons.main()
    assert capsys.readouterr().out == f"{twelve}\n"


def test_one_that_does_not_start_gives_way_to_one_that_does(pyenv, capsys, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    pyenv("3.13.2", "")
    thirteen = pyenv("3.13.0", "3 13")
    pythons.main()
    assert capsys.readouterr().out == f"{thirteen}\n"
