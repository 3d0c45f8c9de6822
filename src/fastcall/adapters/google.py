"""Google Cloud Speech-to-Text (v1p1beta1) by gRPC, and whatever speaks its protocol.

The types and credentials are those of google-cloud-speech; the requests are not: audio goes out as ready-made bytes
(a protobuf tag, a length, the PCM), because a proto-plus object costs forty times as much. Retries are off: the
client library's own would hang for 5000 s and hide the cause; what to do about an error is the session's matter.

Source: https://cloud.google.com/speech-to-text/docs/reference/rpc/google.cloud.speech.v1p1beta1
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import google.auth
import google.auth.exceptions
import grpc
import grpc.aio
from google.cloud import speech_v1p1beta1 as speech
from google.cloud.speech_v1p1beta1.services.speech.transports import SpeechGrpcAsyncIOTransport

from fastcall.errors import UsageError
from fastcall.events import SAMPLE_RATE_HZ
from fastcall.ports import RecognizerStream, StreamConfig, StreamEnd, StreamListener, StreamResult, StreamWord
from fastcall.rules.rollover import CircuitBreaker

__all__ = ["GoogleRecognizer", "audio_request", "config_request"]

log = logging.getLogger("fastcall.google")

METHOD = "/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize"
ENDPOINT = "speech.googleapis.com:443"

# A connection carries 100 streams and queues further ones in silence; 80 leaves room for overlaps.
STREAMS_PER_CHANNEL = 80
# Batches that may wait in a stream before it is no longer writable: one on its way and one behind it.
MAX_PENDING = 2

# Every language has it.
DEFAULT_MODEL = "default"

_Response = speech.StreamingRecognizeResponse.pb()


def audio_request(pcm: bytes) -> bytes:
    """A serialised ``StreamingRecognizeRequest`` that carries ``pcm`` (LINEAR16, under 2 MiB).

    ``audio_content`` is field 2, length-delimited: tag 0x12, the length as a varint, the bytes.
    """
    length = len(pcm)
    if length < 1 << 7:
        prefix = bytes((0x12, length))
    elif length < 1 << 14:
        prefix = bytes((0x12, length & 0x7F | 0x80, length >> 7))
    else:
        prefix = bytes((0x12, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14))
    return prefix + pcm


def config_request(config: StreamConfig) -> bytes:
    """The serialised first request of a stream."""
    recognition = speech.RecognitionConfig(
        encoding=speech.RecognitionConfig.AudioEncoding.LINEAR16,
        sample_rate_hertz=SAMPLE_RATE_HZ,
        audio_channel_count=1,
        language_code=config.language,
        model=config.model,
        enable_word_time_offsets=True,
        enable_automatic_punctuation=True,
    )
    if config.phrases:
        recognition.speech_contexts = [speech.SpeechContext(phrases=list(config.phrases))]
    request = speech.StreamingRecognizeRequest(
        streaming_config=speech.StreamingRecognitionConfig(config=recognition, interim_results=True)
    )
    return bytes(speech.StreamingRecognizeRequest.serialize(request))


class GoogleRecognizer:
    """Opens streams over a pool of channels, each a connection of its own. One event loop; shared by its calls.

    :param emulator_host: ``host:port`` of a plaintext StreamingRecognize server; no credentials are looked for
    :param source: what results say that they come from
    :raises UsageError: Google is meant and there are no usable credentials
    """

    def __init__(self, *, emulator_host: str | None = None, source: str | None = None) -> None:
        self._emulator_host = emulator_host
        self._source = source or ("emulator" if emulator_host else "google")
        self._credentials = None if emulator_host else _default_credentials()
        self._channels: list[_Channel] = []
        self._streams: set[_Stream] = set()
        self._breaker = CircuitBreaker()
        self._refused_models: set[tuple[str, str]] = set()

    @property
    def source(self) -> str:
        """``google`` or ``emulator``."""
        return self._source

    @property
    def breaker(self) -> CircuitBreaker:
        """Shared by all calls."""
        return self._breaker

    def model_for(self, config: StreamConfig) -> StreamConfig:
        """``config``, or the same with the model ``default``; see the port."""
        if (config.model, config.language) in self._refused_models:
            return replace(config, model=DEFAULT_MODEL)
        return config

    def model_refused(self, config: StreamConfig) -> None:
        """Remember it; see the port."""
        self._refused_models.add((config.model, config.language))

    @property
    def open_streams(self) -> int:
        """Streams that have not ended."""
        return len(self._streams)

    @property
    def connections(self) -> int:
        """Channels in the pool."""
        return len(self._channels)

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        """Begin a stream; see the port."""
        channel = next((c for c in self._channels if c.streams < STREAMS_PER_CHANNEL), None)
        if channel is None:
            channel = _Channel(self._new_channel())
            self._channels.append(channel)
        stream = _Stream(channel, config_request(config), listener, self._streams.discard)
        self._streams.add(stream)
        return stream

    async def aclose(self) -> None:
        """End all streams and close all connections."""
        tasks = [stream.task for stream in self._streams]
        for stream in tuple(self._streams):
            stream.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        channels, self._channels = self._channels, []
        for channel in channels:
            await channel.grpc.close()

    def _new_channel(self) -> grpc.aio.Channel:
        # Channels with equal arguments would share one connection, and with it one limit of streams.
        options = [("grpc.use_local_subchannel_pool", 1)]
        if self._emulator_host:
            return grpc.aio.insecure_channel(self._emulator_host, options=options)
        return SpeechGrpcAsyncIOTransport.create_channel(ENDPOINT, credentials=self._credentials, options=options)


def _default_credentials() -> Any:
    try:
        credentials, _project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise UsageError(
            f"no usable Google credentials ({str(error).splitlines()[0]}): set GOOGLE_APPLICATION_CREDENTIALS to the "
            "key file of a service account, or SPEECH_EMULATOR_HOST to an emulator"
        ) from error
    return credentials


class _Channel:
    """One connection and how many streams it carries."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.grpc = channel
        self.streams = 0
        self.method: Any = channel.stream_stream(
            METHOD, request_serializer=None, response_deserializer=_Response.FromString
        )


