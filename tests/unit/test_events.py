"""The values: what may be shared between threads cannot be changed."""

from __future__ import annotations

import dataclasses

import pytest

from fastcall import events

KINDS = {name for name in events.__all__ if isinstance(getattr(events, name), type)} - {"MediaFrame"}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_events_cannot_be_changed(name: str) -> None:
    kind = getattr(events, name)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(kind)


def test_the_rate_is_that_of_the_telephone() -> None:
    assert events.SAMPLE_RATE_HZ == 1000 * events.SAMPLES_PER_MS == 8000
