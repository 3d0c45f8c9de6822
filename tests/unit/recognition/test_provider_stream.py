"""One stream from a cursor: live at once, or paced until it has caught up. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fastcall.audio.replay_buffer import AudioHistory
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.provider_stream import (
    CLOSING_SPEED,
    MAX_PIECE_SAMPLES,
    REPLAY_PIECE_SAMPLES,
    STUCK_S,
    StreamLeg,
)
from fastcall.recognition.rotation import RotationPlan
from peers import ScriptedRecognizer
from sim.clock import elapse, in_virtual_time

BATCH = 1200


class Owner:
    def __init__(self) -> None:
        self.ends: list[StreamEnd] = []

    def leg_results(self, leg: StreamLeg, results: Sequence[StreamResult]) -> None: ...

    def leg_outgrown(self, leg: StreamLeg) -> int:
        return leg.cursor

    def leg_ended(self, leg: StreamLeg, end: StreamEnd) -> None:
        self.ends.append(end)


def make(
    seconds: float, start: int = 0, speed: float = 2.0
) -> tuple[StreamLeg, ScriptedRecognizer, AudioHistory, Owner]:
    history = AudioHistory(sample_bytes=1, limit_samples=10**6)
    history.append(bytes(i % 251 for i in range(int(8000 * seconds))))
    recognizer, owner = ScriptedRecognizer(), Owner()
    leg = StreamLeg(
        recognizer,
        StreamConfig("en-US", "default"),
        history,
        owner,
        start=start,
        plan=RotationPlan(1e9, 1e9),
        batch_samples=BATCH,
        replay_speed=speed,
    )
    return leg, recognizer, history, owner


@in_virtual_time
async def test_a_replay_is_paced_in_pieces_and_ends_live() -> None:
    leg, recognizer, history, _ = make(4.0)
    leg.pump()
    (stream,) = recognizer.streams
    assert stream.samples == REPLAY_PIECE_SAMPLES
    assert leg.abreast_since is None
    await elapse(1.0)
    assert stream.samples == pytest.approx(2 * 8000, abs=REPLAY_PIECE_SAMPLES)
    await elapse(1.0)
    assert leg.abreast_since is not None
    assert max(map(len, stream.written)) <= 2 * REPLAY_PIECE_SAMPLES
    assert b"".join(stream.written) == history.read(0, 10**6)
    history.append(bytes(BATCH - 1))
    leg.pump()
    assert stream.samples == 4 * 8000
    history.append(bytes(1))
    leg.pump()
    assert stream.samples == 4 * 8000 + BATCH


@pytest.mark.parametrize("rest", [0, 1, BATCH - 1, BATCH, BATCH + 1])
@in_virtual_time
async def test_a_leg_that_finishes_while_it_catches_up_sends_all_and_hurries(rest: int) -> None:
    leg, recognizer, history, _ = make(4.0)
    history.append(bytes(rest))
    leg.finish()
    (stream,) = recognizer.streams
    assert not stream.half_closed
    await elapse((4.0 + 0.4) / CLOSING_SPEED)
    assert stream.half_closed
    assert leg.half_closed
    assert stream.samples == history.end


@in_virtual_time
async def test_a_small_backlog_goes_at_once() -> None:
    leg, recognizer, _, _ = make(0.9, start=800)
    leg.pump()
    assert recognizer.streams[0].samples == 7200 - 800 <= MAX_PIECE_SAMPLES
    assert leg.abreast_since == asyncio.get_running_loop().time()
    assert leg.map.to_call(100) == 900


@in_virtual_time
async def test_a_stream_that_is_not_writable_is_waited_for_without_a_timer() -> None:
    leg, recognizer, _, owner = make(2.0)
    (stream,) = recognizer.streams
    stream.writable = False
    leg.pump()
    assert stream.written == []
    stream.writable = True
    leg.stream_writable()
    assert stream.samples == REPLAY_PIECE_SAMPLES
    leg.cancel()
    await asyncio.sleep(0)
    assert [end.code for end in owner.ends] == ["CANCELLED"]


@in_virtual_time
async def test_a_stream_that_takes_nothing_falls_behind_and_is_stuck_after_a_while() -> None:
    leg, recognizer, history, _ = make(0.5)
    leg.pump()
    assert leg.abreast_since is not None
    now = asyncio.get_running_loop().time()
    recognizer.streams[0].writable = False
    assert not leg.is_stuck(now=now + 100)  # nothing waits
    history.append(bytes(9000))
    leg.pump()
    assert leg.abreast_since is None
    assert not leg.is_stuck(now=now + STUCK_S)
    assert leg.is_stuck(now=now + STUCK_S + 0.1)
    recognizer.streams[0].writable = True
    assert not leg.is_stuck(now=now + STUCK_S + 0.1)


@in_virtual_time
async def test_keep_alive_is_silence_that_the_call_knows_nothing_of() -> None:
    leg, recognizer, history, _ = make(0.5)
    leg.pump()
    (stream,) = recognizer.streams
    now = leg.next_keep_alive()
    leg.keep_alive(now=now - 0.01)
    assert stream.samples == 4000
    leg.keep_alive(now=now)
    assert stream.samples == 4000 + MAX_PIECE_SAMPLES
    assert not any(stream.written[-1])
    assert leg.next_keep_alive() - now == pytest.approx(MAX_PIECE_SAMPLES / 8000)
    history.append(bytes(1600))
    leg.pump()
    assert leg.map.to_call(4000 + MAX_PIECE_SAMPLES) == 4000
    assert leg.map.to_call(4000 + MAX_PIECE_SAMPLES + 1600) == 5600


@in_virtual_time
async def test_keep_alive_sends_what_is_less_than_a_batch_before_any_silence() -> None:
    leg, recognizer, history, _ = make(0.5)
    leg.pump()
    history.append(bytes(100))
    leg.keep_alive(now=leg.next_keep_alive())
    assert recognizer.streams[0].samples == 4100
    assert leg.map.pieces == 1


@in_virtual_time
async def test_audio_that_was_forgotten_keeps_its_time() -> None:
    leg, recognizer, history, _ = make(0.1)
    leg.pump()
    history.append(bytes(1600))
    history.forget_before(2000)
    leg.pump()
    assert leg.cursor == 800  # 400 samples are less than a batch
    history.append(bytes(800))
    leg.pump()
    assert leg.cursor == history.end == 3200
    assert leg.map.to_call(leg.map.length_samples) == 3200
    assert recognizer.streams[0].samples == 800 + 1200
    history.forget_before(10**6)
    leg.finish()
    assert all(recognizer.streams[0].written)
