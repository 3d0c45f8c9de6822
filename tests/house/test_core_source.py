"""The text of the compiled core: import-linter does not see it, so its floor is checked here."""

from __future__ import annotations

import re

import pytest

from house import CORE, HEADERS, name_of

# What the core may cimport: C, its own headers and the C API of Python. It imports no Python module at all.
CIMPORT = re.compile(r"^(cimport cython|from (cpython|libc)[\w.]* cimport .*)$")
EXTERN = re.compile(r'^cdef extern from (\*|"<stdatomic\.h>"|"\w+\.h")( nogil)?:$')


# Headers know C only, so that they can be judged without Python, by any compiler and for any processor.
INCLUDE = re.compile(r'^#include (<(arm_neon|immintrin|stdatomic|stddef|stdint|stdlib|string|math)\.h>|"\w+\.h")$')


def code_lines(path):
    """Numbered lines without docstrings, verbatim C and comments."""
    text = re.sub(r'"""(?:.|\n)*?"""', lambda found: "\n" * found[0].count("\n"), path.read_text(encoding="utf-8"))
    return [(number, line.split("#")[0].rstrip()) for number, line in enumerate(text.split("\n"), 1)]


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_it_imports_nothing_but_c(path):
    imports = [line for _, line in code_lines(path) if re.search(r"(^|\s)c?import\s", line)]
    externs = [line for _, line in code_lines(path) if line.lstrip().startswith("cdef extern")]
    assert [line for line in imports if not CIMPORT.match(line)] == []
    assert [line for line in externs if not EXTERN.match(line)] == []


@pytest.mark.parametrize("path", HEADERS, ids=name_of)
def test_headers_include_nothing_but_c(path):
    includes = re.findall(r"^#\s*include .*$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert [line for line in includes if not INCLUDE.match(line)] == []


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_every_loop_is_in_a_nogil_function(path):
    signature, wrong = "", []
    lines = code_lines(path)
    for at, (number, line) in enumerate(lines):
        if re.match(r"\s*(cdef|cpdef|def)\s[^=]*\(", line):
            rest = (text for _, text in lines[at:])
            signature = line
            while not signature.endswith(":") and (more := next(rest, None)) is not None:
                signature += more
        if re.match(r"\s*(for|while)\s", line) and "noexcept nogil:" not in signature:
            wrong.append((number, line))
    assert wrong == []


def test_the_checks_can_fail(tmp_path):
    bad = tmp_path / "_bad.pyx"
    bad.write_text("import time\n\n\ndef f(x):\n    for i in range(x):\n        pass\n")
    for check in (test_it_imports_nothing_but_c, test_every_loop_is_in_a_nogil_function):
        with pytest.raises(AssertionError):
            check(bad)
