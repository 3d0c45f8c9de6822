"""The stubs of the compiled modules say what the modules are; there is no list of exceptions."""

from __future__ import annotations

import subprocess
import sys

import pytest

from house import ROOT, SRC


@pytest.mark.parametrize("module", [f"fastcall.{path.stem}" for path in sorted(SRC.glob("_*.pyx"))])
def test_stub(module):
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", module], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_public_name_of_the_core_is_documented():
    from fastcall import _codec

    public = [getattr(_codec, name) for name in dir(_codec) if not name.startswith("_") and name != "BUILD"]
    public += [
        value
        for kind in (_codec.AudioRing, _codec.AudioTrack, _codec.Debouncer)
        for name, value in vars(kind).items()
        if name[0] != "_"
    ]
    missing = [item for item in public if not getattr(item, "__doc__", None)]
    # Members that Cython makes of `cdef readonly` have no docstring; the class's own says what they are.
    assert [item.__name__ for item in missing] == ["capacity_samples", "sample_bytes"]
