"""fastcall.audioop: every name of audioop, Python's own tests of it, and what is said where it is missing."""

from __future__ import annotations

import subprocess
import sys
import unittest

import pytest

import fastcall.audioop
from fastcall import g711

audioop = pytest.importorskip("audioop")
OURS = ["alaw2lin", "lin2alaw", "lin2ulaw", "ulaw2lin"]


def test_every_name_is_there_and_ours_are_the_fast_ones() -> None:
    public = {name for name in dir(audioop) if not name.startswith("_")}
    assert public == set(fastcall.audioop.__all__) == set(dir(fastcall.audioop))
    for name in public:
        ours = getattr(fastcall.audioop, name)
        assert ours is getattr(g711 if name in OURS else audioop, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fastcall.audioop.nothing


@pytest.mark.parametrize("name", OURS)
def test_one_except_catches_the_errors_of_both(name: str) -> None:
    for call in (lambda: getattr(fastcall.audioop, name)(b"abc", 9), lambda: fastcall.audioop.rms(b"abc", 2)):
        with pytest.raises(fastcall.audioop.error):
            call()
    with pytest.raises(g711.error):
        getattr(g711, name)(b"abc", 9)


def test_what_telephone_programs_do_gives_what_audioop_gives() -> None:
    """One way through: to linear, up to 16 kHz, louder, to stereo and back, measured, and to mu-law again."""
    results = []
    for module in (fastcall.audioop, audioop):
        pcm = module.ulaw2lin(bytes(range(256)) * 4, 2)
        wide, state = module.ratecv(pcm, 2, 1, 8000, 16_000, None)
        loud = module.mul(module.bias(wide, 2, 3), 2, 1.5)
        mono = module.tomono(module.tostereo(loud, 2, 0.5, 0.5), 2, 0.5, 0.5)
        results.append((wide, state, module.rms(mono, 2), module.max(mono, 2), module.lin2ulaw(mono, 2)))
    assert results[0] == results[1]


def test_pythons_own_tests_of_audioop_pass() -> None:
    """Where this Python still has them: Lib/test/test_audioop.py, with this module in the place of audioop."""
    try:
        from test import test_audioop as theirs
    except ImportError:
        assert sys.version_info >= (3, 13) or not _has_tests(), "this Python has a test suite without test_audioop"
        return
    theirs.audioop = fastcall.audioop
    try:
        suite = unittest.defaultTestLoader.loadTestsFromModule(theirs)
        result = unittest.TestResult()
        suite.run(result)
    finally:
        theirs.audioop = audioop
    assert [text for _, text in [*result.failures, *result.errors]] == []
    assert result.testsRun >= 25


def _has_tests() -> bool:
    try:
        import test.support
    except ImportError:
        return False
    return bool(test.support)


WITHOUT = """
import sys
sys.modules["audioop"] = None
import fastcall.audioop as audioop
assert audioop.ulaw2lin(b"\\xff", 2) == b"\\0\\0"
try:
    audioop.lin2ulaw(b"abc", 2)
except audioop.error as error:
    print(error)
for statement in ("audioop.ratecv", "from fastcall.audioop import rms"):
    try:
        exec(statement)
    except ImportError as error:
        print(error)
"""


def test_without_audioop_four_work_and_the_others_say_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "not a whole number of frames",
        *(
            f"fastcall.audioop.{name} needs audioop, which this Python does not have: pip install 'fastcall[audioop]'"
            for name in ("ratecv", "rms")
        ),
    ]
    assert done.stderr == ""


def test_it_warns_of_nothing() -> None:
    program = "import fastcall.audioop; fastcall.audioop.rms(b'', 2)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
