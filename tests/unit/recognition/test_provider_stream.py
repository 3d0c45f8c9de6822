"""One stream from a cursor: live at once, or paced until it has caught up. The test keeps the time."""

from __future__ import annotations

import asyncio

import pytest

from fastcall._codec import MAX_PIECE_SAMPLES
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.ports import StreamConfig
from fastcall.recognition.inputs import AudioEvicted, RecognitionInput, StreamEnded
from fastcall.recognition.provider_stream import (
    CLOSING_SPEED,
    REPLAY_PIECE_SAMPLES,
    ProviderStream,
)
from fastcall.recognition.rotation import RotationPlan
from fastcall.recognition.stream_state import STUCK_S, StreamState
from peers import ScriptedRecognizer, ScriptedStream
from sim.clock import in_virtual_time

BATCH = 1200


class Stage:
    """A stream of a call of so many seconds, opened at 0."""

    def __init__(self, seconds: float, *, start: int = 0, speed: float = 2.0) -> None:
        self.replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=10**6)
        self.replay_buffer.append(bytes(i % 251 for i in range(int(8000 * seconds))))
        self.state = StreamState(StreamConfig("en-US", "default"), start=start, plan=RotationPlan(1e9, 1e9), now=0.0)
        self.inputs: list[RecognitionInput] = []
        self.sent: list[tuple[int, int]] = []
        recognizer = ScriptedRecognizer()
        self.sender = ProviderStream(
            recognizer,
            self.state,
            self.replay_buffer,
            batch_samples=BATCH,
            replay_speed=speed,
            receive=self.inputs.append,
            on_writable=lambda sender: sender.pump(now=0.0),
            on_sent=lambda first, last: self.sent.append((first, last)),
        )
        self.stream: ScriptedStream = recognizer.streams[0]

    def until(self, end: float) -> None:
        """Let time pass, with every deadline before ``end``."""
        while (due_at := self.sender.next_deadline()) is not None and due_at <= end:
            self.sender.handle_deadline(now=due_at)


def test_a_replay_is_paced_in_pieces_and_ends_live() -> None:
    stage = Stage(4.0)
    stage.sender.pump(now=0.0)
    assert stage.stream.samples == REPLAY_PIECE_SAMPLES
    assert stage.state.caught_up_since is None
    stage.until(1.0)
    assert stage.stream.samples == pytest.approx(2 * 8000, abs=REPLAY_PIECE_SAMPLES)
    stage.until(2.0)
    assert stage.state.caught_up_since is not None
    assert max(map(len, stage.stream.written)) <= 2 * REPLAY_PIECE_SAMPLES
    assert b"".join(stage.stream.written) == stage.replay_buffer.read(0, 10**6)
    stage.replay_buffer.append(bytes(BATCH - 1))
    stage.sender.pump(now=2.0)
    assert stage.stream.samples == 4 * 8000
    stage.replay_buffer.append(bytes(1))
    stage.sender.pump(now=2.0)
    assert stage.stream.samples == 4 * 8000 + BATCH
    assert stage.sent == [(4 * 8000, 4 * 8000 + BATCH)]  # what was live, and nothing of the replay


@pytest.mark.parametrize("rest", [0, 1, BATCH - 1, BATCH, BATCH + 1])
def test_a_stream_that_finishes_while_it_catches_up_sends_all_and_hurries(rest: int) -> None:
    stage = Stage(4.0)
    stage.replay_buffer.append(bytes(rest))
    stage.sender.finish(now=0.0)
    assert not stage.stream.half_closed
    stage.until((4.0 + 0.4) / CLOSING_SPEED)
    assert stage.stream.half_closed
    assert stage.state.half_closed
    assert stage.stream.samples == stage.replay_buffer.end
    assert stage.sender.next_deadline() is None


def test_a_small_backlog_goes_at_once() -> None:
    stage = Stage(0.9, start=800)
    stage.sender.pump(now=3.0)
    assert stage.stream.samples == 7200 - 800 <= MAX_PIECE_SAMPLES
    assert stage.state.caught_up_since == 3.0
    assert stage.state.map.to_call(100) == 900


@in_virtual_time
async def test_a_stream_that_is_not_writable_is_waited_for_without_a_timer() -> None:
    stage = Stage(2.0)
    stage.stream.writable = False
    stage.sender.pump(now=0.0)
    assert stage.stream.written == []
    assert stage.sender.next_deadline() is None
    stage.stream.writable = True
    stage.sender.stream_writable()
    assert stage.stream.samples == REPLAY_PIECE_SAMPLES
    stage.sender.cancel()
    await asyncio.sleep(0)
    assert [event.end.code for event in stage.inputs if isinstance(event, StreamEnded)] == ["CANCELLED"]


def test_a_stream_that_takes_nothing_falls_behind_and_is_stuck_after_a_while() -> None:
    stage = Stage(0.5)
    stage.sender.pump(now=0.0)
    assert stage.state.caught_up_since is not None
    stage.stream.writable = False
    assert not stage.state.is_stuck(now=100.0)  # nothing waits
    stage.replay_buffer.append(bytes(9000))
    stage.sender.pump(now=1.0)
    assert stage.state.caught_up_since is None
    assert not stage.state.is_stuck(now=STUCK_S)
    assert stage.state.is_stuck(now=STUCK_S + 0.1)
    stage.stream.writable = True
    stage.sender.stream_writable()
    assert not stage.state.is_stuck(now=STUCK_S + 0.1)


def test_keep_alive_is_silence_that_the_call_knows_nothing_of() -> None:
    stage = Stage(0.5)
    stage.sender.pump(now=0.0)
    due_at = stage.sender.next_deadline()
    assert due_at is not None
    stage.sender.handle_deadline(now=due_at - 0.01)
    assert stage.stream.samples == 4000
    stage.sender.handle_deadline(now=due_at)
    assert stage.stream.samples == 4000 + MAX_PIECE_SAMPLES
    assert not any(stage.stream.written[-1])
    assert stage.sender.next_deadline() == pytest.approx(due_at + MAX_PIECE_SAMPLES / 8000)
    stage.replay_buffer.append(bytes(1600))
    stage.sender.pump(now=due_at)
    assert stage.state.map.to_call(4000 + MAX_PIECE_SAMPLES) == 4000
    assert stage.state.map.to_call(4000 + MAX_PIECE_SAMPLES + 1600) == 5600


def test_keep_alive_sends_what_is_less_than_a_batch_before_any_silence() -> None:
    stage = Stage(0.5)
    stage.sender.pump(now=0.0)
    stage.replay_buffer.append(bytes(100))
    stage.sender.handle_deadline(now=stage.sender.next_deadline() or 0.0)
    assert stage.stream.samples == 4100
    assert stage.state.map.pieces == 1


def test_audio_that_was_forgotten_keeps_its_time() -> None:
    stage = Stage(0.1)
    stage.sender.pump(now=0.0)
    stage.replay_buffer.append(bytes(1600))
    stage.replay_buffer.forget_before(2000)
    stage.sender.pump(now=0.0)
    assert stage.state.cursor == 800  # 400 samples are less than a batch
    assert stage.inputs == []
    stage.replay_buffer.append(bytes(800))
    stage.sender.pump(now=0.0)
    assert stage.inputs == [AudioEvicted(stage.state)]
    assert stage.state.cursor == stage.replay_buffer.end == 3200
    assert stage.state.map.to_call(stage.state.map.length_samples) == 3200
    assert stage.stream.samples == 800 + 1200
    stage.replay_buffer.forget_before(10**6)
    stage.sender.finish(now=0.0)
    assert all(stage.stream.written)
