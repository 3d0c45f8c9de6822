"""The core does not say that it can do without the GIL: a free-threaded Python turns it on when it loads it.

The GIL is what guards the core's objects, except where a docstring says otherwise. A module says that it needs none
by a directive of Cython: in its own head, or in setup.py for all of them.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from house import CORE, HEADERS, ROOT, name_of

DECLARES = re.compile(r"freethreading_compatible|Py_MOD_GIL_NOT_USED|Py_mod_gil|SetGIL")


@pytest.mark.parametrize("path", [*CORE, *HEADERS, ROOT / "setup.py"], ids=name_of)
def test_nothing_declares_that_it_needs_no_gil(path):
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if DECLARES.search(line)] == []


@pytest.mark.parametrize("module", [path.stem for path in CORE if path.suffix == ".pyx"])
def test_with_the_core_loaded_the_gil_is_on(module):
    """Says something on a free-threaded Python only; on others it shows that each module loads by itself."""
    program = f"import sys, fastcall.{module}\nprint(getattr(sys, '_is_gil_enabled', lambda: True)())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    "text",
    ["# cython: freethreading_compatible=True\n", 'DIRECTIVES = {"freethreading_compatible": True}\n'],
    ids=["head", "directives"],
)
def test_the_check_can_fail(tmp_path, text):
    bad = tmp_path / "_bad.pyx"
    bad.write_text(text)
    with pytest.raises(AssertionError):
        test_nothing_declares_that_it_needs_no_gil(bad)
