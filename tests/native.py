"""Programs in C that judge the core's headers without Python: built for this machine, or for a 64-bit Arm that is
emulated where Debian's gcc-aarch64-linux-gnu and qemu-user are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

__all__ = ["COMPILERS", "HEADERS", "build_and_run", "can_sanitize_threads", "has_compiler"]

ROOT = Path(__file__).parent.parent
HEADERS = ROOT / "src" / "fastcall"
ARM = ["aarch64-linux-gnu-gcc", "-static"]
OWN = (sysconfig.get_config_var("CC") or "cc").split()[:1]
COMPILERS = {"own": OWN if shutil.which(OWN[0]) else ["cc"], "clang": ["clang"], "arm": ARM}


# What is preloaded into a sanitized Python is for that Python only: these programs have sanitizers of their own.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def has_compiler(name: str) -> bool:
    """``own`` always: without it the core would not be here."""
    return name == "own" or bool(shutil.which(COMPILERS[name][0]) and (name != "arm" or shutil.which("qemu-aarch64")))


def build_and_run(
    place: Path, program: str, compiler: str, *options: str, headers: Path = HEADERS
) -> subprocess.CompletedProcess[str]:
    """Builds ``tests/c/<program>`` in ``place`` with every warning an error, and runs it."""
    binary = str(place / Path(program).stem)
    command = [*COMPILERS[compiler], "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-O2", *options]
    source = ["-I", str(headers), str(ROOT / "tests" / "c" / program), "-pthread", "-o", binary]
    built = subprocess.run([*command, *source], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert built.returncode == 0, built.stderr
    runner = ["qemu-aarch64"] if compiler == "arm" else []
    command = [*runner, binary]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=ENVIRONMENT)


def can_sanitize_threads(place: Path) -> bool:
    """Whether this machine's own compiler has a ThreadSanitizer whose programs run here."""
    source, binary = place / "empty.c", place / "empty"
    source.write_text("int main(void) { return 0; }\n")
    for command in ([*COMPILERS["own"], "-fsanitize=thread", str(source), "-o", str(binary)], [str(binary)]):
        if subprocess.run(command, capture_output=True, check=False, env=ENVIRONMENT).returncode != 0:
            return False
    return True
