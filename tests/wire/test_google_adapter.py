"""Recognizers that are down, that refuse, that come back: what the call says of it, and what becomes of its words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud import speech_v1p1beta1 as speech
from google.cloud import speech_v2

from fastcall import mulaw_decode_fast
from fastcall.errors import UsageError
from fastcall.google.api_versions import Version1, Version2
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.ports import StreamConfig
from listeners import KeepingListener
from peers import (
    CERTIFICATE,
    KEY,
    Phone,
    both_uplinks,
    google_recognizer,
    serving,
    start_emulator,
    tones,
    way,
)

METHOD = "/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Refusing(grpc.GenericRpcHandler):
    """A StreamingRecognize that answers each call with the same status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self._code, self._message = code, message
        self.metadata: list[dict[str, Any]] = []

    def service(self, details: Any) -> Any:
        def refuse(requests: Any, context: Any) -> Iterator[bytes]:
            self.metadata.append(dict(context.invocation_metadata()))
            context.abort(self._code, self._message)
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)


@contextlib.contextmanager
def refusing(code: grpc.StatusCode, message: str) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Refusing(code, message),))
    if way()["stt_tls_roots"]:
        pair = (Path(KEY).read_bytes(), Path(CERTIFICATE).read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials((pair,)))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("fastcall")
    ]


async def test_words_that_were_said_while_the_recognizer_was_down_come_out_when_it_is_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    async with serving(f"127.0.0.1:{port}") as served, Phone(served.url, "down") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple arrow [900]"))
        failed = await served.transcripts.wait_for(phone.call_sid, "session_failed")
        assert failed["text"].startswith("UNAVAILABLE: ")
        await phone.speak(tones("autumn badge [900]"))
        emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "0", port=port)
        try:
            await served.transcripts.wait_for(phone.call_sid, "session_rotated")
            await phone.speak(tones("[200] basket [900]"))
            await served.hang_up(phone)
        finally:
            await asyncio.to_thread(emulator.stop)
    names = [record["event"] for record in served.transcripts.of(phone.call_sid)]
    assert names.count("session_started") == names.count("session_closed") == 1
    assert names.count("session_failed") == names.count("session_rotated") == 1
    assert [r["text"] for r in served.transcripts.of(phone.call_sid, "session_rotated")] == ["reconnect"]
    assert served.transcripts.utterances(phone.call_sid) == ["apple arrow", "autumn badge", "basket"]
    (line,) = warnings_of(caplog)
    assert line.startswith("recognition is interrupted: UNAVAILABLE: ")
    assert "Check the network, or that SPEECH_EMULATOR_HOST names a running emulator" in line


