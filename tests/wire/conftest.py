"""Fixtures of the wire tests: recognizer processes that they share, and the long call that runs beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import peers
from fastcall import _http2
from forkserver import Popen
from peers import Process, start_emulator

HERE = Path(__file__).parent
LONG_CALL_TIMEOUT_S = 180.0


@pytest.fixture(params=["on", "off"])
def fast_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The servers of the test have the fast path, and in another run of it they have not."""
    monkeypatch.setattr(peers, "FAST_PATH", request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
def uplink(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What carries the streams of the test's recognizers: that of the run, or of a test ``both_uplinks`` its own."""
    name: str = getattr(request, "param", os.environ.get("STT_UPLINK", "auto"))
    if name == "native":
        try:
            _http2.load()
        except OSError as missing:
            pytest.skip(str(missing))
    monkeypatch.setenv("STT_UPLINK", name)
    return name


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The address of a recognizer whose finals are as late, and its interims as unsteady, as Google's."""
    process = start_emulator()
    yield process.ready[1]
    process.stop()


@pytest.fixture(scope="session")
def prompt_emulator() -> Iterator[str]:
    """The address of a recognizer whose finals come at once."""
    process = start_emulator("--final-delay-s", "0", "--rewrite-rate", "0")
    yield process.ready[1]
    process.stop()


class LongCall:
    """A call of over 100 s in processes of its own, so that the other tests need not wait for it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fastcall-long-call-")
        self.transcripts = f"{self._folder.name}/transcripts.ndjson"
        self._emulator: Process = start_emulator()
        self._child = Popen(
            [sys.executable, str(HERE / "long_call.py"), self._emulator.ready[1], self.transcripts],
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def result(self) -> tuple[int, str]:
        """Wait for its end: exit status and output."""
        output, _ = self._child.communicate(timeout=LONG_CALL_TIMEOUT_S)
        return self._child.returncode, output

    def stop(self) -> None:
        if self._child.poll() is None:
            self._child.terminate()
            self._child.communicate()
        self._emulator.stop()
        self._folder.cleanup()


_LONG_CALL = pytest.StashKey[LongCall]()


def is_one_of_several(config: pytest.Config) -> bool:
    """Whether the tests are dealt out to several processes."""
    return hasattr(config, "workerinput")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long call is judged when all else is done. Of several processes one has it as its first test, and the others
    do the rest meanwhile."""
    items.sort(key=lambda item: (item.path.name == "test_long_call.py") != is_one_of_several(config))


def pytest_collection_finish(session: pytest.Session) -> None:
    """It begins before all else."""
    chosen = any(item.path.name == "test_long_call.py" for item in session.items)
    if chosen and not session.config.option.collectonly and not is_one_of_several(session.config):
        session.config.stash[_LONG_CALL] = LongCall()


def pytest_unconfigure(config: pytest.Config) -> None:
    """And it ends with the tests, however they end."""
    if _LONG_CALL in config.stash:
        config.stash[_LONG_CALL].stop()


@pytest.fixture
def long_call(request: pytest.FixtureRequest) -> LongCall:
    """The call that was placed when the tests began, or is now."""
    stash = request.config.stash
    if _LONG_CALL not in stash:
        stash[_LONG_CALL] = LongCall()
    return stash[_LONG_CALL]
