"""fastcall.g711 against audioop: the same bytes and the same errors."""

from __future__ import annotations

import array
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall import g711

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

NAMES = ["ulaw2lin", "lin2ulaw", "alaw2lin", "lin2alaw"]
WIDTHS = [1, 2, 3, 4]


def outcome(module, name, *arguments):
    """What a call gives: its bytes, or the name and the text of its error."""
    try:
        return getattr(module, name)(*arguments)
    except Exception as error:
        text = str(error)
        return type(error).__name__, text if type(error) is module.error else None


@pytest.mark.parametrize("name", ["ulaw2lin", "alaw2lin"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_code(name, width):
    codes = bytes(range(256))
    assert getattr(g711, name)(codes, width) == getattr(audioop, name)(codes, width)


@pytest.mark.parametrize("name", ["lin2ulaw", "lin2alaw"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_16_bit_sample_at_every_width(name, width):
    pcm = audioop.lin2lin(np.arange(-32768, 32768, dtype=np.int16).tobytes(), 2, width)
    assert getattr(g711, name)(pcm, width) == getattr(audioop, name)(pcm, width)


@pytest.mark.parametrize("name", NAMES)
@given(fragment=st.binary(max_size=60), width=st.integers(-1, 6))
def test_any_fragment_and_width(name, fragment, width):
    assert outcome(g711, name, fragment, width) == outcome(audioop, name, fragment, width)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "arguments",
    [
        (b"abcd", 0),
        (b"abcd", 5),
        (b"abcd", 2**80),
        (b"abcd", "2"),
        (b"abcd", 2.0),
        (b"abcd", None),
        (b"abcd", True),
        (b"abcd",),
        (b"abcd", 2, 3),
        ("abcd", 2),
        ("abcd", 9),
        (None, 2),
        (memoryview(b"abcd")[::2], 2),
        (array.array("f", [1.0, 2.0]), 2),
        (array.array("i", [1, -2, 3]), 4),
        (np.arange(12, dtype=np.int16).reshape(3, 4), 2),
        (bytearray(b"abcd"), 2),
        (memoryview(b"xabcd")[1:], 4),
    ],
)
def test_arguments(name, arguments):
    assert outcome(g711, name, *arguments) == outcome(audioop, name, *arguments)


def test_numpy_arrays_with_gaps():
    with pytest.raises(BufferError, match="contiguous"):
        g711.lin2ulaw(np.zeros(8, np.int16)[::2], 2)


def test_no_keywords_as_in_audioop():
    with pytest.raises(TypeError):
        g711.ulaw2lin(fragment=b"a", width=2)


def test_the_error_names_its_public_home():
    assert (g711.error.__module__, g711.error.__qualname__) == ("fastcall.g711", "error")


def test_import_loads_the_codec_and_nothing_else():
    """Without site-packages (-S), only the standard library and this package can be found at all."""
    program = (
        "import sys; before = set(sys.modules); import fastcall.g711; "
        "print(*sorted(name for name in set(sys.modules) - before))"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(g711.__file__).parent.parent)}
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=True)
    loaded = set(done.stdout.split())
    foreign = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith(("_cython_", "cython_"))} == {
        "fastcall",
        "fastcall._codec",
        "fastcall._version",
        "fastcall.g711",
    }
    assert not {"asyncio", "socket", "ssl", "threading", "logging"} & loaded
