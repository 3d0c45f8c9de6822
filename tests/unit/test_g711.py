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
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcall import g711
from thoroughness import amount

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

NAMES = ["ulaw2lin", "lin2ulaw", "alaw2lin", "lin2alaw"]
WIDTHS = [1, 2, 3, 4]


def outcome(module, name, *arguments):
    """What a call gives: its bytes, or its error and that error's text."""
    try:
        return getattr(module, name)(*arguments)
    except Exception as error:
        # How many arguments there must be, each compiler says in its own words.
        says = None if len(arguments) != 2 else str(error)
        return "error" if isinstance(error, module.error) else type(error).__name__, says


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


class Index:
    """A number that is none of Python's own."""

    def __init__(self, number: object) -> None:
        self.number = number

    def __index__(self):
        if isinstance(self.number, Exception):
            raise self.number
        return self.number


FRAGMENTS = st.one_of(
    st.binary(max_size=24),
    st.binary(max_size=24).map(bytearray),
    st.builds(lambda data, step: memoryview(data)[::step], st.binary(max_size=24), st.sampled_from([1, 2, -1, -3])),
    st.builds(
        lambda shape, step: np.zeros(shape, np.int16)[::step], st.sampled_from([8, (3, 4)]), st.sampled_from([1, 2, -1])
    ),
    st.builds(lambda order: np.zeros((2, 4), np.int32, order=order), st.sampled_from("CF")),
    st.sampled_from(["abcd", None, 4, [1, 2], array.array("f", [1.0, 2.0]), memoryview(bytes(8)).cast("B", (2, 4))]),
)
WIDTH_OBJECTS = st.one_of(
    st.integers(0, 5),
    st.integers(),
    st.sampled_from([2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32 + 2, 2**63 - 1, 2**63, -(2**63) - 1, 2**80]),
    st.sampled_from(["2", b"2", 2.0, None, True, [], np.int64(2), np.int8(-1)]),
    st.one_of(st.integers(-1, 5), st.just(2**40), st.just(KeyError("no"))).map(Index),
)


@settings(max_examples=amount(100, thorough=400), deadline=None)
@pytest.mark.parametrize("name", NAMES)
@given(fragment=FRAGMENTS, width=WIDTH_OBJECTS)
def test_any_objects_get_what_audioop_gives(name, fragment, width):
    assert outcome(g711, name, fragment, width) == outcome(audioop, name, fragment, width)


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
