"""Google Cloud Speech-to-Text as a ``Recognizer``.

The types and credentials are those of google-cloud-speech; the client is not. Retries are off: the client library's own
would hang for 5000 s and hide the cause; what to do about an error is the session's matter.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import google.auth
import google.auth.exceptions

from fastcall.adapters.google.channels import Channels
from fastcall.adapters.google.dialects import Dialect, Version1, Version2
from fastcall.adapters.google.uplink import Connection, OpenStream, StreamRequest
from fastcall.adapters.google.uplinks import make_uplink
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
    :param uplink: which implementation carries the streams: ``native`` (libnghttp2 on the event loop), ``grpcio``, or
        ``auto``: native where the library is
    :param tls_roots: a file of PEM certificates to trust in place of the system's; with it ``emulator_host`` is spoken
        to by TLS
    :raises UsageError: Google is meant and there are no usable credentials, ``native`` is asked for and not there, the
        address is none, or the certificates cannot be read
    """

    def __init__(
        self,
        *,
        emulator_host: str | None = None,
        source: str | None = None,
        dialect: Dialect | None = None,
        pool: PoolRule | None = None,
        uplink: str = "auto",
        tls_roots: str | None = None,
    ) -> None:
        self._source = source or ("emulator" if emulator_host else "google")
        self._dialect = dialect or Version1()
        self._uplink = make_uplink(
            uplink,
            emulator_host or self._dialect.endpoint,
            credentials=None if emulator_host else _default_credentials()[0],
            tls=emulator_host is None or tls_roots is not None,
            tls_roots=tls_roots,
        )
        self._channels = Channels(self._uplink.connect, rule=pool)
        # Making one costs 100 us, and all streams of a server begin with the same.
        self._first_request = lru_cache(maxsize=64)(self._dialect.config_request)
        self._open_streams = 0
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
        uplink: str = "auto",
        tls_roots: str | None = None,
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
        return cls(emulator_host=emulator_host, dialect=dialect, uplink=uplink, tls_roots=tls_roots)

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
        return self._open_streams

    @property
    def connections(self) -> int:
        """Channels in the pool."""
        return self._channels.count

    @property
    def uplink(self) -> str:
        """``native`` or ``grpcio``: what was chosen."""
        return self._uplink.name

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        """Begin a stream; see the port."""
        number, connection = self._channels.take()
        self._open_streams += 1

        def begun(wait_s: float) -> None:
            self.stream_waits.add(wait_s)
            self._channels.began(number)

        def elsewhere() -> Connection:
            nonlocal number
            refused = number
            number, other = self._channels.take(but=refused)
            # After it: only now the pool knows whether that one is gone, and is to be closed.
            self._channels.give_back(refused, never_began=False)
            return other

        def ended(stream: OpenStream, end: StreamEnd) -> None:
            self._open_streams -= 1
            self._channels.give_back(number, never_began=not stream.has_begun and end.code == "UNAVAILABLE")

        request = StreamRequest(
            self._dialect,
            self._first_request(config),
            listener,
            on_begin=begun,
            on_end=ended,
            elsewhere=elsewhere,
        )
        return connection.open(request)

    async def aclose(self) -> None:
        """End all streams and close all connections."""
        await self._channels.aclose()
        await self._uplink.aclose()


def _default_credentials() -> tuple[Any, str | None]:
    try:
        credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise UsageError(
            f"no usable Google credentials ({str(error).splitlines()[0]}): set GOOGLE_APPLICATION_CREDENTIALS to the "
            "key file of a service account, or SPEECH_EMULATOR_HOST to an emulator"
        ) from error
    return credentials, project
