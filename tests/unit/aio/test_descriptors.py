"""How many descriptors are left."""

from __future__ import annotations

import os
import resource

import pytest

from fastcall.aio.descriptors import spare_descriptors


def test_each_that_is_open_is_one_less() -> None:
    before = spare_descriptors()
    ends = [end for _ in range(100) for end in os.pipe()]
    after = spare_descriptors()
    for end in ends:
        os.close(end)
    # Other threads of the process that runs the tests open and close some, too.
    others = 20
    assert before - 200 - others <= after < before
    assert abs(spare_descriptors() - before) <= others


@pytest.mark.parametrize(("limit", "spare"), [(resource.RLIM_INFINITY, 1 << 30), (0, 0)])
def test_limits(limit: int, spare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert spare_descriptors() == spare


def test_where_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "open", refuse)
    assert spare_descriptors() == 0
