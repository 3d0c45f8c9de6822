"""Clients of StreamingRecognize for tests: Google's own libraries in six forms, and a stream held in the hand."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.api_core import exceptions
from google.cloud import speech_v1, speech_v1p1beta1, speech_v2
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcAsyncIOTransport as AsyncV1
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport as SyncV1
from google.cloud.speech_v1p1beta1.services.speech.transports import SpeechGrpcAsyncIOTransport as AsyncBeta
from google.cloud.speech_v1p1beta1.services.speech.transports import SpeechGrpcTransport as SyncBeta
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcAsyncIOTransport as AsyncV2
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport as SyncV2

SPEECH = {"v1": speech_v1, "v1p1beta1": speech_v1p1beta1, "v2": speech_v2}
TRANSPORTS = {"v1": (SyncV1, AsyncV1), "v1p1beta1": (SyncBeta, AsyncBeta), "v2": (SyncV2, AsyncV2)}
PATIENCE_S = 20.0


def config(version: str, *, single: bool = False, events: bool = False, timeouts: Any = None, **changes: Any) -> Any:
    """The first request. `changes` are fields of the recognition config, named as in v1."""
    speech = SPEECH[version]
    model, language = changes.pop("model", ""), changes.pop("language_code", "en-US")
    word_times = changes.pop("enable_word_time_offsets", True)
    if version == "v2":
        place = changes.pop("location", "global")
        decoding = speech.ExplicitDecodingConfig(encoding="LINEAR16", sample_rate_hertz=8000, audio_channel_count=1)
        recognition = speech.RecognitionConfig(
            explicit_decoding_config=decoding,
            features=speech.RecognitionFeatures(enable_word_time_offsets=word_times),
            model=model or "long",
            language_codes=[language],
            **changes,
        )
        features = speech.StreamingRecognitionFeatures(interim_results=True, enable_voice_activity_events=events)
        if timeouts is not None:
            features.voice_activity_timeout = timeouts
        return speech.StreamingRecognizeRequest(
            recognizer=f"projects/p/locations/{place}/recognizers/_",
            streaming_config=speech.StreamingRecognitionConfig(config=recognition, streaming_features=features),
        )
    recognition = speech.RecognitionConfig(
        encoding="LINEAR16",
        sample_rate_hertz=8000,
        language_code=language,
        model=model,
        enable_word_time_offsets=word_times,
        **changes,
    )
    streaming = speech.StreamingRecognitionConfig(
        config=recognition, interim_results=True, single_utterance=single, enable_voice_activity_events=events
    )
    if timeouts is not None:
        streaming.voice_activity_timeout = timeouts
    return speech.StreamingRecognizeRequest(streaming_config=streaming)


def audio(version: str, pcm: bytes) -> Any:
    request = SPEECH[version].StreamingRecognizeRequest
    return request(audio=pcm) if version == "v2" else request(audio_content=pcm)


@dataclass
class Conversation:
    """What a client saw of one stream."""

    responses: list[Any] = field(default_factory=list)
    error: exceptions.GoogleAPICallError | None = None

    @property
    def finals(self) -> list[str]:
        return [
            result.alternatives[0].transcript.strip()
            for response in self.responses
            for result in response.results
            if result.is_final
        ]

    @property
    def interims(self) -> list[str]:
        """The hypotheses that were no final, each as the whole of its parts."""
        found = []
        for response in self.responses:
            parts = [result.alternatives[0].transcript for result in response.results if not result.is_final]
            if parts:
                found.append("".join(parts).strip())
        return found


async def talk_async(target: str, version: str, requests: Iterable[Any], hold: bool = False) -> Conversation:
    """Google's asynchronous client. `hold`: the stream is not half-closed after the requests."""
    seen = Conversation()
    over = asyncio.Event()

    async def feed() -> AsyncIterator[Any]:
        for request in requests:
            yield request
        if hold:
            await over.wait()

    async with grpc.aio.insecure_channel(target) as channel:
        client = SPEECH[version].SpeechAsyncClient(transport=TRANSPORTS[version][1](channel=channel))
        try:
            async with asyncio.timeout(PATIENCE_S):
                async for response in await client.streaming_recognize(requests=feed(), retry=None):
                    seen.responses.append(response)
        except exceptions.GoogleAPICallError as error:
            seen.error = error
        over.set()
    return seen


async def talk_sync(target: str, version: str, requests: Iterable[Any], hold: bool = False) -> Conversation:
    """Google's synchronous client, in a thread."""
    return await asyncio.to_thread(_talk, target, version, list(requests), hold)


def _talk(target: str, version: str, requests: list[Any], hold: bool) -> Conversation:
    seen = Conversation()
    over = threading.Event()

    def feed(requests: list[Any]) -> Iterator[Any]:
        yield from requests
        if hold:
            over.wait(PATIENCE_S)

    with grpc.insecure_channel(target) as channel:
        client = SPEECH[version].SpeechClient(transport=TRANSPORTS[version][0](channel=channel))
        try:
            if version == "v2":
                responses = client.streaming_recognize(requests=feed(requests), retry=None)
            else:  # v1's client sends the configuration itself
                streaming = requests[0].streaming_config
                responses = client.streaming_recognize(streaming, feed(requests[1:]), retry=None)
            seen.responses.extend(responses)
        except exceptions.GoogleAPICallError as error:
            seen.error = error
        finally:
            over.set()
    return seen


class HeldStream:
    """One v1p1beta1 stream whose every step the test decides. ``async with HeldStream(channel) as stream``."""

    METHOD = "/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize"

    def __init__(self, channel: grpc.aio.Channel, first: Any = None) -> None:
        request, response = speech_v1p1beta1.StreamingRecognizeRequest, speech_v1p1beta1.StreamingRecognizeResponse
        self._call = channel.stream_stream(
            self.METHOD, request_serializer=request.serialize, response_deserializer=response.deserialize
        )()
        self._first = first if first is not None else config("v1p1beta1")
        self.seen = Conversation()

    async def __aenter__(self) -> HeldStream:
        with contextlib.suppress(grpc.aio.AioRpcError):  # `end` tells it
            await self._call.write(self._first)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    @property
    def call(self) -> Any:
        return self._call

    async def say(self, pcm: bytes, *, piece_ms: int = 100) -> None:
        size = piece_ms * 16
        for at in range(0, len(pcm), size):
            await self._call.write(audio("v1p1beta1", pcm[at : at + size]))

    async def read(self) -> Any:
        """The next response; None at the end."""
        response = await asyncio.wait_for(self._call.read(), PATIENCE_S)
        if response is grpc.aio.EOF:
            return None
        self.seen.responses.append(response)
        return response

    async def read_until(self, condition: Callable[[Conversation], bool]) -> None:
        while not condition(self.seen):
            assert await self.read() is not None, f"the stream ended: {self.seen}"

    async def half_close(self) -> None:
        await self._call.done_writing()

    async def end(self) -> tuple[str, str]:
        """Read to the end: name of the status code, and its text."""
        try:
            while await self.read() is not None:
                pass
        except grpc.aio.AioRpcError:
            pass  # the status says it
        return (await self._call.code()).name, await self._call.details()
