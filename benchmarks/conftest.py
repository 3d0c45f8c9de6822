"""Benchmarks measure the release build only; as a smoke test (``--benchmark-disable``) they run on any."""

from __future__ import annotations

import pytest

from fastcall import _codec


def pytest_configure(config: pytest.Config) -> None:
    if _codec.BUILD != "release" and not config.getoption("benchmark_disable", False):
        pytest.exit(
            f"benchmarks measure the release build, and this is the {_codec.BUILD} build: "
            "run make FASTCALL_BUILD=release gates",
            returncode=2,
        )
