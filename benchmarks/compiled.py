"""Compiles the benchmarks' extension if its source is newer."""

from __future__ import annotations

import fcntl
import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

__all__ = ["load_cheap_recognizer"]

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "benchmarks"


def load_cheap_recognizer() -> ModuleType:
    """The module ``_cheap_recognizer``. Linux only (epoll)."""
    source = HERE / "_cheap_recognizer.pyx"
    target = BUILD / f"_cheap_recognizer{sysconfig.get_config_var('EXT_SUFFIX')}"
    BUILD.mkdir(parents=True, exist_ok=True)
    # Tests that run beside each other must not write the same files, nor load what is half written.
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            copy = BUILD / source.name
            copy.write_bytes(source.read_bytes())
            subprocess.run([sys.executable, "-m", "Cython.Build.Cythonize", "-q", "-i", str(copy)], check=True)
            target.touch()
    spec = importlib.util.spec_from_file_location("_cheap_recognizer", target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
