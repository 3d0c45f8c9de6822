"""A model of a few bytes with Smart Turn's input and output, in ONNX: the sigmoid of the mean of what it is given.

Written by hand, because to write ONNX takes a package that nothing else needs. The numbers are those of the fields in
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

INTS, FLOAT = 7, 1


def _number(value: int) -> bytes:
    """A base-128 varint."""
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _number(value >> 7)


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    data = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(data)) + data


def _node(operator: str, source: str, result: str, **attributes: int) -> bytes:
    node = _field(1, source) + _field(2, result) + _field(4, operator)
    for name, value in attributes.items():
        is_list = name == "axes"
        node += _field(5, _field(1, name) + _field(8 if is_list else 3, value) + _field(20, INTS if is_list else 2))
    return _field(1, node)


def _tensor(name: str, *shape: int | str) -> bytes:
    dimensions = b"".join(_field(1, _field(2 if isinstance(size, str) else 1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, FLOAT) + _field(2, dimensions)))


def tiny_onnx(input_name: str = "input_features", mels: int = 80) -> bytes:
    """The file's content."""
    graph = (
        _node("ReduceMean", input_name, "rows", axes=2, keepdims=0)
        + _node("ReduceMean", "rows", "mean", axes=1, keepdims=1)
        + _node("Sigmoid", "mean", "logits")
        + _field(2, "tiny")
        + _field(11, _tensor(input_name, "batch", mels, 800))
        + _field(12, _tensor("logits", "batch", 1))
    )
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))
