"""Fixtures of the wire tests: a recogniser process that they share, because starting one takes a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from peers import start_emulator


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The address of a recogniser whose finals are as late, and its interims as unsteady, as Google's."""
    process = start_emulator()
    yield process.ready[1]
    process.stop()


@pytest.fixture(scope="session")
def prompt_emulator() -> Iterator[str]:
    """The address of a recogniser whose finals come at once."""
    process = start_emulator("--final-delay-s", "0", "--rewrite-rate", "0")
    yield process.ready[1]
    process.stop()
