"""Decodes the bytes of a request to 16-bit samples. Written from ITU-T G.711, without fastcall's codec."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["AudioDecoder"]


def _mulaw_table() -> NDArray[np.int16]:
    code = ~np.arange(256) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = (((mantissa << 3) + 132) << exponent) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> NDArray[np.int16]:
    code = np.arange(256) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_TABLES: Final = {"MULAW": _mulaw_table(), "ALAW": _alaw_table()}


class AudioDecoder:
    """Decode the audio of one stream. A LINEAR16 sample may be split between two requests."""

    def __init__(self, encoding: str) -> None:
        self._table = _TABLES.get(encoding)
        self._odd = b""

    def decode(self, data: bytes) -> NDArray[np.int16]:
        if self._table is not None:
            return self._table[np.frombuffer(data, dtype=np.uint8)]
        if self._odd:
            data = self._odd + data
        count = len(data) // 2
        self._odd = data[2 * count :]
        return np.frombuffer(data, dtype="<i2", count=count)
