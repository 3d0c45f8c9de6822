"""The audio ring against ``queue.Queue``, as a batch of 8 frames goes through either."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from fastcall._codec import AudioRing
from ratio import compare

FRAME = bytes(range(96, 256))
FRAMES = 8


@pytest.mark.gate
def test_a_batch_through_the_ring(benchmark: Any) -> None:
    ring: AudioRing = AudioRing(8000)
    frames: queue.Queue[bytes] = queue.Queue()

    def through_the_ring() -> bytes:
        for _ in range(FRAMES):
            ring.push(FRAME)
        return ring.take(FRAMES * 160)

    def through_the_queue() -> bytes:
        for _ in range(FRAMES):
            frames.put_nowait(FRAME)
        return b"".join([frames.get_nowait() for _ in range(FRAMES)])

    assert through_the_ring() == through_the_queue()
    compare(benchmark, "ring against queue.Queue, a frame", through_the_ring, through_the_queue, floor=8, units=FRAMES)
