"""The frames between a process and its workers: a JSON object, and bytes that belong to it. Both ends of the pipe.

A frame is two 32-bit lengths (little-endian), the JSON text, and the payload. No length is trusted.
"""

from __future__ import annotations

import json
import os
import select
import struct
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from asyncio import StreamReader  # a worker that does without asyncio starts sooner

__all__ = ["MAX_HEAD_BYTES", "MAX_PAYLOAD_BYTES", "ParentPipe", "pack", "read_frame"]

MAX_HEAD_BYTES: Final = 1 << 20
MAX_PAYLOAD_BYTES: Final = 1 << 26
_LENGTHS: Final = struct.Struct("<II")


def pack(head: dict[str, Any], payload: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    text = json.dumps(head).encode()
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


async def read_frame(reader: StreamReader) -> tuple[dict[str, Any], bytes]:
    """Return the worker's next frame.

    :raises asyncio.IncompleteReadError: the worker has closed the pipe
    :raises ValueError: this is no frame
    """
    head_bytes, payload_bytes = _lengths(await reader.readexactly(_LENGTHS.size))
    head = _head(await reader.readexactly(head_bytes))
    return head, await reader.readexactly(payload_bytes)


class ParentPipe:
    """The worker's end: iterate over the parent's frames, until the parent is gone or wants no more. One thread."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink

    @classmethod
    def of_stdio(cls) -> ParentPipe:
        """Take over standard input and output. What libraries print goes to standard error from now on, and the process
        ends when the parent closes the pipe or is gone, also while it is at work: nobody waits for that any more."""
        sink = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        threading.Thread(target=_end_with_parent, name="fastcall-parent", daemon=True).start()
        return cls(sys.stdin.buffer, sink)

    def send(self, payload: bytes = b"", **head: Any) -> None:
        """Send the parent a frame."""
        self._sink.write(pack(head, payload))
        self._sink.flush()

    def __iter__(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """:raises ValueError: this is no frame"""
        try:
            while True:
                head_bytes, payload_bytes = _lengths(self._read(_LENGTHS.size))
                head = _head(self._read(head_bytes))
                yield head, self._read(payload_bytes)
        except EOFError:
            return

    def _read(self, size_bytes: int) -> bytes:
        data = self._source.read(size_bytes)
        if len(data) < size_bytes:
            raise EOFError
        return data


def _end_with_parent() -> None:
    poll = select.poll()
    poll.register(0, 0)  # a hang-up is told unasked
    poll.poll()
    os._exit(0)


def _lengths(data: bytes) -> tuple[int, int]:
    head_bytes, payload_bytes = _LENGTHS.unpack(data)
    if head_bytes > MAX_HEAD_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {head_bytes} + {payload_bytes} bytes")
    return head_bytes, payload_bytes


def _head(text: bytes) -> dict[str, Any]:
    head = json.loads(text)
    if not isinstance(head, dict):
        raise ValueError("the head of a frame is no JSON object")
    return head
