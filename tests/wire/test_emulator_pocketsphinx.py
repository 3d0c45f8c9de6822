"""PocketSphinx behind the wire: what a grammar of phrases hears, a worker process that dies, a pool that is full."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from importlib import resources
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from fastcall import g711
from fastcall.audio.wav import read_wav
from fastcall.emulator.options import Options
from fastcall.emulator.server import Emulator
from speech_clients import HeldStream, config
from waiting import until_so

pytest.importorskip("pocketsphinx", reason="no wheel of pocketsphinx for this Python")

from fastcall.demo.sounds import cough
from fastcall.emulator.engines import pocketsphinx_pool
from fastcall.emulator.engines.pocketsphinx import PocketsphinxEngine

DATA = resources.files("fastcall") / "data"
ROWS = [row.split("\t") for row in (DATA / "booking.tsv").read_text(encoding="utf-8").splitlines()[1:]]
TURNS = [text for _, _, text in ROWS]
RECORDING = g711.ulaw2lin(read_wav((DATA / "booking.wav").read_bytes()), 2)
FIRST = RECORDING[: 16 * 3300]
"""The first turn and the pause after it."""
BEGINNING = RECORDING[: 16 * 1600]
"""Part of the first turn: speech that goes on."""
OTHERS = ["yes", "no", "a", "the", "stop", "help", "cancel", "thank you", "one", "two", "eight"]


def first_request(phrases: list[str]) -> Any:
    return config("v1p1beta1", speech_contexts=[{"phrases": phrases}])


async def until(condition: Callable[[], bool]) -> None:
    """Turn the loop until it holds."""

    async def holds() -> bool:
        return condition()

    await until_so(holds)


class Running:
    """An emulator with one worker, and a channel to it."""

    def __init__(self, emulator: Emulator, engine: PocketsphinxEngine, channel: grpc.aio.Channel) -> None:
        self.state = emulator.state
        self.pool = engine.pool
        self._channel = channel

    def stream(self, phrases: list[str] | None = None) -> HeldStream:
        return HeldStream(self._channel, first_request(TURNS if phrases is None else phrases))

    async def kill(self) -> int:
        """Kill the worker process. Returns its id when the pool has noticed."""
        (pid,) = self.pool.pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: pid not in self.pool.pids)
        return pid

    async def finals(self, pcm: bytes, phrases: list[str] | None = None) -> list[str]:
        async with self.stream(phrases) as stream:
            await stream.say(pcm)
            await stream.half_close()
            assert await stream.end() == ("OK", "")
            return stream.seen.finals


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    options = Options(port=0, engine="pocketsphinx", workers=1, max_speed=0)
    engine = PocketsphinxEngine(options)
    async with Emulator(options, engine) as emulator, grpc.aio.insecure_channel(emulator.target) as channel:
        yield Running(emulator, engine, channel)


@pytest.mark.parametrize("gain_db", [0, -12, 6])
@pytest.mark.parametrize("others", [[], OTHERS], ids=["the turns", "and short phrases"])
async def test_phrases_add_no_word_that_nobody_said(running: Running, gain_db: int, others: list[str]) -> None:
    louder = np.frombuffer(RECORDING, "<i2") * 10 ** (gain_db / 20)
    pcm = np.rint(louder).clip(-32768, 32767).astype("<i2").tobytes()
    assert await running.finals(pcm, TURNS + others) == TURNS


async def test_a_short_sound_has_no_words_if_that_is_asked_for() -> None:
    noise = np.frombuffer(g711.ulaw2lin(cough(), 2), "<i2").tobytes()
    found = []
    for min_speech_s in (0.0, 0.6):
        options = Options(port=0, engine="pocketsphinx", workers=1, max_speed=0, min_speech_s=min_speech_s)
        engine = PocketsphinxEngine(options)
        async with Emulator(options, engine) as emulator, grpc.aio.insecure_channel(emulator.target) as channel:
            finals = await Running(emulator, engine, channel).finals(
                bytes(16_000) + noise + bytes(32_000) + FIRST, TURNS + OTHERS
            )
        found.append(finals)
    with_words, without = found
    assert len(with_words) == 2
    assert without == TURNS[:1]


async def test_a_worker_that_dies_ends_its_streams_with_a_status_and_another_takes_its_place(running: Running) -> None:
    async with running.stream() as stream, running.stream() as silent:
        await stream.say(BEGINNING)
        await stream.read()  # it is being heard
        await silent.say(bytes(16_000))
        pid = await running.kill()
        assert await stream.end() == ("INTERNAL", pocketsphinx_pool.DIED)
        # Who was silent has lost nothing.
        await silent.say(FIRST)
        await silent.half_close()
        assert await silent.end() == ("OK", "")
        assert silent.seen.finals == TURNS[:1]
    assert running.state.ended == {"INTERNAL": 1, "OK": 1}
    assert len(running.pool.pids) == 1
    assert running.pool.pids != [pid]


async def test_killed_again_and_again_it_comes_back(running: Running) -> None:
    for _ in range(3):
        await running.kill()
        assert await running.finals(FIRST) == TURNS[:1]


async def test_a_full_pool_refuses_with_a_status_and_serves_those_it_has(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pocketsphinx_pool, "MAX_WAITING", 2)
    speaking = [running.stream() for _ in range(pocketsphinx_pool.SLOTS + 2)]
    for stream in speaking:
        await stream.__aenter__()
        await stream.say(BEGINNING)
    async with running.stream() as refused:
        await refused.say(BEGINNING, piece_ms=1600)  # at once: nothing is written while the stream ends
        assert await refused.end() == ("RESOURCE_EXHAUSTED", pocketsphinx_pool.BUSY)
    for stream in speaking:
        await stream.say(FIRST[len(BEGINNING) :])
        await stream.half_close()
    for stream in speaking:
        assert await stream.end() == ("OK", "")
        assert stream.seen.finals == TURNS[:1]
    assert await running.finals(FIRST) == TURNS[:1]  # there is room again


async def test_a_client_that_leaves_makes_room(running: Running) -> None:
    speaking = [running.stream() for _ in range(pocketsphinx_pool.SLOTS)]
    for stream in speaking:
        await stream.__aenter__()
        await stream.say(BEGINNING)
        await stream.read()
    async with running.stream() as waiting:
        await waiting.say(FIRST)
        await waiting.half_close()
        for stream in speaking:
            stream.call.cancel()
        assert await waiting.end() == ("OK", "")
        assert waiting.seen.finals == TURNS[:1]


async def test_without_a_worker_streams_are_told_until_there_is_one(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (process,) = running.pool.processes
    with monkeypatch.context() as broken:
        broken.setattr(process, "arguments", ["-m", "no_such_module"])
        await running.kill()
        for _ in range(2):
            async with running.stream() as stream:
                await stream.say(BEGINNING, piece_ms=1600)
                assert await stream.end() == ("INTERNAL", pocketsphinx_pool.NO_WORKER)
    await until(lambda: bool(running.pool.pids))
    assert await running.finals(FIRST) == TURNS[:1]


async def test_a_stop_while_a_worker_starts_leaves_no_process(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self.pid)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    await running.kill()
    await until(lambda: bool(started))
    await running.pool.stop()
    (pid,) = started
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
