"""The audio ring and the call's replay buffer against their equivalents in Python, as a batch of 8 frames goes
through either."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from fastcall._codec import AudioRing, mulaw_decode
from fastcall.audio.audio_input import AudioInput
from fastcall.audio.replay_buffer import ReplayBuffer
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
    compare(benchmark, "ring against queue.Queue, a frame", through_the_ring, through_the_queue, floor=10, units=FRAMES)


@pytest.mark.gate
def test_a_batch_through_the_replay_buffer(benchmark: Any) -> None:
    """Fed, made history, read as LINEAR16, and forgotten 3 s later: through ``AudioInput``, or queue and bytearray."""
    kept_samples = 3 * 8000
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=90 * 8000)
    audio_input = AudioInput(replay_buffer, sample_bytes=1)
    frames: queue.Queue[bytes] = queue.Queue()
    kept = bytearray()

    def through_the_replay_buffer() -> bytes:
        for _ in range(FRAMES):
            audio_input.feed(FRAME)
        audio_input.drain()
        replay_buffer.forget_before(replay_buffer.end - kept_samples)
        return replay_buffer.read(replay_buffer.end - FRAMES * 160, FRAMES * 160)

    def through_the_queue() -> bytes:
        for _ in range(FRAMES):
            frames.put_nowait(FRAME)
        while not frames.empty():
            kept.extend(frames.get_nowait())
        del kept[:-kept_samples]
        return mulaw_decode(kept[-FRAMES * 160 :])

    assert through_the_replay_buffer() == through_the_queue()
    compare(benchmark, "call history, a frame", through_the_replay_buffer, through_the_queue, floor=5, units=FRAMES)
