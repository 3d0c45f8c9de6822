"""Between the producer and the history: what does not fit keeps its time."""

from __future__ import annotations

import threading

import pytest

from fastcall import g711
from fastcall.audio import audio_input as module
from fastcall.audio.audio_input import AudioIntake
from fastcall.audio.replay_buffer import AudioHistory


def made(patch: pytest.MonkeyPatch | None = None, ring_s: float | None = None) -> tuple[AudioIntake, AudioHistory]:
    history = AudioHistory(sample_bytes=1, limit_samples=10**6)
    if patch is not None:
        patch.setattr(module, "RING_S", ring_s)
    return AudioIntake(history, sample_bytes=1), history


def test_audio_and_silence_arrive_in_order() -> None:
    intake, history = made()
    intake.feed(b"\x01\x02")
    intake.feed_silence(3)
    intake.feed(b"\x04")
    assert (intake.fed_samples, intake.waiting_samples, history.end) == (6, 6, 0)
    intake.drain()
    assert history.read(0, 10) == g711.ulaw2lin(b"\x01\x02\xff\xff\xff\x04", 2)
    assert intake.waiting_samples == 0


def test_what_does_not_fit_is_silence_of_the_same_length(monkeypatch: pytest.MonkeyPatch) -> None:
    intake, history = made(monkeypatch, 1)
    intake.feed(b"\x01" * 7999)
    intake.feed(b"\x02" * 11)
    intake.feed_silence(5)
    intake.drain()
    intake.feed(b"\x03" * 4)
    intake.drain()
    assert intake.dropped_samples == 10, "silence in place of silence is no loss"
    assert intake.fed_samples == history.end == 8019
    expected = b"\x01" * 7999 + b"\x02" + b"\xff" * 15 + b"\x03" * 4
    assert history.read(0, 9000) == g711.ulaw2lin(expected, 2)


def test_a_producer_thread_and_the_loop_agree_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    intake, history = made(monkeypatch, 1)
    frames = 5000
    done = threading.Event()

    def produce() -> None:
        for _ in range(frames):
            intake.feed(b"\x11" * 160)
        done.set()

    producer = threading.Thread(target=produce)
    producer.start()
    while not done.is_set():
        intake.drain()
    producer.join()
    intake.drain()
    assert intake.fed_samples == history.end == frames * 160


def test_samples_of_another_size_than_the_history_keeps() -> None:
    with pytest.raises(ValueError, match="samples of 2 bytes for a history of 1"):
        AudioIntake(AudioHistory(sample_bytes=1, limit_samples=10), sample_bytes=2)
