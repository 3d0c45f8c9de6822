"""The frames between the pocketsphinx engine and its worker processes: kind, utterance, payload."""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import Any, Final

__all__ = ["HEADER", "Kind", "pack", "pack_json", "unpack_json"]

HEADER: Final = struct.Struct("<BII")  # kind, utterance, length of the payload in bytes


class Kind(IntEnum):
    # To the worker.
    BEGIN = 1  # JSON: {"grammar": text or null, "phrases": [text]}
    AUDIO = 2  # int16, 16 kHz
    END = 3
    DROP = 4
    # From the worker. Utterance 0 is the worker itself.
    READY = 10
    HEARD = 11  # JSON: [[word, start_s, end_s], ...]
    DONE = 12  # the same, settled
    ERROR = 13  # JSON: text
    NOTE = 14  # JSON: text for the log


def pack(kind: Kind, utterance: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, utterance, len(payload)) + payload


def pack_json(kind: Kind, utterance: int, value: Any) -> bytes:
    return pack(kind, utterance, json.dumps(value).encode())


def unpack_json(payload: bytes) -> Any:
    return json.loads(payload)
