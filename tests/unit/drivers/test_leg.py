"""One stream from a cursor: live at once, or paced until it has caught up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fastcall.drivers.leg import MAX_PIECE_SAMPLES, REPLAY_PIECE_SAMPLES, StreamLeg
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from fastcall.rules.history import AudioHistory
from fastcall.rules.rollover import RotationPlan
from peers import ScriptedRecognizer


class Owner:
    def __init__(self) -> None:
        self.caught_up = asyncio.Event()
        self.ends: list[StreamEnd] = []

    def leg_results(self, leg: StreamLeg, results: Sequence[StreamResult]) -> None: ...

    def leg_caught_up(self, leg: StreamLeg) -> None:
        assert not self.caught_up.is_set()
        self.caught_up.set()

    def leg_ended(self, leg: StreamLeg, end: StreamEnd) -> None:
        self.ends.append(end)


def make(
    seconds: float, start: int = 0, speed: float = 5.0
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
        batch_samples=1200,
        replay_speed=5.0,
    )
    return leg, recognizer, history, owner


async def test_a_replay_is_paced_in_pieces_and_ends_live() -> None:
    leg, recognizer, history, owner = make(2.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    leg.pump()
    (stream,) = recognizer.streams
    assert stream.samples == REPLAY_PIECE_SAMPLES
    assert not leg.caught_up
    await asyncio.wait_for(owner.caught_up.wait(), 10)
    assert loop.time() - began >= 0.3  # 2 s at five times real time, but for the last batch
    assert max(map(len, stream.written)) <= 2 * REPLAY_PIECE_SAMPLES
    leg.finish()
    assert b"".join(stream.written) == history.read(0, 10**6)
    assert stream.half_closed


async def test_a_small_backlog_goes_at_once() -> None:
    leg, recognizer, _, owner = make(0.9, start=800)
    leg.pump()
    assert recognizer.streams[0].samples == 7200 - 800 <= MAX_PIECE_SAMPLES
    assert owner.caught_up.is_set()
    assert leg.map.to_call(100) == 900


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


async def test_audio_that_was_forgotten_keeps_its_time() -> None:
    leg, recognizer, history, _ = make(0.1)
    leg.pump()
    history.append(bytes(1600))
    history.forget_before(2000)
    leg.pump()
    assert leg.cursor == history.end == 2400
    assert leg.map.to_call(leg.map.length_samples) == 2400
    assert recognizer.streams[0].samples == 800 + 400
