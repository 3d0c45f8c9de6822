"""The emulator on a real gRPC wire, met by Google's own client libraries, unmodified."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.api_core import exceptions
from google.cloud import speech_v1, speech_v1p1beta1, speech_v2
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcAsyncIOTransport as AsyncV1
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport as SyncV1
from google.cloud.speech_v1p1beta1.services.speech.transports import SpeechGrpcAsyncIOTransport as AsyncBeta
from google.cloud.speech_v1p1beta1.services.speech.transports import SpeechGrpcTransport as SyncBeta
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcAsyncIOTransport as AsyncV2
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport as SyncV2

from fastcall.audio.tones import synthesize
from fastcall.emulator.options import Options
from fastcall.emulator.server import Emulator
from peers import PATIENCE_S

TEXT = "apple arrow autumn"
V1 = {"v1": (speech_v1, SyncV1, AsyncV1), "v1p1beta1": (speech_v1p1beta1, SyncBeta, AsyncBeta)}


def audio(text: str = TEXT, silence_s: float = 1.0) -> list[bytes]:
    pcm = bytes(3200) + synthesize(text) + bytes(int(16000 * silence_s) // 2 * 2)
    return [pcm[i : i + 1600] for i in range(0, len(pcm), 1600)]


def v1_config(speech: Any, **changes: Any) -> Any:
    config = {
        "encoding": speech.RecognitionConfig.AudioEncoding.LINEAR16,
        "sample_rate_hertz": 8000,
        "language_code": "en-US",
        "enable_word_time_offsets": True,
    }
    return speech.StreamingRecognitionConfig(
        config=speech.RecognitionConfig(**(config | changes)), interim_results=True
    )


def v2_config(**changes: Any) -> Any:
    config = {"model": "long", "language_codes": ["en-US"]} | changes
    return speech_v2.StreamingRecognizeRequest(
        recognizer="projects/p/locations/global/recognizers/_",
        streaming_config=speech_v2.StreamingRecognitionConfig(
            config=speech_v2.RecognitionConfig(
                explicit_decoding_config=speech_v2.ExplicitDecodingConfig(
                    encoding="LINEAR16", sample_rate_hertz=8000, audio_channel_count=1
                ),
                features=speech_v2.RecognitionFeatures(enable_word_time_offsets=True),
                **config,
            ),
            streaming_features=speech_v2.StreamingRecognitionFeatures(interim_results=True),
        ),
    )


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(Options(port=0, max_streams=0, requests_per_minute=0)) as running:
        yield running


def judge(responses: list[Any], *, version: str) -> None:
    results = [result for response in responses for result in response.results]
    finals = [result for result in results if result.is_final]
    assert [final.alternatives[0].transcript.strip() for final in finals] == [TEXT]
    interims = [
        "".join(r.alternatives[0].transcript for r in x.results)
        for x in responses
        if not any(r.is_final for r in x.results)
    ]
    assert any(text.strip() == "apple arrow" for text in interims)
    words = finals[0].alternatives[0].words
    assert [word.word for word in words] == TEXT.split()
    start = words[0].start_offset if version == "v2" else words[0].start_time
    assert start.total_seconds() == pytest.approx(0.2, abs=0.03)
    end = finals[0].result_end_offset if version == "v2" else finals[0].result_end_time
    assert 0.8 <= end.total_seconds() <= 1.81
    last = responses[-1]
    billed = last.metadata.total_billed_duration if version == "v2" else last.total_billed_time
    assert billed.total_seconds() == 2


@pytest.mark.parametrize("version", ["v1", "v1p1beta1"])
async def test_the_async_clients_of_v1(emulator: Emulator, version: str) -> None:
    speech, _, transport = V1[version]

    async def requests() -> AsyncIterator[Any]:
        yield speech.StreamingRecognizeRequest(streaming_config=v1_config(speech))
        for piece in audio():
            yield speech.StreamingRecognizeRequest(audio_content=piece)

    async with grpc.aio.insecure_channel(emulator.target) as channel:
        client = speech.SpeechAsyncClient(transport=transport(channel=channel))
        call = await client.streaming_recognize(requests=requests(), retry=None)
        judge([response async for response in call], version=version)


@pytest.mark.parametrize("version", ["v1", "v1p1beta1"])
async def test_the_sync_clients_of_v1(emulator: Emulator, version: str) -> None:
    speech, transport, _ = V1[version]

    def talk() -> list[Any]:
        with grpc.insecure_channel(emulator.target) as channel:
            client = speech.SpeechClient(transport=transport(channel=channel))
            requests = (speech.StreamingRecognizeRequest(audio_content=piece) for piece in audio())
            return list(client.streaming_recognize(v1_config(speech), requests, retry=None))

    judge(await asyncio.to_thread(talk), version=version)


async def test_the_async_client_of_v2(emulator: Emulator) -> None:
    async def requests() -> AsyncIterator[Any]:
        yield v2_config()
        for piece in audio():
            yield speech_v2.StreamingRecognizeRequest(audio=piece)

    async with grpc.aio.insecure_channel(emulator.target) as channel:
        client = speech_v2.SpeechAsyncClient(transport=AsyncV2(channel=channel))
        judge([response async for response in await client.streaming_recognize(requests=requests())], version="v2")


async def test_the_sync_client_of_v2(emulator: Emulator) -> None:
    def requests() -> Iterator[Any]:
        yield v2_config()
        for piece in audio():
            yield speech_v2.StreamingRecognizeRequest(audio=piece)

    def talk() -> list[Any]:
        with grpc.insecure_channel(emulator.target) as channel:
            client = speech_v2.SpeechClient(transport=SyncV2(channel=channel))
            return list(client.streaming_recognize(requests=requests()))

    judge(await asyncio.to_thread(talk), version="v2")


async def refused(target: str, requests: list[Any], hold: bool = False) -> exceptions.GoogleAPICallError:
    """The error that the v1p1beta1 client sees. ``hold``: the requests end, but the stream stays open."""

    async def feed() -> AsyncIterator[Any]:
        for request in requests:
            yield request
        if hold:
            await asyncio.Event().wait()

    async with grpc.aio.insecure_channel(target) as channel:
        client = speech_v1p1beta1.SpeechAsyncClient(transport=AsyncBeta(channel=channel))
        try:
            async for _ in await client.streaming_recognize(requests=feed(), retry=None):
                pass
        except exceptions.GoogleAPICallError as error:
            return error
    pytest.fail("the stream ended well")


def beta(**fields: Any) -> Any:
    return speech_v1p1beta1.StreamingRecognizeRequest(**fields)


async def test_what_google_refuses_is_refused_in_its_words(emulator: Emulator) -> None:
    config = beta(streaming_config=v1_config(speech_v1p1beta1))
    hebrew = v1_config(speech_v1p1beta1, language_code="he-IL", model="phone_call")
    cases: list[tuple[list[Any], str]] = [
        ([beta(audio_content=b"12")], "Malordered Data Received. Send exactly one config, followed by audio data."),
        ([config, config], "Malordered Data Received. Send exactly one config, followed by audio data."),
        (
            [config, beta(audio_content=bytes(25_602))],
            "Audio chunk can be of a maximum of 25600 bytes. Received audio of 25602 bytes instead.",
        ),
        (
            [beta(streaming_config=hebrew)],
            "Invalid recognition 'config': The phone_call model is currently not supported for language : iw-IL.",
        ),
    ]
    for requests, message in cases:
        error = await refused(emulator.target, requests)
        assert error.grpc_status_code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.message == message


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"stream_limit_s": 1.0}, "OUT_OF_RANGE", "Exceeded maximum allowed stream duration of 1 seconds."),
        (
            {"idle_s": 0.5},
            "OUT_OF_RANGE",
            "Audio Timeout Error: Long duration elapsed without audio. Audio should be sent close to real time.",
        ),
        (
            {"max_speed": 1.0, "max_burst_s": 0.01},
            "OUT_OF_RANGE",
            "Audio data is being streamed too fast. Please stream audio data approximately at real time.",
        ),
    ],
)
async def test_limits_end_a_stream_with_googles_status(options: dict[str, float], code: str, message: str) -> None:
    async with Emulator(Options(port=0, **options)) as emulator:  # type: ignore[arg-type]
        pieces = [beta(audio_content=piece) for piece in audio(silence_s=0.0)[:1]]
        error = await refused(emulator.target, [beta(streaming_config=v1_config(speech_v1p1beta1)), *pieces], hold=True)
    assert error.grpc_status_code is grpc.StatusCode[code]
    assert error.message == message


async def test_quotas_refuse_streams() -> None:
    async with Emulator(Options(port=0, requests_per_minute=1)) as emulator:
        config = beta(streaming_config=v1_config(speech_v1p1beta1))
        async with grpc.aio.insecure_channel(emulator.target) as channel:
            client = speech_v1p1beta1.SpeechAsyncClient(transport=AsyncBeta(channel=channel))

            async def one() -> AsyncIterator[Any]:
                yield config

            assert [r async for r in await client.streaming_recognize(requests=one(), retry=None)]
        error = await refused(emulator.target, [config])
    assert error.grpc_status_code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "DefaultRequestsPerMinutePerProject" in error.message


async def test_a_connection_carries_100_streams_and_queues_the_rest_in_silence() -> None:
    async with contextlib.AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(Emulator(Options(port=0, streams_per_connection=3, max_streams=0)))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(emulator.target))
        method = channel.stream_stream("/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize")
        config = speech_v1p1beta1.StreamingRecognizeRequest.serialize(
            beta(streaming_config=v1_config(speech_v1p1beta1))
        )
        calls = [method() for _ in range(3)]
        for call in calls:
            await call.write(config)
        waiting = method()
        write = asyncio.ensure_future(waiting.write(config))
        await calls[0].done_writing()
        while await calls[0].read() is not grpc.aio.EOF:
            pass
        await asyncio.wait_for(write, PATIENCE_S)  # room was made, and only then it went out
        assert emulator.state.opened == 4
        for call in (*calls, waiting):
            call.cancel()


async def test_a_client_that_disappears_leaves_nothing(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    async with grpc.aio.insecure_channel(emulator.target) as channel:
        method = channel.stream_stream("/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize")
        call = method()
        await call.write(
            speech_v1p1beta1.StreamingRecognizeRequest.serialize(beta(streaming_config=v1_config(speech_v1p1beta1)))
        )
        await call.write(
            speech_v1p1beta1.StreamingRecognizeRequest.serialize(
                beta(audio_content=b"".join(audio(silence_s=0.2))[:24000])
            )
        )
        assert await call.read() is not grpc.aio.EOF  # it is heard
        assert emulator.state.admission.open_streams == 1
        gone = asyncio.Event()
        close = emulator.state.admission.close
        monkeypatch.setattr(emulator.state.admission, "close", lambda: (close(), gone.set()))
        call.cancel()
        await asyncio.wait_for(gone.wait(), PATIENCE_S)
    assert emulator.state.admission.open_streams == 0
