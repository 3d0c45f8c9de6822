"""What a client sends in a live call: to a connection with the fast path, and to one without (``both_paths.Pair``)."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from random import Random

from both_paths import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    SID,
    TEXT,
    Pair,
    frame,
    media,
    prelude,
    speech,
    splits,
    stop_text,
)
from sim.clock import VirtualLoop, cancel_all, run_virtual

__all__ = ["FastPath"]

SEPARATOR = b"\n--\n"
WIRE = 0x80

# What a call logs outside of the comparison is nobody's.
logging.getLogger("fastcall").addHandler(logging.NullHandler())


def sent(data: bytes) -> bytes:
    """What ``data`` says is sent. If its second byte is ``WIRE`` or more, the bytes themselves; else what is between
    separators, each in a frame as it should be: a text message, or of the kind of its first byte, if that is a head's.
    """
    body = data[2:]
    if data[1] >= WIRE:
        return body
    frames = []
    for piece in body.split(SEPARATOR):
        first = piece[0] if piece else TEXT | 0x80
        is_head = first & 0x70 == 0 and first & 0x0F in (CONTINUATION, TEXT, BINARY, *range(CLOSE, 16))
        opcode = first & 0x0F if is_head else TEXT
        frames.append(frame(piece[is_head:], opcode, fin=not is_head or first >= 0x80, key=bytes([data[1]] * 4)))
    return b"".join(frames)


class FastPath:
    """The bytes of a client after the first frames of its call, cut into reads by the first byte."""

    name = "fast path"
    tokens: Sequence[bytes] = (
        *(
            SEPARATOR,
            SEPARATOR + b"\x89",
            SEPARATOR + b"\x01",
            SEPARATOR + b"\x00",
            SEPARATOR + b"\x80",
            b"\x88\x03\xe8",
        ),
        *(media(at_ms, speech(at_ms)) for at_ms in (120, 140, 160, 180)),
        *(frame(media(at_ms, speech(at_ms)), key=bytes(4)) for at_ms in (140, 160)),
        *(frame(b"", PING), frame(b"{}"), b"\x81\xfe\x01\x60", b"\x81\xff", b"\x81\x80", b"\x01\x85", bytes(4)),
        *(b'"', b"\\", b"{", b"}", b",", b":", b"=", b" ", b"\n", b"\xff", b"\0", b"AAAA", b'"payload":"/w=="'),
        *(b'"timestamp":"140"', b'"timestamp":"9999999999"', b'"track":"inbound"', SID.encode(), b'"event":"media"'),
    )

    def seeds(self) -> Sequence[bytes]:
        texts = [media(140 + 20 * index, speech(index)) for index in range(4)]
        ends = [b"\x89ping", b"\x01" + texts[0][:100], b"\x80" + texts[0][100:], texts[0], stop_text(), b"\x88\x03\xe8"]
        gap = [media(400, speech(1)), media(300, speech(2)), media(9_000, speech(3))]
        framed = b"".join(map(frame, texts))
        closing = frame(texts[0]) + frame(b"\x03\xe9", CLOSE) + frame(texts[1])
        fragments = frame(texts[0][:50], fin=False) + frame(b"", PING) + frame(texts[0][50:], CONTINUATION)
        return [
            *(b"\x00\x00" + SEPARATOR.join(pieces) for pieces in (texts, texts[:1] + ends, gap + texts)),
            *(b"\x03\x55" + piece for piece in texts),
            *(bytes([cuts, WIRE]) + wire for cuts in (0, 7) for wire in (framed, closing, fragments)),
            b"",
        ]

    def check(self, data: bytes) -> Hashable:
        if len(data) < 2:
            return "nothing"
        wire, random = sent(data), Random(data[0])
        cuts = sorted(random.sample(range(1, len(wire)), min(data[0] % 8, len(wire) - 1))) if len(wire) > 1 else []
        loop = VirtualLoop()
        try:
            seen = run_virtual(self._play(splits(wire, cuts)), loop)
        finally:
            run_virtual(cancel_all(), loop)
            loop.close()
        assert loop.errors == []
        return seen

    async def _play(self, reads: list[bytes]) -> Hashable:
        pair = Pair()
        pair.receive(prelude(2))
        for read in reads:
            pair.receive(read)
            pair.check()
        await pair.settle()
        pair.check()
        rejected = tuple(sorted(pair.hot.runner.machine.rejected))
        await pair.end()
        pair.check()
        code, _ = pair.ended()
        timeline = pair.hot.runner.machine.timeline
        await pair.drop()
        special = timeline.gaps > 0, timeline.duplicate_frames > 0, timeline.rebases > 0
        return min(pair.hot.by_fast_path, 4), min(timeline.frames - pair.hot.by_fast_path, 4), rejected, code, special
