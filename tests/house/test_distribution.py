"""What leaves the house: a source distribution from which the wheel can be built, and a wheel with the core in it.

What archives of the same files held, by the same tools, is in build/distributions: to compile the core takes long.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from house import CORE, HEADERS, ROOT, SRC


def run(*command: str, cwd) -> None:
    """Compiled without optimisation: what is in the archives is judged, not the code's speed."""
    environment = {**os.environ, "FASTCALL_BUILD": "debug"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """(names in the source distribution, names in the wheel that was built from it)."""
    place = tmp_path_factory.mktemp("distribution")
    tree = place / "tree"
    unwanted = shutil.ignore_patterns("*.so", "*.c", "__pycache__", "*.egg-info")
    shutil.copytree(SRC, tree / "src" / "fastcall", ignore=unwanted)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    known = ROOT / "build" / "distributions" / f"{content_of(tree)}.json"
    known.parent.mkdir(parents=True, exist_ok=True)
    with known.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest's workers share the tests, and this
        if not known.exists():
            names = json.dumps(built(place, tree))
            known.write_text(names)
    in_source, in_wheel = json.loads(known.read_text())
    return set(in_source), set(in_wheel)


def content_of(tree: Path) -> str:
    """Of the files, and of what makes archives of them."""
    content = hashlib.sha256(repr([sys.version, *map(metadata.version, ("cython", "pip", "setuptools"))]).encode())
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        content.update(repr((path.relative_to(tree).as_posix(), path.read_bytes())).encode())
    return content.hexdigest()


def built(place: Path, tree: Path) -> tuple[list[str], list[str]]:
    """The names in the archives of ``tree``."""
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(place), cwd=tree)
    source = next(place.glob("*.tar.gz"))
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index"]
    run(*pip, "-w", str(place), str(source), cwd=place)
    wheel = next(place.glob("*.whl"))
    with tarfile.open(source) as archive:
        in_source = [name.partition("/")[2] for name in archive.getnames()]
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = archive.namelist()
    return in_source, in_wheel


def test_the_source_distribution_holds_the_core(distributions):
    in_source, _ = distributions
    wanted = {path.relative_to(ROOT).as_posix() for path in CORE + HEADERS} | {"setup.py", "pyproject.toml", "LICENSE"}
    assert wanted <= in_source


def test_the_wheel_holds_the_compiled_core_and_not_its_sources(distributions):
    _, in_wheel = distributions
    for path in SRC.glob("_*.pyx"):
        assert [name for name in in_wheel if name.startswith(f"fastcall/{path.stem}.") and name.endswith(".so")]
    assert {name for name in in_wheel if name.endswith((".pyx", ".pxi", ".c", ".h"))} == set()


def test_the_wheel_holds_all_modules_stubs_and_data(distributions):
    _, in_wheel = distributions
    wanted = [
        *SRC.rglob("*.py"),
        *SRC.rglob("*.pyi"),
        *(path for path in (SRC / "data").rglob("*") if path.is_file()),
        SRC / "py.typed",
    ]
    names = {path.relative_to(SRC.parent).as_posix() for path in wanted}
    assert names - in_wheel == set()
