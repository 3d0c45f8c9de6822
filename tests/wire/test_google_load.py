"""The uplink under load: thousands of streams that come and go, and connections that are cut all at once."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from answering import answering
from fastcall import _http2
from fastcall.events import SAMPLE_RATE_HZ, SessionFailed, SessionRotated
from fastcall.google.pool import PoolRule
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.ports import StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.session import RecognitionSession, SessionEvent
from fastcall.settings import Settings
from footprint import resident_bytes
from peers import PATIENCE_S, google_recognizer, start_emulator, tones, words_of_call
from relay import Between
from thoroughness import amount
from waiting import until_called

CONFIG = StreamConfig("en-US", "default")

# --- streams that come and go -------------------------------------------------------------------------------------

STREAMS = amount(3_000, thorough=10_000)
OURS = ("GrpcCall", "GrpcChannel", "Http2Connection", "Http2Stream", "NativeConnection", "NativeStream", "OneStream")


class OneStream:
    """Sends two batches, hears two results, and ends in one of four ways."""

    def __init__(self, recognizer: GoogleRecognizer, number: int) -> None:
        self._way = number % 4
        self._results = 0
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stream = recognizer.open(CONFIG, self)
        if self._way == 3:
            self._stream.cancel()  # before it has begun
        for _ in range(2):
            self._stream.write(bytes(2400))

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        self._results += len(results)
        if self._way == 2:
            self._stream.cancel()  # with a result on its way
        elif self._results == 2:
            self._stream.half_close()

    def stream_writable(self) -> None:
        pass

    def stream_ended(self, end: StreamEnd) -> None:
        self.over.set_result(end.code)


async def come_and_go(recognizer: GoogleRecognizer, count: int, at_once: int = 200) -> Counter[str]:
    codes = Counter[str]()
    async with asyncio.timeout(4 * PATIENCE_S):
        for first in range(0, count, at_once):
            streams = [OneStream(recognizer, number) for number in range(first, first + at_once)]
            codes.update(await asyncio.gather(*(stream.over for stream in streams)))
    return codes


def held() -> Counter[str]:
    gc.collect()
    counts = Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing).__name__ in OURS)
    counts["descriptors"] = len(os.listdir("/proc/self/fd"))
    counts["tasks"] = len(asyncio.all_tasks())
    return counts


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="descriptors and memory are read from /proc")
async def test_thousands_of_streams_leave_nothing_behind() -> None:
    try:
        _http2.load()
    except OSError as missing:
        pytest.skip(str(missing))
    others = held()  # what a test before this one has not let go yet
    async with answering() as (address, service):
        recognizer = GoogleRecognizer(emulator_host=address, uplink="native")
        try:
            await come_and_go(recognizer, 1_000)  # the allocators have seen it all
            before, bytes_before = held(), resident_bytes()
            codes = await come_and_go(recognizer, STREAMS)
            after, grown_bytes = held(), resident_bytes() - bytes_before
        finally:
            await recognizer.aclose()
        assert codes == {"OK": STREAMS // 2, "CANCELLED": STREAMS // 2}
        assert recognizer.open_streams == 0
        assert all(after[name] <= others[name] for name in ("Http2Stream", "NativeStream", "GrpcCall"))
        assert after - before == Counter()
        # One stream's two requests alone are 5 kB: 15 MB or more, if they stayed. What the allocators keep differs by
        # some MB.
        assert grown_bytes < 10_000_000
        await until_called(service, "disconnected", lambda: not service.connections)
        assert service.open_calls == 0
        assert held()["Http2Connection"] <= others["Http2Connection"]


# --- connections cut at once --------------------------------------------------------------------------------------

# At the pace of speech: no more than a machine that others use keeps up with.
CONNECTIONS, STREAMS_EACH = amount(20, thorough=50), 2
PIECE = 1200


class TonesCall:
    """A session that is fed words without a pause, at the pace of speech."""

    def __init__(self, recognizer: GoogleRecognizer, number: int, seconds: float) -> None:
        self.said = words_of_call(number, int(seconds * 5))
        self._audio = tones(["[300]", *self.said])
        self.finals: list[str] = []
        self.events: list[SessionEvent] = []
        self.session = RecognitionSession(
            recognizer,
            CONFIG,
            settings=Settings(language="en-US"),
            on_event=self._note,
            on_final=self.finals.append,
            rand=random.Random(number).random,
        )

    def _note(self, event: SessionEvent) -> None:
        if isinstance(event, SessionFailed | SessionRotated):
            self.events.append(event)

    async def speak(self, begins_at: float) -> None:
        loop = asyncio.get_running_loop()
        self.session.note_speech(True, 0)
        for start in range(0, len(self._audio), PIECE):
            end = start + PIECE
            await asyncio.sleep(begins_at + end / SAMPLE_RATE_HZ - loop.time())
            self.session.push_audio(self._audio[start:end])
        await self.session.close(20.0)


async def test_many_connections_cut_at_once_lose_nothing() -> None:
    """In mid-word, with audio on its way in both directions, by a TCP reset of all of them in one moment."""
    options = ["--final-delay-s", "0.2", "--max-utterance-s", "1.5", "--max-streams", "0"]
    emulator = await asyncio.to_thread(start_emulator, *options)
    between = Between(emulator.ready[1])
    loop = asyncio.get_running_loop()
    try:
        async with between.running():
            recognizer = google_recognizer(between.address, pool=PoolRule(streams=STREAMS_EACH))
            calls = [TonesCall(recognizer, number, 6.0) for number in range(CONNECTIONS * STREAMS_EACH)]
            for call in calls:
                call.session.start()
            await between.until(lambda: len(between.open) == CONNECTIONS)
            begins_at = loop.time() + 0.2
            speaking = [
                asyncio.create_task(call.speak(begins_at + 0.1 * number / len(calls)))
                for number, call in enumerate(calls)
            ]
            await asyncio.sleep(begins_at + 3.0 - loop.time())
            for number in range(CONNECTIONS):
                between.cut(number)
            await asyncio.gather(*speaking)
            await recognizer.aclose()
    finally:
        await asyncio.to_thread(emulator.stop)
    assert len(between.clients) >= 2 * CONNECTIONS
    for call in calls:
        first, *others = [event.code for event in call.events if isinstance(event, SessionFailed)]
        assert first == "UNAVAILABLE"
        # A machine on which the emulator answers too late is told of as well; nothing is lost either way.
        assert set(others) <= {"DEADLINE_EXCEEDED"}
        assert {event.reason for event in call.events if isinstance(event, SessionRotated)} == {"reconnect"}
        assert " ".join(call.finals).split() == call.said
