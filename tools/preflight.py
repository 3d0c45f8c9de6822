"""Reports in one sentence what is missing to build fastcall, instead of a page of pip's output.

Run by `make build` with the Python for the environment; standard library only. It uses old syntax, so that a
Python that is too old can still report that.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

INSTALL_HINT = "On Debian or Ubuntu: apt-get install %s. On Fedora: dnf install %s. On macOS: xcode-select --install."


def missing_python(version):
    if tuple(version[:2]) < (3, 11):
        return "Python 3.11 or newer is needed, and this is %d.%d; name another one: make PYTHON=python3.12 build" % (
            version[0],
            version[1],
        )
    return None


def missing_venv():
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            hint = "On Debian or Ubuntu: apt-get install python3-venv."
            return "This Python has no %s module, which makes environments. %s" % (module, hint)
    return None


def compiler_command(environ):
    """The C compiler that setuptools will use: CC, else the one that this Python was built with."""
    return shlex.split(environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def missing_compiler(environ):
    command = compiler_command(environ)
    if shutil.which(command[0], path=environ.get("PATH")):
        return None
    for other in ("cc", "gcc", "clang"):
        if shutil.which(other, path=environ.get("PATH")):
            return "The C compiler %s is not on the PATH, but %s is; use it: make CC=%s build" % (
                command[0],
                other,
                other,
            )
    return "No C compiler was found (looked for %s, cc, gcc, clang). " % command[0] + INSTALL_HINT % (
        "build-essential",
        "gcc",
    )


def missing_headers(include):
    if os.path.exists(os.path.join(include, "Python.h")):
        return None
    return "The C header Python.h of this Python is missing (no %s). " % os.path.join(
        include, "Python.h"
    ) + INSTALL_HINT % (
        "python3-dev",
        "python3-devel",
    )


def failing_compile(environ, include):
    """Compiles three lines, to detect a compiler without a C library or C11 atomics."""
    folder = tempfile.mkdtemp()
    try:
        source = os.path.join(folder, "trial.c")
        with open(source, "w") as trial:
            trial.write("#include <Python.h>\n#include <stdatomic.h>\nint trial(void) { return PY_MAJOR_VERSION; }\n")
        options = ["-std=c11", "-I" + include, "-c", source, "-o", source + ".o"]
        command = compiler_command(environ) + options
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return None
        reason = next((line for line in done.stderr.splitlines() if "error" in line), "no reason given")
        return "The C compiler %s cannot compile against Python.h: %s" % (command[0], reason.strip())
    finally:
        shutil.rmtree(folder)


def first_problem(version, environ, include):
    """The first thing that is missing, as one sentence; None if all is there."""
    return (
        missing_python(version)
        or missing_venv()
        or missing_compiler(environ)
        or missing_headers(include)
        or failing_compile(environ, include)
    )


if __name__ == "__main__":
    problem = missing_python(sys.version_info) or first_problem(
        sys.version_info, dict(os.environ), sysconfig.get_path("include")
    )
    if problem:
        sys.exit("fastcall cannot be built here: " + problem)
