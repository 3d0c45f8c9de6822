"""Builds the Cython modules of fastcall; everything else about the package is in pyproject.toml.

FASTCALL_BUILD chooses how: ``release`` (the default), ``debug`` (bounds checks, assertions), ``trace`` (counts which
lines of C ran, for tools/core_coverage.py) or ``sanitize`` (AddressSanitizer and UndefinedBehaviorSanitizer). Each
has a build directory of its own, and every module is compiled anew, so that none can meet another's objects.
"""

import os
from glob import glob
from pathlib import Path

from setuptools import Extension, setup

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
COMPILE = {
    "release": ["-O3", "-DNDEBUG", "-DFASTCALL_RELEASE"],
    "debug": ["-O0", "-g", "-UNDEBUG", "-Wextra", "-Wno-unused-parameter"],
    "trace": ["-O0", "--coverage"],
    "sanitize": ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", *SANITIZERS],
}
MODE = os.environ.get("FASTCALL_BUILD") or "release"
if MODE not in COMPILE:
    raise SystemExit(f"FASTCALL_BUILD={MODE!r} is not a build; choose one of {', '.join(COMPILE)}")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": MODE in ("debug", "sanitize"),
    "cdivision": True,
    **dict.fromkeys(("initializedcheck", "wraparound", "embedsignature", "autotestdict", "auto_pickle"), False),
    "binding": True,
}
LINK = {"trace": ["--coverage"], "sanitize": SANITIZERS}
MODULES = [
    Extension(
        f"fastcall.{Path(path).stem}",
        [path],
        include_dirs=["src/fastcall/_core"],
        depends=glob("src/fastcall/_core/*"),
        extra_compile_args=["-std=c11", "-Wall", f'-DFASTCALL_BUILD="{MODE}"', *COMPILE[MODE]],
        extra_link_args=LINK.get(MODE, []),
    )
    for path in sorted(glob("src/fastcall/_*.pyx"))
]
# Setuptools has Cython run where something is compiled: metadata and source distributions, which need no C, go without.
CYTHON = {"cython_directives": DIRECTIVES, "cython_c_in_temp": True}
setup(
    ext_modules=MODULES,
    options={"build": {"build_base": f"build/{MODE}"}, "build_ext": {"force": True, **CYTHON}},
)
