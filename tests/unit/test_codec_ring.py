"""The audio ring: against a list, at its edges, and between two threads."""

from __future__ import annotations

import random
import sys
import threading

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import reference
from fastcall._codec import AudioRing, mulaw_decode


class RingAndList(RuleBasedStateMachine):
    """Whatever is done to the ring and to a list of samples, both give the same."""

    @initialize(capacity=st.integers(1, 40), width=st.sampled_from([1, 2]))
    def make(self, capacity, width):
        self.ring = AudioRing(capacity, sample_bytes=width)
        self.list = reference.Ring(capacity, width)
        self.width = width

    @rule(data=st.binary(max_size=100))
    def push(self, data):
        data = data[: len(data) // self.width * self.width]
        assert self.ring.push(data) == self.list.push(data)

    @rule(samples=st.integers(0, 60))
    def push_silence(self, samples):
        assert self.ring.push_silence(samples) == self.list.push_silence(samples)

    @rule(samples=st.integers(0, 60))
    def take(self, samples):
        assert self.ring.take(samples) == self.list.take(samples)

    @rule(smallest=st.integers(1, 30), more=st.integers(0, 30))
    def take_batch(self, smallest, more):
        assert self.ring.take_batch(smallest, smallest + more) == self.list.take_batch(smallest, smallest + more)

    @rule()
    def clear(self):
        assert self.ring.clear() == self.list.clear()

    @invariant()
    def counts_agree(self):
        if not hasattr(self, "ring"):
            return
        assert self.ring.waiting_samples == len(self.list.waiting)
        assert self.ring.pushed_samples == self.list.pushed_samples
        assert self.ring.taken_samples == self.list.taken_samples
        assert self.ring.dropped_samples == self.list.dropped_samples
        assert self.ring.pushed_samples == self.ring.taken_samples + self.ring.waiting_samples


TestRingAndList = RingAndList.TestCase


def test_a_new_ring():
    ring = AudioRing(800)
    assert (ring.capacity_samples, ring.sample_bytes, ring.waiting_samples) == (800, 1, 0)
    assert ring.take(10) == b""
    assert ring.take_batch(1, 10) is None
    assert ring.clear() == 0


@pytest.mark.parametrize("capacity", [0, -1, 2**30 + 1])
def test_capacity_out_of_range(capacity):
    with pytest.raises(ValueError, match=f"capacity_samples={capacity}: must be from 1 to"):
        AudioRing(capacity)


@pytest.mark.parametrize("width", [0, 3, -1])
def test_sample_bytes_out_of_range(width):
    with pytest.raises(ValueError, match=f"sample_bytes={width}: must be 1"):
        AudioRing(10, sample_bytes=width)


@pytest.mark.parametrize("arguments", [("8",), (8.0,), (None,), ()])
def test_capacity_of_another_type(arguments):
    with pytest.raises(TypeError):
        AudioRing(*arguments)


def test_the_newest_samples_are_dropped_and_counted():
    ring = AudioRing(5)
    assert ring.push(b"abc") == 3
    assert ring.push(b"defgh") == 2
    assert ring.push(b"i") == 0
    assert ring.dropped_samples == 4
    assert ring.take(9) == b"abcde"


def test_a_push_bigger_than_the_ring():
    ring = AudioRing(4, sample_bytes=2)
    assert ring.push(bytes(range(20))) == 4
    assert (ring.take(9), ring.dropped_samples) == (bytes(range(8)), 6)


def test_silence():
    mulaw, linear = AudioRing(4), AudioRing(4, sample_bytes=2)
    assert mulaw.push_silence(3) == linear.push_silence(3) == 3
    assert mulaw.take(9) == b"\xff\xff\xff"
    assert linear.take(9) == bytes(6)
    assert mulaw.push_silence(6) == 4
    assert mulaw.dropped_samples == 2


def test_a_batch_waits_for_its_smallest_size():
    ring = AudioRing(100)
    ring.push(bytes(range(59)))
    assert ring.take_batch(60, 80) is None
    ring.push(b"\x59")
    assert ring.take_batch(60, 80) == mulaw_decode(bytes(range(59)) + b"\x59")
    assert ring.waiting_samples == 0


def test_a_batch_across_the_end_of_the_memory():
    codes = bytes(range(256))
    ring = AudioRing(300)
    ring.push(bytes(200))
    ring.take(200)
    ring.push(codes)
    assert ring.take_batch(256, 256) == reference.mulaw_decode(codes)


def test_buffers_of_samples():
    pcm = np.arange(-5, 5, dtype=np.int16)
    ring = AudioRing(10, sample_bytes=2)
    assert ring.push(pcm) == 10
    assert ring.take_batch(10, 10) == pcm.tobytes()


def test_what_a_ring_does_not_take():
    ring = AudioRing(10, sample_bytes=2)
    with pytest.raises(ValueError, match="3 bytes are not a whole number of 2-byte samples"):
        ring.push(b"abc")
    with pytest.raises(TypeError, match="bytes-like"):
        ring.push("ab")
    with pytest.raises(TypeError, match="bytes is needed"):
        AudioRing(10).push(np.zeros(4, np.int16))
    with pytest.raises(BufferError, match="contiguous"):
        ring.push(memoryview(bytes(8))[::2])
    with pytest.raises(ValueError, match="samples=-1"):
        ring.push_silence(-1)
    with pytest.raises(ValueError, match="max_samples=-1"):
        ring.take(-1)
    assert ring.pushed_samples == ring.waiting_samples == ring.dropped_samples == 0


@pytest.mark.parametrize(("smallest", "largest"), [(0, 5), (-1, 5), (6, 5)])
def test_batch_sizes_out_of_range(smallest, largest):
    with pytest.raises(ValueError, match=f"not 1 <= min_samples={smallest} <= max_samples={largest}"):
        AudioRing(10).take_batch(smallest, largest)


def test_a_buffer_is_given_back():
    data = bytearray(3)
    ring = AudioRing(2)
    ring.push(data)
    data.append(1)
    with pytest.raises(ValueError, match="whole number"):
        AudioRing(2, sample_bytes=2).push(memoryview(data)[:3])
    data.append(1)


@pytest.fixture
def quick_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("capacity", [1, 7, 1000])
def test_two_threads(capacity):
    """One pushes, one takes, in pieces of any size: the bytes come out as they went in."""
    chance = random.Random(capacity)
    sent = chance.randbytes(min(100_000, capacity * 150))
    sizes = [chance.randint(1, 160) for _ in range(64)]
    ring = AudioRing(capacity)
    received = bytearray()

    def push():
        at = turn = 0
        while at < len(sent):
            at += ring.push(memoryview(sent)[at : at + sizes[turn % 64]])
            turn += 1

    producer = threading.Thread(target=push)
    producer.start()
    turn = 0
    while len(received) < len(sent):
        received += ring.take(sizes[-turn % 64])
        turn += 1
    producer.join()
    assert received == sent
    assert (ring.pushed_samples, ring.taken_samples, ring.waiting_samples) == (len(sent), len(sent), 0)
