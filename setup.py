"""Builds the Cython modules of fastcall; everything else about the package is in pyproject.toml.

FASTCALL_BUILD chooses how: ``release`` (the default), ``debug`` (bounds checks, assertions), ``trace`` (line
coverage inside nogil functions) or ``sanitize`` (AddressSanitizer and UndefinedBehaviorSanitizer). Each mode has a
build directory of its own, and every module is always compiled anew, so that no mode can meet another's objects.
"""

import os
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

COMPILE = {
    "release": ["-O3", "-DNDEBUG", "-DFASTCALL_RELEASE"],
    "debug": ["-O0", "-g", "-UNDEBUG", "-Wextra", "-Wno-unused-parameter"],
    "trace": ["-O1", "-DCYTHON_TRACE_NOGIL=1", "-DCYTHON_USE_SYS_MONITORING=0"],
    "sanitize": ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"],
}
MODE = os.environ.get("FASTCALL_BUILD") or "release"
if MODE not in COMPILE:
    raise SystemExit(f"FASTCALL_BUILD={MODE!r} is not a build; choose one of {', '.join(COMPILE)}")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": MODE in ("debug", "sanitize"),
    "wraparound": False,
    "cdivision": MODE not in ("debug", "sanitize"),
    "initializedcheck": False,
    "binding": True,
    "embedsignature": False,
    "autotestdict": False,
    "auto_pickle": False,
    "linetrace": MODE == "trace",
}
MODULES = [
    Extension(
        f"fastcall.{Path(path).stem}",
        [path],
        depends=glob("src/fastcall/_*.pxi"),
        extra_compile_args=["-std=c11", "-Wall", f'-DFASTCALL_BUILD="{MODE}"', *COMPILE[MODE]],
        extra_link_args=COMPILE["sanitize"][-1:] if MODE == "sanitize" else [],
    )
    for path in sorted(glob("src/fastcall/_*.pyx"))
]
setup(
    ext_modules=cythonize(MODULES, build_dir=f"build/{MODE}", compiler_directives=DIRECTIVES, force=True),
    options={"build": {"build_base": f"build/{MODE}"}, "build_ext": {"force": True}},
)
