"""Programs in C that judge the core's headers without Python: built for this machine, or for a 64-bit Arm that is
emulated where Debian's gcc-aarch64-linux-gnu and qemu-user are installed. One that the same compiler made of the same
text before is in build/judges."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

__all__ = ["COMPILERS", "HEADERS", "build_and_run", "can_sanitize_threads", "has_compiler"]

ROOT = Path(__file__).parent.parent
HEADERS = ROOT / "src" / "fastcall" / "_core"
BUILT = ROOT / "build" / "judges"
ARM = ["aarch64-linux-gnu-gcc", "-static"]
OWN = (sysconfig.get_config_var("CC") or "cc").split()[:1]
COMPILERS = {"own": OWN if shutil.which(OWN[0]) else ["cc"], "clang": ["clang"], "arm": ARM}


# What is preloaded into a sanitized Python is for that Python only: these programs have sanitizers of their own.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def has_compiler(name: str) -> bool:
    """``own`` always: without it the core would not be here."""
    return name == "own" or bool(shutil.which(COMPILERS[name][0]) and (name != "arm" or shutil.which("qemu-aarch64")))


def build_and_run(
    program: str, compiler: str, *options: str, headers: Path = HEADERS
) -> subprocess.CompletedProcess[str]:
    """Builds ``tests/c/<program>`` with every warning an error, and runs it."""
    source = ROOT / "tests" / "c" / program
    command = [*COMPILERS[compiler], "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-O2", *options]
    text = b"".join(path.read_bytes() for path in (source, *sorted(headers.glob("*.h"))))
    made_of = repr((command, _version(COMPILERS[compiler][0]))).encode() + text
    binary = BUILT / f"{source.stem}-{hashlib.sha256(made_of).hexdigest()[:32]}"
    if not binary.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        own = binary.with_suffix(f".{os.getpid()}")  # another process may build the same
        command += ["-I", str(headers), str(source), "-pthread", "-o", str(own)]
        built = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
        assert built.returncode == 0, built.stderr
        own.replace(binary)
    runner = ["qemu-aarch64"] if compiler == "arm" else []
    command = [*runner, str(binary)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=ENVIRONMENT)


@functools.cache
def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout


def can_sanitize_threads(place: Path) -> bool:
    """Whether this machine's own compiler has a ThreadSanitizer whose programs run here."""
    source, binary = place / "empty.c", place / "empty"
    source.write_text("int main(void) { return 0; }\n")
    for command in ([*COMPILERS["own"], "-fsanitize=thread", str(source), "-o", str(binary)], [str(binary)]):
        if subprocess.run(command, capture_output=True, check=False, env=ENVIRONMENT).returncode != 0:
            return False
    return True
