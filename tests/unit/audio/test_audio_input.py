"""Between the producer and the history: what does not fit keeps its time."""

from __future__ import annotations

import threading

import pytest

from fastcall import g711
from fastcall.audio import audio_input as module
from fastcall.audio.audio_input import AudioInput
from fastcall.audio.replay_buffer import ReplayBuffer


def made(patch: pytest.MonkeyPatch | None = None, ring_s: float | None = None) -> tuple[AudioInput, ReplayBuffer]:
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=10**6)
    if patch is not None:
        patch.setattr(module, "RING_S", ring_s)
    return AudioInput(replay_buffer, sample_bytes=1), replay_buffer


def test_audio_and_silence_arrive_in_order() -> None:
    audio_input, replay_buffer = made()
    audio_input.feed(b"\x01\x02")
    audio_input.feed_silence(3)
    audio_input.feed(b"\x04")
    assert (audio_input.fed_samples, audio_input.waiting_samples, replay_buffer.end) == (6, 6, 0)
    audio_input.drain()
    assert replay_buffer.read(0, 10) == g711.ulaw2lin(b"\x01\x02\xff\xff\xff\x04", 2)
    assert audio_input.waiting_samples == 0


def test_what_does_not_fit_is_silence_of_the_same_length(monkeypatch: pytest.MonkeyPatch) -> None:
    audio_input, replay_buffer = made(monkeypatch, 1)
    audio_input.feed(b"\x01" * 7999)
    audio_input.feed(b"\x02" * 11)
    audio_input.feed_silence(5)
    audio_input.drain()
    audio_input.feed(b"\x03" * 4)
    audio_input.drain()
    assert audio_input.dropped_samples == 10, "silence in place of silence is no loss"
    assert audio_input.fed_samples == replay_buffer.end == 8019
    expected = b"\x01" * 7999 + b"\x02" + b"\xff" * 15 + b"\x03" * 4
    assert replay_buffer.read(0, 9000) == g711.ulaw2lin(expected, 2)


def test_a_producer_thread_and_the_loop_agree_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    audio_input, replay_buffer = made(monkeypatch, 1)
    frames = 5000
    done = threading.Event()

    def produce() -> None:
        for _ in range(frames):
            audio_input.feed(b"\x11" * 160)
        done.set()

    producer = threading.Thread(target=produce)
    producer.start()
    while not done.is_set():
        audio_input.drain()
    producer.join()
    audio_input.drain()
    assert audio_input.fed_samples == replay_buffer.end == frames * 160


def test_samples_of_another_size_than_the_replay_buffer_keeps() -> None:
    with pytest.raises(ValueError, match="samples of 2 bytes for a history of 1"):
        AudioInput(ReplayBuffer(sample_bytes=1, limit_samples=10), sample_bytes=2)
