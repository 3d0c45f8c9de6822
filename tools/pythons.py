"""Prints the other Pythons of this machine that fastcall supports, one per line: `make test-pythons`.

Searches the PATH (``python3.11`` and so on) and pyenv's versions. Of each minor version, prints the first that starts,
if it is a release and has a GIL.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = 11, 14
# ensurepip: without it no environment can be made.
ASK = """
import ensurepip, sys, sysconfig
print(*sys.version_info[:2], sys.version_info.releaselevel, bool(sysconfig.get_config_var("Py_GIL_DISABLED")))
"""


def version_of(python: str) -> tuple[int, int] | None:
    """Its major and minor version; None if it is an alpha, a beta, a candidate or free-threaded, or if it does not
    start, as pyenv's shims of versions that are not chosen.
    """
    try:
        done = subprocess.run([python, "-c", ASK], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    major, minor, level, free_threaded = done.stdout.split()
    return (int(major), int(minor)) if (level, free_threaded) == ("final", "False") else None


def candidates(minor: int) -> list[str]:
    """Where a Python 3.``minor`` may be."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    on_path = shutil.which(f"python3.{minor}")
    installed = sorted(pyenv.glob(f"3.{minor}.*/bin/python"), reverse=True)
    return [*filter(None, [on_path]), *map(str, installed)]


def main() -> None:
    """Print them."""
    for minor in range(OLDEST, NEWEST + 1):
        if (3, minor) == sys.version_info[:2]:
            continue
        for python in candidates(minor):
            if version_of(python) == (3, minor):
                print(python)
                break


if __name__ == "__main__":
    main()
