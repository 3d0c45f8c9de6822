"""What the worker takes for a factory, and for a probability."""

from __future__ import annotations

import numpy as np
import pytest

import stub_models
from fastcall.end_of_turn.worker import checked, is_factory, load


@pytest.mark.parametrize("name", ["model:make", "my.models.turns:make", "stub_models:Stub", "a:b"])
def test_names_of_factories(name: str) -> None:
    assert is_factory(name)


@pytest.mark.parametrize("name", ["model.onnx", "/srv/a:b", "./a:b", "a-b:c", "a:b:c", ":b", "a:", "", "a:b.onnx"])
def test_paths(name: str) -> None:
    assert not is_factory(name)


@pytest.mark.parametrize("value", [0, 1, 0.5, True, np.float32(0.5), np.float64(1), np.int64(0)])
def test_probabilities(value: object) -> None:
    assert checked(value) == value
    assert type(checked(value)) is float


@pytest.mark.parametrize(
    "value", [-0.01, 1.01, 2, float("nan"), float("inf"), "0.5", b"1", None, [0.5], 1j, np.ones(1)]
)
def test_what_is_none(value: object) -> None:
    with pytest.raises(ValueError, match="not a probability"):
        checked(value)


def test_a_model_is_called_once_when_it_is_loaded() -> None:
    model = load("stub_models:Stub")
    assert isinstance(model, stub_models.Stub)
    assert model.handled == 1