class _Stream:
    """One StreamingRecognize call: a task that writes what is pending and a task that reads.

    Owner of the gRPC call; ``stream_ended`` is the last thing that the listener hears.
    """

    def __init__(
        self,
        channel: _Channel,
        first_request: bytes,
        listener: StreamListener,
        on_end: Callable[[_Stream], None],
    ) -> None:
        self._channel = channel
        self._listener = listener
        self._on_end = on_end
        self._pending: deque[bytes] = deque((first_request,))
        self._half_closed = False
        self._cancelled = False
        self._was_full = False
        self._wake = asyncio.Event()
        self._call: Any = None
        channel.streams += 1
        self.task = asyncio.get_running_loop().create_task(self._run())

    @property
    def writable(self) -> bool:
        """Whether another batch may be written now."""
        if len(self._pending) < MAX_PENDING:
            return not self._half_closed
        self._was_full = True
        return False

    def write(self, pcm: bytes) -> None:
        """Send audio; see the port."""
        if not self._half_closed:
            self._pending.append(audio_request(pcm))
            self._wake.set()

    def half_close(self) -> None:
        """No more audio; see the port."""
        self._half_closed = True
        self._wake.set()

    def cancel(self) -> None:
        """Give up; see the port."""
        self._cancelled = True
        # Before the task's first step there is no call; it will see the flag, and tell the end.
        if self._call is not None:
            self._call.cancel()

    async def _run(self) -> None:
        end = StreamEnd("CANCELLED", "given up before it was connected")
        try:
            if not self._cancelled:
                self._call = self._channel.method(timeout=None)
                end = await self._converse()
        except asyncio.CancelledError:
            if not self._cancelled:
                end = StreamEnd("CANCELLED", "the event loop is closing")
            if self._call is not None:
                self._call.cancel()
        finally:
            self._half_closed = True
            self._channel.streams -= 1
            self._on_end(self)
            self._listener.stream_ended(end)

    async def _converse(self) -> StreamEnd:
        """Write and read until the call is over."""
        writer = asyncio.get_running_loop().create_task(self._write_all())
        try:
            return await self._read_all()
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write_all(self) -> None:
        """Ends with the stream: after the half-close, or when gRPC says that the call is over.

        Why it is over is told to the reader, so these errors need no second report.
        """
        try:
            while True:
                while self._pending:
                    await self._call.write(self._pending[0])
                    self._pending.popleft()
                    if self._was_full and len(self._pending) < MAX_PENDING:
                        self._was_full = False
                        self._listener.stream_writable()
                if self._half_closed:
                    await self._call.done_writing()
                    return
                self._wake.clear()
                await self._wake.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            log.debug("writing ended: %s", error)

    async def _read_all(self) -> StreamEnd:
        try:
            while True:
                response = await self._call.read()
                if response is grpc.aio.EOF:
                    break
                if response.HasField("error"):
                    self._call.cancel()
                    status = next((c for c in grpc.StatusCode if c.value[0] == response.error.code), None)
                    return StreamEnd(status.name if status else "UNKNOWN", response.error.message)
                results = [_result(result) for result in response.results if result.alternatives]
                if results:
                    self._listener.stream_results(results)
        except grpc.aio.AioRpcError as error:
            return StreamEnd(error.code().name, error.details() or "")
        code = await self._call.code()
        return StreamEnd(code.name, await self._call.details() or "")


def _result(result: Any) -> StreamResult:
    best = result.alternatives[0]
    return StreamResult(
        best.transcript,
        result.is_final,
        _samples(result.result_end_time),
        tuple(StreamWord(w.word, _samples(w.start_time), _samples(w.end_time)) for w in best.words),
    )


def _samples(duration: Any) -> int:
    return int(duration.seconds * SAMPLE_RATE_HZ + duration.nanos * SAMPLE_RATE_HZ // 1_000_000_000)