@both_uplinks
async def test_a_recognizer_that_dies_in_mid_call_is_replaced_and_no_word_is_lost() -> None:
    first = await asyncio.to_thread(start_emulator, "--final-delay-s", "0")
    port = int(first.ready[1].rpartition(":")[2])
    async with serving(first.ready[1]) as served, Phone(served.url, "dies") as phone:
        await phone.start()
        await phone.speak(tones("[300] apple arrow [900]"))
        await served.transcripts.wait_for(phone.call_sid, "final")
        await phone.speak(tones("autumn badge"))
        # A telephone does not wait for it: a second without audio would be the end of the utterance.
        await asyncio.gather(asyncio.to_thread(first.stop), phone.speak(tones("basket [900]")))
        second = await asyncio.to_thread(start_emulator, "--final-delay-s", "0", port=port)
        try:
            await served.transcripts.wait_for(phone.call_sid, "session_rotated")
            await phone.speak(tones("[200] beacon [900]"))
            await served.hang_up(phone)
        finally:
            await asyncio.to_thread(second.stop)
    assert served.transcripts.utterances(phone.call_sid) == ["apple arrow", "autumn badge basket", "beacon"]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "set GOOGLE_APPLICATION_CREDENTIALS"),
        (grpc.StatusCode.PERMISSION_DENIED, "enable the API in its project"),
        (grpc.StatusCode.UNIMPLEMENTED, "check its address"),
        (grpc.StatusCode.INVALID_ARGUMENT, "check GCP_STT_LANGUAGE and GCP_STT_MODEL"),
    ],
)
async def test_a_refusal_that_no_retry_can_mend_is_told_once_and_the_call_goes_on(
    code: grpc.StatusCode, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing(code, "go away") as address:
        async with serving(address) as served, Phone(served.url, "refused") as phone:
            await phone.start()
            await phone.speak(tones("[300] apple [900]"))
            failed = await served.transcripts.wait_for(phone.call_sid, "session_failed")
            assert failed["text"] == f"{code.name}: go away"
            await phone.speak(tones("arrow [900]"))
            await served.hang_up(phone)
    names = [record["event"] for record in served.transcripts.of(phone.call_sid)]
    failures = [record["text"] for record in served.transcripts.of(phone.call_sid, "session_failed")]
    assert failures == [f"{code.name}: go away"]
    assert names.count("utterance_begin") == names.count("utterance_end") == 2
    (line,) = warnings_of(caplog)
    assert line.startswith(f"recognition failed: {code.name}: go away. ")
    assert advice in line


@both_uplinks
@pytest.mark.parametrize(
    ("code", "message", "models"),
    [
        (grpc.StatusCode.INTERNAL, "The requested locale is not available for the latest_long model.", 2),
        (grpc.StatusCode.INVALID_ARGUMENT, 'No "gu-IN" language code for the "chirp_2" model', 2),
        (grpc.StatusCode.INVALID_ARGUMENT, "Invalid recognition 'config': bad language code..", 1),
    ],
)
async def test_a_language_that_no_model_has_is_told_once_and_names_the_setting(
    code: grpc.StatusCode, message: str, models: int, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing(code, message) as address:
        async with serving(address, language="gu-IN", model="latest_long") as served, Phone(served.url, "gu") as phone:
            await phone.start()
            await phone.say(tones("[300] apple [900]"))
            assert (await served.transcripts.wait_for(phone.call_sid, "session_failed"))["text"].startswith(code.name)
            await served.hang_up(phone)
    assert len(served.transcripts.of(phone.call_sid, "session_failed")) == 1
    *changes, line = warnings_of(caplog)
    assert len(changes) == models - 1
    assert line.startswith(f"recognition failed: {code.name}: ")
    assert "GCP_STT_LANGUAGE" in line


async def test_a_model_that_the_language_does_not_have_is_replaced_once_for_all_calls(
    caplog: pytest.LogCaptureFixture,
) -> None:
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "0")
    try:
        async with serving(emulator.ready[1], language="he-IL", model="phone_call") as served:
            for name in ("first", "second"):
                async with Phone(served.url, name) as phone:
                    assert await served.take_call(phone, "[300] apple arrow [500]", at_pace=True) == ["apple arrow"]
    finally:
        await asyncio.to_thread(emulator.stop)
    (line,) = warnings_of(caplog)
    assert line.startswith("model phone_call does not support language he-IL")
    assert "GCP_STT_MODEL=default" in line


@both_uplinks
async def test_fifty_calls_that_begin_together_on_a_fresh_server_with_a_model_that_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each has opened its first stream before any of them hears of the refusal."""
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "0", "--max-streams", "0")
    try:
        async with contextlib.AsyncExitStack() as stack:
            served = await stack.enter_async_context(serving(emulator.ready[1], language="he-IL", model="phone_call"))
            phones = [Phone(served.url, f"together {number}") for number in range(50)]
            await asyncio.gather(*(stack.enter_async_context(phone) for phone in phones))
            await asyncio.gather(*(phone.start() for phone in phones))
            said = tones("[300] apple arrow [700]")
            await asyncio.gather(*(phone.say(said) for phone in phones))
            await asyncio.gather(*(phone.stop() for phone in phones))
            await asyncio.gather(*(phone.socket.close() for phone in phones))  # who stays is warned of
            await asyncio.gather(*(served.transcripts.wait_for(phone.call_sid, "call_ended") for phone in phones))
    finally:
        await asyncio.to_thread(emulator.stop)
    assert [served.transcripts.utterances(phone.call_sid) for phone in phones] == [["apple arrow"]] * 50
    assert [r for r in served.transcripts.records if r["event"] == "session_failed"] == []
    (line,) = warnings_of(caplog)
    assert line.startswith("model phone_call does not support language he-IL")


# --- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, "no JSON", "{}", '{"type": "service_account"}'])
def test_credentials_that_cannot_be_used_are_told_in_one_line(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(
        UsageError, match=r"^no usable Google credentials \(.*\): set GOOGLE_APPLICATION_CREDENTIALS"
    ) as e:
        GoogleRecognizer()
    assert "\n" not in str(e.value)


# --- the wire --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 127, 128, 2400, 14_400, 16_383, 16_384, 1 << 20])
def test_ready_made_requests_are_what_googles_types_read(length: int) -> None:
    pcm = bytes(range(256)) * (length // 256) + bytes(length % 256)
    assert speech.StreamingRecognizeRequest.deserialize(Version1().audio_request(pcm)).audio_content == pcm
    two = Version2(project="p").audio_request(pcm)
    assert speech_v2.StreamingRecognizeRequest.deserialize(two).audio == pcm


def test_the_first_request_asks_for_interims_word_times_and_the_telephones_audio() -> None:
    request = speech.StreamingRecognizeRequest.deserialize(
        Version1().config_request(
            StreamConfig("he-IL", "phone_call", phrases=("yes", "no"), alternative_languages=("en-US", "ar-IL"))
        )
    )
    streaming = request.streaming_config
    assert (streaming.interim_results, streaming.single_utterance) == (True, False)
    config = streaming.config
    assert (config.encoding.name, config.sample_rate_hertz, config.language_code) == ("LINEAR16", 8000, "he-IL")
    assert (config.model, config.enable_word_time_offsets) == ("phone_call", True)
    assert list(config.speech_contexts[0].phrases) == ["yes", "no"]
    assert list(config.alternative_language_codes) == ["en-US", "ar-IL"]


@contextlib.asynccontextmanager
async def recognizer_at(address: str) -> AsyncIterator[GoogleRecognizer]:
    recognizer = google_recognizer(address)
    try:
        yield recognizer
    finally:
        await recognizer.aclose()


@both_uplinks
async def test_each_connection_carries_at_most_80_streams(prompt_emulator: str) -> None:
    config = StreamConfig("en-US", "default")
    async with recognizer_at(prompt_emulator) as recognizer:
        listeners = [KeepingListener() for _ in range(81)]
        streams = [recognizer.open(config, listener) for listener in listeners]
        assert (recognizer.open_streams, recognizer.connections) == (81, 2)
        for stream in streams:
            stream.write(bytes(3200))
            stream.half_close()
        assert {(await listener.wait_over()).code for listener in listeners} == {"OK"}
        assert recognizer.open_streams == 0
        assert [len(listener.ends) for listener in listeners] == [1] * 81


@both_uplinks
async def test_a_stream_that_is_given_up_ends_once_with_cancelled(prompt_emulator: str) -> None:
    config = StreamConfig("en-US", "default")
    async with recognizer_at(prompt_emulator) as recognizer:
        early, late = KeepingListener(), KeepingListener()
        recognizer.open(config, early).cancel()
        stream = recognizer.open(config, late)
        stream.write(bytes(3200))
        await asyncio.sleep(0)
        stream.cancel()
        stream.cancel()
        assert (await early.wait_over()).code == "CANCELLED"
        assert (await late.wait_over()).code == "CANCELLED"
        stream.write(bytes(3200))
        stream.half_close()
    assert (len(early.ends), len(late.ends)) == (1, 1)


@both_uplinks
async def test_words_have_times_in_samples_of_the_stream(prompt_emulator: str) -> None:
    pcm = mulaw_decode_fast(tones("[1000] apple [200] arrow [300]"))
    listener = KeepingListener()
    async with recognizer_at(prompt_emulator) as recognizer:
        stream = recognizer.open(StreamConfig("en-US", "default"), listener)
        for at in range(0, len(pcm), 3200):
            stream.write(pcm[at : at + 3200])
        stream.half_close()
        assert (await listener.wait_over()).code == "OK"
    final = next(result for result in listener.results if result.is_final)
    assert final.text == "apple arrow"
    assert [word.text for word in final.words] == ["apple", "arrow"]
    assert [word.start_sample for word in final.words] == pytest.approx([8000, 11_200], abs=200)
    assert final.end_sample >= final.words[-1].end_sample
