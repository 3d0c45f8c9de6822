"""The mark filter: it finds whole frames with marks, whatever is around them, and never a part of something else."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fastcall._codec import MarkFilter, scan_mark
from peers import client_frame

CONT, TEXT, BINARY, PING = 0, 1, 2, 9

MARK = json.dumps({"event": "mark", "sequenceNumber": "4", "streamSid": "MZ1", "mark": {"name": "a"}}).encode()
LONG_MARK = json.dumps({"event": "mark", "streamSid": "MZ1", "mark": {"name": "a" * 500}}).encode()
TOO_LONG_MARK = json.dumps({"event": "mark", "streamSid": "MZ1", "mark": {"name": "a" * 1000}}).encode()
OTHER = b'{"event":"dtmf","dtmf":{"digit":"1"}}'


def masked(frame: bytes, key: bytes) -> bytes:
    """A client's frame, whose mask is of zeros, with another mask."""
    head = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    payload = bytes(byte ^ key[at & 3] for at, byte in enumerate(frame[head + 4 :]))
    return frame[:head] + key + payload


TEXTS = st.sampled_from(
    [MARK, LONG_MARK, TOO_LONG_MARK, OTHER, b"", client_frame(TEXT, MARK), MARK + b" ", MARK + b"x"]
)
FRAMES = st.builds(
    client_frame,
    st.sampled_from([TEXT, TEXT, TEXT, CONT, BINARY, PING]),
    TEXTS,
    fin=st.sampled_from([True, True, False]),
)


def marks_of(frames: list[bytes]) -> list[bytes | None]:
    """Of each frame its message, if it is one by itself and has a mark."""
    found: list[bytes | None] = []
    in_fragments = False
    for frame in frames:
        opcode, is_final = frame[0] & 15, frame[0] & 0x80 != 0
        size = frame[1] & 0x7F
        payload = frame[{126: 8, 127: 14}.get(size, 6) :]
        is_alone = opcode == TEXT and is_final and not in_fragments and len(payload) < 1024
        found.append(payload if is_alone and scan_mark(payload) is not None else None)
        if opcode < 8:
            in_fragments = not is_final
    return found


@given(st.lists(FRAMES, max_size=8), st.binary(min_size=4, max_size=4))
def test_of_whole_frames_it_finds_each_mark_with_any_mask(frames: list[bytes], key: bytes) -> None:
    marks = MarkFilter()
    assert [marks.take(masked(frame, key)) for frame in frames] == marks_of(frames)


@given(st.lists(st.tuples(FRAMES, st.lists(st.integers(1, 1100), max_size=3)), max_size=8))
def test_of_frames_in_parts_it_finds_nothing_and_goes_on_after_them(cut: list[tuple[bytes, list[int]]]) -> None:
    """Chunks are frames or parts of them; after a head in two parts it finds nothing any more."""
    marks, is_lost = MarkFilter(), False
    for (frame, cuts), mark in zip(cut, marks_of([frame for frame, _ in cut]), strict=True):
        places = sorted({0, len(frame), *(at for at in cuts if at < len(frame))})
        parts = [frame[start:end] for start, end in pairwise(places)]
        head = {126: 8, 127: 14}.get(frame[1] & 0x7F, 6)
        is_lost |= len(parts[0]) < head
        found = [marks.take(part) for part in parts]
        assert found == ([mark] if len(parts) == 1 and not is_lost else [None] * len(parts))


@given(st.lists(FRAMES, min_size=2, max_size=5))
def test_two_frames_in_one_chunk_are_none_and_none_is_found_any_more(frames: list[bytes]) -> None:
    marks = MarkFilter()
    assert marks.take(b"".join(frames)) is None
    assert marks.take(client_frame(TEXT, MARK)) is None


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_are_no_mark_unless_they_are(chunks: list[bytes]) -> None:
    marks = MarkFilter()
    for chunk in chunks:
        found = marks.take(chunk)
        assert found is None or scan_mark(found) is not None
