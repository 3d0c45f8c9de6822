"""Google's published pattern for endless streaming, as a client: restart before or at the limit, replay what no final
covered. It must lose and double nothing over many streams of the emulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.api_core import exceptions
from google.cloud import speech_v1p1beta1 as speech
from google.cloud.speech_v1p1beta1.services.speech.transports import SpeechGrpcAsyncIOTransport

from fastcall.audio.tones import VOCABULARY, synthesize
from fastcall.emulator.options import Options
from fastcall.emulator.server import Emulator
from speech_clients import PATIENCE_S, audio, config

CHUNK_MS = 100
CHUNK_BYTES = CHUNK_MS * 16
PACE = 6  # times real time, so that many streams pass in few seconds


class EndlessClient:
    """The pattern: keep the chunks of the running stream. When it has lasted long enough, or the server has ended it,
    open another and send again first what comes after the end of the last final result."""

    def __init__(self, client: Any, pcm: bytes, *, restart_after_ms: float) -> None:
        self._client = client
        self._restart_after_ms = restart_after_ms
        self._source = [pcm[at : at + CHUNK_BYTES] for at in range(0, len(pcm), CHUNK_BYTES)]
        self._loop = asyncio.get_running_loop()
        self._begin = self._loop.time()
        self._next = 0  # chunk of the source
        self._sent: list[bytes] = []  # on the running stream
        self._call: Any = None
        self._leaving = False
        self.words: list[str] = []
        self.restarts = 0
        self.limits: list[str] = []
        self.hidden = 0
        """Ends that gRPC's asynchronous client hid, because it was writing when they came (grpc/grpc issue 36066)."""

    async def run(self) -> None:
        while not await self._one_stream():
            self.restarts += 1

    async def _one_stream(self) -> bool:
        """True when all was sent and the server has ended the stream well."""
        final_end_ms = 0.0
        replay, self._sent, self._leaving = self._sent, [], False
        try:
            self._call = await self._client.streaming_recognize(requests=self._requests(replay), retry=None)
            async for response in self._call:
                for result in response.results:
                    if result.is_final:
                        self.words += result.alternatives[0].transcript.split()
                        final_end_ms = result.result_end_time.total_seconds() * 1000
        except exceptions.OutOfRange as error:
            self.limits.append(error.message)
        except exceptions.InternalServerError as error:
            if error.message != "Internal error from Core":
                raise
            self.hidden += 1
        except asyncio.CancelledError:
            assert self._leaving
        else:
            return True
        self._sent = self._sent[int(final_end_ms // CHUNK_MS) :]  # from the chunk in which the last final ended
        return False

    async def _requests(self, replay: list[bytes]) -> AsyncIterator[Any]:
        sent = self._sent
        yield config("v1p1beta1")
        for chunk in replay:
            sent.append(chunk)
            yield audio("v1p1beta1", chunk)
        new = 0
        while self._next < len(self._source):
            if new * CHUNK_MS >= self._restart_after_ms:
                self._leaving = True
                self._call.cancel()
                return
            await self._until(self._begin + self._next * CHUNK_MS / 1000 / PACE)
            if sent is not self._sent:  # the server has ended this stream; the next one has the microphone
                return
            chunk = self._source[self._next]
            self._next += 1
            sent.append(chunk)
            new += 1
            yield audio("v1p1beta1", chunk)

    async def _until(self, when: float) -> None:
        """The pace of a microphone."""
        reached = self._loop.create_future()
        handle = self._loop.call_at(when, reached.set_result, None)
        try:
            await reached
        finally:
            handle.cancel()


@pytest.mark.parametrize(
    ("restart_after_ms", "limits"),
    [
        pytest.param(5000, 0, id="the client restarts before the limit"),
        pytest.param(10**9, 1, id="the limit ends the stream"),
    ],
)
async def test_endless_streaming_loses_and_doubles_nothing(restart_after_ms: float, limits: int) -> None:
    words = [VOCABULARY[(7 * index) % 100] for index in range(60)]
    # Sentences of five words; the last word of one and the first of the next are 700 ms apart.
    text = " ".join(f"{word} [700]" if index % 5 == 4 else word for index, word in enumerate(words))
    pcm = synthesize(text, gap_ms=30)
    async with (
        Emulator(Options(port=0, stream_limit_s=6.0, max_speed=0, requests_per_minute=0)) as emulator,
        grpc.aio.insecure_channel(emulator.target) as channel,
        asyncio.timeout(PATIENCE_S),
    ):
        client = speech.SpeechAsyncClient(transport=SpeechGrpcAsyncIOTransport(channel=channel))
        endless = EndlessClient(client, pcm, restart_after_ms=restart_after_ms)
        await endless.run()
    assert endless.words == words
    assert endless.restarts >= 3
    assert len(endless.limits) + endless.hidden >= limits * 3
    assert emulator.state.ended["OUT_OF_RANGE"] == len(endless.limits) + endless.hidden
    assert set(endless.limits) <= {"Exceeded maximum allowed stream duration of 6 seconds."}
    assert emulator.state.opened == endless.restarts + 1
