"""Google's own clients against the emulator: three versions, asynchronous and synchronous, unmodified.

Each meets the same things: texts, times, limits, and the codes and words in which Google refuses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from google.protobuf import duration_pb2

from fastcall.audio.tones import layout, synthesize
from fastcall.emulator.options import Options
from fastcall.emulator.server import Emulator
from speech_clients import Conversation, audio, config, talk_async, talk_sync

Talk = Callable[..., Awaitable[Conversation]]

TEXT = "[500] apple arrow autumn [1000] badge badge [800]"
WORDS = [["apple", "arrow", "autumn"], ["badge", "badge"]]
CLIENTS = [
    pytest.param(version, talk, id=f"{version}-{name}")
    for version in ("v1", "v1p1beta1", "v2")
    for name, talk in (("async", talk_async), ("sync", talk_sync))
]
OLD = ("v1", "v1p1beta1")
TOO_LONG = "Audio chunk can be of a maximum of 25600 bytes. Received audio of 25602 bytes instead."
MALORDERED = "Malordered Data Received. Send exactly one config, followed by audio data."


def pieces(version: str, text: str = TEXT) -> list[Any]:
    pcm = synthesize(text)
    return [audio(version, pcm[at : at + 1600]) for at in range(0, len(pcm), 1600)]


def seconds(duration: Any) -> float:
    return duration.total_seconds()


@pytest.mark.parametrize(("version", "talk"), CLIENTS)
async def test_texts_and_times(version: str, talk: Talk) -> None:
    async with Emulator(Options(port=0)) as emulator:
        seen = await talk(emulator.target, version, [config(version), *pieces(version)])
    assert seen.error is None
    assert seen.finals == ["apple arrow autumn", "badge badge"]
    assert seen.interims[:3] == ["apple", "apple arrow", "apple arrow autumn"]
    finals = [result for response in seen.responses for result in response.results if result.is_final]
    expected, length = layout(TEXT)
    new = version == "v2"
    heard = [word for final in finals for word in final.alternatives[0].words]
    assert [word.word for word in heard] == [word.text for word in expected]
    for got, want in zip(heard, expected, strict=True):
        assert seconds(got.start_offset if new else got.start_time) == pytest.approx(want.start / 8000, abs=0.011)
        assert seconds(got.end_offset if new else got.end_time) == pytest.approx(want.end / 8000, abs=0.011)
    ends = [seconds(final.result_end_offset if new else final.result_end_time) for final in finals]
    # A final covers its words and the silence that settled them.
    assert ends[0] == pytest.approx(1.1 + 0.6, abs=0.11)
    assert ends[1] == pytest.approx(2.5 + 0.6, abs=0.11)
    assert {final.language_code for final in finals} == {"en-us"}
    assert all(final.alternatives[0].confidence > 0.5 and not final.stability for final in finals)
    last = seen.responses[-1]
    billed = last.metadata.total_billed_duration if new else last.total_billed_time
    assert seconds(billed) == pytest.approx(-(-length // 8000))


@pytest.mark.parametrize(("version", "talk"), CLIENTS)
async def test_interims_are_a_stable_beginning_and_an_unstable_end(version: str, talk: Talk) -> None:
    async with Emulator(Options(port=0)) as emulator:
        seen = await talk(emulator.target, version, [config(version), *pieces(version, "apple arrow autumn")])
    two_parts = [response.results for response in seen.responses if len(response.results) == 2]
    assert two_parts
    for stable, unstable in two_parts:
        assert stable.stability == pytest.approx(0.9)
        assert unstable.stability == pytest.approx(0.01)
        assert unstable.alternatives[0].transcript.startswith(" ")
        assert not stable.is_final


async def refusal(talk: Talk, version: str, requests: list[Any], **options: Any) -> tuple[str, str]:
    """Code and text. What is refused is the last request: gRPC's asynchronous client hides the status of a stream
    that ends while it writes behind "Internal error from Core"."""
    async with Emulator(Options(port=0, **options)) as emulator:
        seen = await talk(emulator.target, version, requests, True)
    assert seen.error is not None, seen
    return seen.error.grpc_status_code.name, seen.error.message


@pytest.mark.parametrize(("version", "talk"), CLIENTS)
async def test_wrong_order_and_size(version: str, talk: Talk) -> None:
    first = config(version)
    assert await refusal(talk, version, [first, first]) == ("INVALID_ARGUMENT", MALORDERED)
    assert await refusal(talk, version, [first, audio(version, bytes(25_602))]) == ("INVALID_ARGUMENT", TOO_LONG)


@pytest.mark.parametrize(("version", "talk"), CLIENTS)
async def test_models_and_languages(version: str, talk: Talk) -> None:
    cases: list[tuple[dict[str, str], str]]
    if version in OLD:
        start = "Invalid recognition 'config': The"
        cases = [
            (
                {"model": "phone_call", "language_code": "he-IL"},
                f"{start} phone_call model is currently not supported for language : iw-IL.",
            ),
            (
                {"model": "latest_short", "language_code": "iw-IL"},
                f"{start} requested model is currently not supported for language : iw-IL.",
            ),
            ({"language_code": ""}, "Invalid recognition 'config': bad language code."),
        ]
    else:
        cases = [
            (
                {"model": "telephony", "language_code": "uk-UA"},
                'The language "uk-UA" is not supported by the model "telephony" in the location named "global".',
            ),
            (
                {"model": "chirp_2", "location": "asia-northeast1"},
                'The model "chirp_2" does not exist in the location named "asia-northeast1".',
            ),
        ]
    for changes, message in cases:
        assert await refusal(talk, version, [config(version, **changes)]) == ("INVALID_ARGUMENT", message)


@pytest.mark.parametrize(("version", "talk"), CLIENTS)
async def test_limits(version: str, talk: Talk) -> None:
    begin = [config(version), *pieces(version, "apple [600]")]
    if version in OLD:
        limit = ("OUT_OF_RANGE", "Exceeded maximum allowed stream duration of 1 seconds.")
        idle = (
            "OUT_OF_RANGE",
            "Audio Timeout Error: Long duration elapsed without audio. Audio should be sent close to real time.",
        )
    else:
        limit = ("ABORTED", "Max duration of 1 seconds reached for stream.")
        idle = ("ABORTED", "Stream timed out after receiving no more client requests.")
    assert await refusal(talk, version, begin, stream_limit_s=1.0) == limit
    assert await refusal(talk, version, begin, idle_s=0.5) == idle
    fast = [config(version), audio(version, bytes(16_000))]
    too_fast = (
        "OUT_OF_RANGE",
        "Audio data is being streamed too fast. Please stream audio data approximately at real time.",
    )
    assert await refusal(talk, version, fast, max_burst_s=0.5, max_speed=0.5) == too_fast


@pytest.mark.parametrize(("version", "talk"), CLIENTS)
async def test_quotas(version: str, talk: Talk) -> None:
    async with Emulator(Options(port=0, max_streams=1)) as emulator:
        emulator.state.admission.open(now=0.0)  # another stream is open
        seen = await talk(emulator.target, version, [config(version)])
        assert seen.error is not None
        assert seen.error.grpc_status_code.name == "RESOURCE_EXHAUSTED"
        assert seen.error.message == (
            "Quota exceeded for quota metric 'speech.googleapis.com/concurrent_streaming_requests' and limit "
            "'ConcurrentStreamingRequestsPerProject' of service 'speech.googleapis.com' "
            "for consumer 'project_number:0'."
        )
        emulator.state.admission.close()
        assert (await talk(emulator.target, version, [config(version)])).error is None


@pytest.mark.parametrize(("version", "talk"), CLIENTS)
async def test_requests_a_minute(version: str, talk: Talk) -> None:
    async with Emulator(Options(port=0, requests_per_minute=1)) as emulator:
        assert (await talk(emulator.target, version, [config(version)])).error is None
        seen = await talk(emulator.target, version, [config(version)])
    assert seen.error is not None
    assert seen.error.grpc_status_code.name == "RESOURCE_EXHAUSTED"
    assert seen.error.message == (
        "Quota exceeded for quota metric 'speech.googleapis.com/default_requests' and limit "
        "'DefaultRequestsPerMinutePerProject' of service 'speech.googleapis.com' for consumer 'project_number:0'."
    )


async def test_rewritten_interims_follow_the_seed() -> None:
    async def interims(seed: int) -> list[str]:
        async with Emulator(Options(port=0, rewrite_rate=0.5, seed=seed)) as emulator:
            first = await talk_async(emulator.target, "v1", [config("v1"), *pieces("v1")])
            second = await talk_async(emulator.target, "v1", [config("v1"), *pieces("v1")])
        assert first.finals == second.finals == ["apple arrow autumn", "badge badge"]
        return [*first.interims, "", *second.interims]

    once = await interims(1)
    assert await interims(1) == once
    assert await interims(2) != once
    # Some hypothesis was taken back, or put right.
    assert any(not later.startswith(earlier) for earlier, later in pairwise(once) if later and earlier)


@pytest.mark.parametrize(("version", "talk"), CLIENTS)
async def test_speech_events(version: str, talk: Talk) -> None:
    async with Emulator(Options(port=0)) as emulator:
        seen = await talk(emulator.target, version, [config(version, events=True), *pieces(version)])
    events = [response for response in seen.responses if response.speech_event_type]
    assert [event.speech_event_type.name for event in events] == ["SPEECH_ACTIVITY_BEGIN", "SPEECH_ACTIVITY_END"] * 2
    times = [event.speech_event_offset if version == "v2" else event.speech_event_time for event in events]
    assert [seconds(time) for time in times] == [pytest.approx(time, abs=0.03) for time in (0.5, 1.1, 2.1, 2.5)]


@pytest.mark.parametrize(("version", "talk"), CLIENTS)
async def test_no_speech_within_the_time_that_the_client_set(version: str, talk: Talk) -> None:
    timeout: Any = {"speech_start_timeout": duration_pb2.Duration(nanos=300_000_000)}
    async with Emulator(Options(port=0)) as emulator:
        first = config(version, events=True, timeouts=timeout)
        seen = await talk(emulator.target, version, [first, *pieces(version, "[300]")], True)
    assert seen.error is None
    names = [response.speech_event_type.name for response in seen.responses if response.speech_event_type]
    assert names == ([] if version == "v2" else ["SPEECH_ACTIVITY_TIMEOUT"])


@pytest.mark.parametrize(("version", "talk"), [client for client in CLIENTS if client.values[0] in OLD])
async def test_single_utterance(version: str, talk: Talk) -> None:
    async with Emulator(Options(port=0)) as emulator:
        seen = await talk(emulator.target, version, [config(version, single=True), *pieces(version)], True)
    assert seen.error is None  # the server ends the stream by itself
    assert seen.finals == ["apple arrow autumn"]
    kinds = [response.speech_event_type.name for response in seen.responses if response.speech_event_type]
    assert kinds == ["END_OF_SINGLE_UTTERANCE"]


async def test_other_methods_are_unimplemented() -> None:
    import grpc.aio

    async with Emulator(Options(port=0)) as emulator, grpc.aio.insecure_channel(emulator.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/google.cloud.speech.v1.Speech/Recognize")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
