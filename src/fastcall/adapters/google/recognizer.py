"""Google Cloud Speech-to-Text as a ``Recognizer``.

The types and credentials are those of google-cloud-speech; the client is not. Retries are off: the client library's own
would hang for 5000 s and hide the cause; what to do about an error is the session's matter.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import google.auth
import google.auth.exceptions
import grpc.aio
from google.cloud.speech_v1p1beta1.services.speech.transports import SpeechGrpcAsyncIOTransport

from fastcall.adapters.google.channels import Channels
from fastcall.adapters.google.dialects import Dialect, Version1, Version2
from fastcall.adapters.google.stream import GoogleStream
from fastcall.errors import UsageError
from fastcall.ports import RecognizerStream, StreamConfig, StreamEnd, StreamListener
from fastcall.rules.pool import PoolRule, WaitHistogram
from fastcall.rules.rollover import CircuitBreaker

__all__ = ["GoogleRecognizer"]

# Every language has it.
DEFAULT_MODEL = "default"


class GoogleRecognizer:
    """Opens streams over a pool of channels, each a connection of its own. One event loop; shared by its calls.

    :param emulator_host: ``host:port`` of a plaintext StreamingRecognize server; no credentials are looked for
    :param source: what results say that they come from
    :param dialect: the version of the API; by default v1p1beta1
    :param pool: when connections are added and closed
    :raises UsageError: Google is meant and there are no usable credentials
    """

    def __init__(
        self,
        *,
        emulator_host: str | None = None,
        source: str | None = None,
        dialect: Dialect | None = None,
        pool: PoolRule | None = None,
    ) -> None:
        self._emulator_host = emulator_host
        self._source = source or ("emulator" if emulator_host else "google")
        self._credentials = None if emulator_host else _default_credentials()[0]
        self._dialect = dialect or Version1()
        self._channels = Channels(self._connect, method=self._dialect.method, parse=self._dialect.parse, rule=pool)
        self._streams: set[GoogleStream] = set()
        self._breaker = CircuitBreaker()
        self._refused_models: set[tuple[str, str]] = set()
        self.stream_waits = WaitHistogram()
        """From ``open`` until the first request had gone out: connecting, and waiting for a place in a connection."""

    @classmethod
    def version2(
        cls,
        *,
        emulator_host: str | None = None,
        project: str | None = None,
        location: str = "global",
        sensitivity: str | None = None,
    ) -> GoogleRecognizer:
        """One that speaks v2.

        :param project: the project's id; by default that of the credentials
        :param location: see ``Version2``
        :param sensitivity: see ``Version2``
        :raises UsageError: no credentials, no project, or a location that cannot be one
        """
        if not project:
            project = "emulator" if emulator_host else _default_credentials()[1]
        if not project:
            raise UsageError(
                "Speech-to-Text v2 needs the id of a project, and the credentials name none: set GOOGLE_CLOUD_PROJECT"
            )
        dialect = Version2(project=project, location=location, sensitivity=sensitivity)
        return cls(emulator_host=emulator_host, dialect=dialect)

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
        return self._channels.count

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        """Begin a stream; see the port."""
        channel = self._channels.take()

        def begun(wait_s: float) -> None:
            self.stream_waits.add(wait_s)
            self._channels.began(channel)

        first_request = self._dialect.config_request(config)
        stream = GoogleStream(channel, self._dialect, first_request, listener, on_begin=begun, on_end=self._ended)
        self._streams.add(stream)
        return stream

    async def aclose(self) -> None:
        """End all streams and close all connections."""
        tasks = [stream.task for stream in self._streams]
        for stream in tuple(self._streams):
            stream.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._channels.aclose()

    def _ended(self, stream: GoogleStream, end: StreamEnd) -> None:
        self._streams.discard(stream)
        self._channels.give_back(stream.channel, never_began=not stream.has_begun and end.code == "UNAVAILABLE")

    def _connect(self) -> grpc.aio.Channel:
        # Channels with equal arguments would share one connection, and with it one limit of streams.
        options = [("grpc.use_local_subchannel_pool", 1)]
        if self._emulator_host:
            return grpc.aio.insecure_channel(self._emulator_host, options=options)
        endpoint = self._dialect.endpoint
        return SpeechGrpcAsyncIOTransport.create_channel(endpoint, credentials=self._credentials, options=options)


def _default_credentials() -> tuple[Any, str | None]:
    try:
        credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise UsageError(
            f"no usable Google credentials ({str(error).splitlines()[0]}): set GOOGLE_APPLICATION_CREDENTIALS to the "
            "key file of a service account, or SPEECH_EMULATOR_HOST to an emulator"
        ) from error
    return credentials, project
