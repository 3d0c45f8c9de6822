"""One stream from a cursor: live at once, or paced until it has caught up. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.provider_stream import (
    CLOSING_SPEED,
    MAX_PIECE_SAMPLES,
    REPLAY_PIECE_SAMPLES,
    STUCK_S,
    ProviderStream,
)
from fastcall.recognition.rotation import RotationPlan
from peers import ScriptedRecognizer
from sim.clock import elapse, in_virtual_time

BATCH = 1200


class Owner:
    def __init__(self) -> None:
        self.ends: list[StreamEnd] = []

    def provider_stream_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> None: ...

    def provider_stream_evicted(self, provider_stream: ProviderStream) -> int:
        return provider_stream.cursor

    def provider_stream_ended(self, provider_stream: ProviderStream, end: StreamEnd) -> None:
        self.ends.append(end)


def make(
    seconds: float, start: int = 0, speed: float = 2.0
) -> tuple[ProviderStream, ScriptedRecognizer, ReplayBuffer, Owner]:
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=10**6)
    replay_buffer.append(bytes(i % 251 for i in range(int(8000 * seconds))))
    recognizer, owner = ScriptedRecognizer(), Owner()
    provider_stream = ProviderStream(
        recognizer,
        StreamConfig("en-US", "default"),
        replay_buffer,
        owner,
        start=start,
        plan=RotationPlan(1e9, 1e9),
        batch_samples=BATCH,
        replay_speed=speed,
    )
    return provider_stream, recognizer, replay_buffer, owner


@in_virtual_time
async def test_a_replay_is_paced_in_pieces_and_ends_live() -> None:
    provider_stream, recognizer, replay_buffer, _ = make(4.0)
    provider_stream.pump()
    (stream,) = recognizer.streams
    assert stream.samples == REPLAY_PIECE_SAMPLES
    assert provider_stream.caught_up_since is None
    await elapse(1.0)
    assert stream.samples == pytest.approx(2 * 8000, abs=REPLAY_PIECE_SAMPLES)
    await elapse(1.0)
    assert provider_stream.caught_up_since is not None
    assert max(map(len, stream.written)) <= 2 * REPLAY_PIECE_SAMPLES
    assert b"".join(stream.written) == replay_buffer.read(0, 10**6)
    replay_buffer.append(bytes(BATCH - 1))
    provider_stream.pump()
    assert stream.samples == 4 * 8000
    replay_buffer.append(bytes(1))
    provider_stream.pump()
    assert stream.samples == 4 * 8000 + BATCH


@pytest.mark.parametrize("rest", [0, 1, BATCH - 1, BATCH, BATCH + 1])
@in_virtual_time
async def test_a_provider_stream_that_finishes_while_it_catches_up_sends_all_and_hurries(rest: int) -> None:
    provider_stream, recognizer, replay_buffer, _ = make(4.0)
    replay_buffer.append(bytes(rest))
    provider_stream.finish()
    (stream,) = recognizer.streams
    assert not stream.half_closed
    await elapse((4.0 + 0.4) / CLOSING_SPEED)
    assert stream.half_closed
    assert provider_stream.half_closed
    assert stream.samples == replay_buffer.end


@in_virtual_time
async def test_a_small_backlog_goes_at_once() -> None:
    provider_stream, recognizer, _, _ = make(0.9, start=800)
    provider_stream.pump()
    assert recognizer.streams[0].samples == 7200 - 800 <= MAX_PIECE_SAMPLES
    assert provider_stream.caught_up_since == asyncio.get_running_loop().time()
    assert provider_stream.map.to_call(100) == 900


@in_virtual_time
async def test_a_stream_that_is_not_writable_is_waited_for_without_a_timer() -> None:
    provider_stream, recognizer, _, owner = make(2.0)
    (stream,) = recognizer.streams
    stream.writable = False
    provider_stream.pump()
    assert stream.written == []
    stream.writable = True
    provider_stream.stream_writable()
    assert stream.samples == REPLAY_PIECE_SAMPLES
    provider_stream.cancel()
    await asyncio.sleep(0)
    assert [end.code for end in owner.ends] == ["CANCELLED"]


@in_virtual_time
async def test_a_stream_that_takes_nothing_falls_behind_and_is_stuck_after_a_while() -> None:
    provider_stream, recognizer, replay_buffer, _ = make(0.5)
    provider_stream.pump()
    assert provider_stream.caught_up_since is not None
    now = asyncio.get_running_loop().time()
    recognizer.streams[0].writable = False
    assert not provider_stream.is_stuck(now=now + 100)  # nothing waits
    replay_buffer.append(bytes(9000))
    provider_stream.pump()
    assert provider_stream.caught_up_since is None
    assert not provider_stream.is_stuck(now=now + STUCK_S)
    assert provider_stream.is_stuck(now=now + STUCK_S + 0.1)
    recognizer.streams[0].writable = True
    assert not provider_stream.is_stuck(now=now + STUCK_S + 0.1)


@in_virtual_time
async def test_keep_alive_is_silence_that_the_call_knows_nothing_of() -> None:
    provider_stream, recognizer, replay_buffer, _ = make(0.5)
    provider_stream.pump()
    (stream,) = recognizer.streams
    now = provider_stream.next_keep_alive()
    provider_stream.keep_alive(now=now - 0.01)
    assert stream.samples == 4000
    provider_stream.keep_alive(now=now)
    assert stream.samples == 4000 + MAX_PIECE_SAMPLES
    assert not any(stream.written[-1])
    assert provider_stream.next_keep_alive() - now == pytest.approx(MAX_PIECE_SAMPLES / 8000)
    replay_buffer.append(bytes(1600))
    provider_stream.pump()
    assert provider_stream.map.to_call(4000 + MAX_PIECE_SAMPLES) == 4000
    assert provider_stream.map.to_call(4000 + MAX_PIECE_SAMPLES + 1600) == 5600


@in_virtual_time
async def test_keep_alive_sends_what_is_less_than_a_batch_before_any_silence() -> None:
    provider_stream, recognizer, replay_buffer, _ = make(0.5)
    provider_stream.pump()
    replay_buffer.append(bytes(100))
    provider_stream.keep_alive(now=provider_stream.next_keep_alive())
    assert recognizer.streams[0].samples == 4100
    assert provider_stream.map.pieces == 1


@in_virtual_time
async def test_audio_that_was_forgotten_keeps_its_time() -> None:
    provider_stream, recognizer, replay_buffer, _ = make(0.1)
    provider_stream.pump()
    replay_buffer.append(bytes(1600))
    replay_buffer.forget_before(2000)
    provider_stream.pump()
    assert provider_stream.cursor == 800  # 400 samples are less than a batch
    replay_buffer.append(bytes(800))
    provider_stream.pump()
    assert provider_stream.cursor == replay_buffer.end == 3200
    assert provider_stream.map.to_call(provider_stream.map.length_samples) == 3200
    assert recognizer.streams[0].samples == 800 + 1200
    replay_buffer.forget_before(10**6)
    provider_stream.finish()
    assert all(recognizer.streams[0].written)
