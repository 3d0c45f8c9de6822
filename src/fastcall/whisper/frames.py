"""What goes through the pipe between the server and a Whisper worker: JSON, and bytes that follow it."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

__all__ = ["HEADER", "MAX_HEAD_BYTES", "pack"]

HEADER: Final = struct.Struct("<II")  # bytes of JSON, bytes that follow it
MAX_HEAD_BYTES: Final = 1 << 20


def pack(head: dict[str, Any], payload: bytes = b"") -> bytes:
    """One message."""
    text = json.dumps(head).encode()
    return HEADER.pack(len(text), len(payload)) + text + payload
