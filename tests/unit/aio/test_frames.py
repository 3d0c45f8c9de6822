"""Frames: what one end packs the other reads, and nothing else passes."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.aio.frames import MAX_HEAD_BYTES, MAX_PAYLOAD_BYTES, ParentPipe, pack, read_frame

HEADS = st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.booleans()), max_size=3)
NO_FRAMES = [
    struct.pack("<II", MAX_HEAD_BYTES + 1, 0),
    struct.pack("<II", 2, MAX_PAYLOAD_BYTES + 1) + b"{}",
    struct.pack("<II", 2, 0) + b"[]",
    struct.pack("<II", 2, 0) + b"{x",
    struct.pack("<II", 2, 0) + b"\xff\xff",
]


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


@given(st.lists(st.tuples(HEADS, st.binary())))
def test_both_ends_read_what_was_packed(frames: list[tuple[dict[str, Any], bytes]]) -> None:
    data = b"".join(pack(*frame) for frame in frames)
    assert list(ParentPipe(io.BytesIO(data), io.BytesIO())) == frames

    async def read() -> list[tuple[dict[str, Any], bytes]]:
        reader = reader_of(data)
        read = [await read_frame(reader) for _ in frames]
        with pytest.raises(asyncio.IncompleteReadError):
            await read_frame(reader)
        return read

    assert asyncio.run(read()) == frames


def test_a_worker_reads_no_frame_that_was_cut_short() -> None:
    data = pack({"a": 1}, b"12")
    for size in range(len(data)):
        assert list(ParentPipe(io.BytesIO(data[:size]), io.BytesIO())) == []


@pytest.mark.parametrize("data", NO_FRAMES)
async def test_what_is_no_frame_is_refused_before_its_payload_is_read(data: bytes) -> None:
    with pytest.raises(ValueError):
        next(iter(ParentPipe(io.BytesIO(data), io.BytesIO())))
    with pytest.raises(ValueError):
        await read_frame(reader_of(data))


async def test_what_a_worker_sends_leaves_at_once() -> None:
    sink = io.BytesIO()
    buffered = io.BufferedWriter(sink)  # type: ignore[arg-type]  # bytes in memory do for a file
    ParentPipe(io.BytesIO(), buffered).send(b"audio", number=1)
    assert await read_frame(reader_of(sink.getvalue())) == ({"number": 1}, b"audio")
    assert json.loads(sink.getvalue()[8:-5]) == {"number": 1}
