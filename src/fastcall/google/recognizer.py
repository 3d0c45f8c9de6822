"""Google Cloud Speech-to-Text as a ``Recognizer``.

Uses the types of google-cloud-speech and the credentials of google-auth, but not their client. It never retries: the
client library would retry for 5000 s and hide the cause, while the session handles errors itself.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from fastcall.errors import UsageError
from fastcall.google.api_versions import ApiVersion, Version1, Version2
from fastcall.google.channels import Channels
from fastcall.google.credentials import default_credentials, fit
from fastcall.google.endpoints import speech_endpoint
from fastcall.google.pool import PoolRule
from fastcall.google.uplink import Connection, OpenStream, StreamRequest
from fastcall.google.uplinks import make_uplink
from fastcall.ports import RecognizerStream, StreamConfig, StreamEnd, StreamListener
from fastcall.retry import CircuitBreaker

__all__ = ["GoogleRecognizer", "credentials_for"]

# Available for every language.
DEFAULT_MODEL = "default"


class GoogleRecognizer:
    """Opens streams over a pool of connections. One event loop; shared by its calls.

    :param emulator_host: ``host:port`` of a plaintext StreamingRecognize server; needs no credentials
    :param endpoint: Google's, as ``host:port``; by default the global one
    :param credentials: google-auth's, see ``credentials_for``; by default Application Default Credentials
    :param source: the ``source`` of results; by default ``google`` or ``emulator``
    :param api_version: the version of the API; by default v1p1beta1
    :param pool: when connections are added and closed
    :param uplink: which implementation carries the streams: ``native`` (libnghttp2 on the event loop), ``grpcio``, or
        ``auto``: native where the library is installed
    :param tls_roots: a file of PEM certificates to trust in place of the system's; with it, ``emulator_host`` is
        contacted over TLS
    :raises UsageError: there are no usable credentials for Google, ``native`` is requested without libnghttp2, the
        address is malformed, or the certificates cannot be read
    """

    def __init__(
        self,
        *,
        emulator_host: str | None = None,
        endpoint: str | None = None,
        credentials: Any = None,
        source: str | None = None,
        api_version: ApiVersion | None = None,
        pool: PoolRule | None = None,
        uplink: str = "auto",
        tls_roots: str | None = None,
    ) -> None:
        self._source = source or ("emulator" if emulator_host else "google")
        self._api_version = api_version or Version1()
        if not emulator_host and credentials is None:
            credentials = credentials_for(None, None)[0]
        self.address = emulator_host or endpoint or speech_endpoint("v1")
        """The recognizer's address, as ``host:port``."""
        self._uplink = make_uplink(
            uplink,
            self.address,
            credentials=credentials,
            tls=emulator_host is None or tls_roots is not None,
            tls_roots=tls_roots,
        )
        self._channels = Channels(self._uplink.connect, rule=pool)
        # Building one costs 100 us, and all streams of a server start with the same.
        self._first_request = lru_cache(maxsize=64)(self._api_version.config_request)
        self._open_streams = 0
        self._breaker = CircuitBreaker()
        self._refused_models: set[tuple[str, str]] = set()

    @classmethod
    def create(
        cls,
        version: str = "v1",
        *,
        emulator_host: str | None = None,
        endpoint: str | None = None,
        credentials: Any = None,
        project: str | None = None,
        location: str = "global",
        sensitivity: str | None = None,
        universe_domain: str | None = None,
        uplink: str = "auto",
        tls_roots: str | None = None,
    ) -> GoogleRecognizer:
        """Create one from settings, on the event loop's thread. Without an emulator and ``credentials`` it looks for
        credentials, which may take seconds: see ``credentials_for``.

        :param version: ``v1`` (v1p1beta1) or ``v2``
        :param emulator_host: see the class
        :param endpoint: Google's, as ``host:port``, instead of the one for version and location
        :param credentials: google-auth's; by default Application Default Credentials
        :param project: v2: the project's id; by default that of the credentials
        :param location: ``global``, ``us``, ``eu`` or, for v2, a region; models differ between them
        :param sensitivity: v2: see ``Version2``
        :param universe_domain: by default ``googleapis.com``
        :raises UsageError: as the class; and no project, or a location that the version does not support
        """
        if version == "v1" and endpoint is not None and location != "global":
            raise UsageError(f"GCP_STT_LOCATION={location} and the endpoint {endpoint}: set only one of them")
        # Before the credentials, to fail fast.
        address = speech_endpoint(version, location, universe_domain)
        if emulator_host is None:
            credentials, found = credentials_for(credentials, universe_domain)
            project = project or found
        else:
            project = project or "emulator"
        api_version = Version1() if version == "v1" else _version2(project, location, sensitivity)
        return cls(
            emulator_host=emulator_host,
            endpoint=endpoint or address,
            credentials=credentials,
            api_version=api_version,
            uplink=uplink,
            tls_roots=tls_roots,
        )

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
        """Record it; see the port."""
        self._refused_models.add((config.model, config.language))

    @property
    def open_streams(self) -> int:
        """Streams that have not ended."""
        return self._open_streams

    @property
    def connections(self) -> int:
        """Connections in the pool."""
        return self._channels.count

    @property
    def uplink(self) -> str:
        """``native`` or ``grpcio``: the uplink in use."""
        return self._uplink.name

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        """Begin a stream; see the port."""
        number, connection = self._channels.take()
        self._open_streams += 1

        def begun() -> None:
            self._channels.began(number)

        def elsewhere() -> Connection:
            nonlocal number
            refused = number
            number, other = self._channels.take(but=refused)
            # Afterwards: `take` has updated whether the refused one is gone and must be closed.
            self._channels.give_back(refused, never_began=False)
            return other

        def ended(stream: OpenStream, end: StreamEnd) -> None:
            self._open_streams -= 1
            self._channels.give_back(number, never_began=not stream.has_begun and end.code == "UNAVAILABLE")

        request = StreamRequest(
            self._api_version,
            self._first_request(config),
            listener,
            on_begin=begun,
            on_end=ended,
            elsewhere=elsewhere,
        )
        return connection.open(request)

    async def reach(self) -> None:
        """Connect as streams do, and disconnect.

        :raises OSError: the connection failed
        """
        await self._uplink.route.reach()

    async def aclose(self) -> None:
        """End all streams and close all connections."""
        await self._channels.aclose()
        await self._uplink.aclose()


def _version2(project: str | None, location: str, sensitivity: str | None) -> Version2:
    if not project:
        raise UsageError(
            "Speech-to-Text v2 needs a project's id, and the credentials name none: set GOOGLE_CLOUD_PROJECT"
        )
    return Version2(project=project, location=location, sensitivity=sensitivity)


def credentials_for(credentials: Any, universe_domain: str | None) -> tuple[Any, str | None]:
    """Credentials for Speech-to-Text, and their project. May take seconds: not for an event loop's thread.

    :param credentials: google-auth's; None: Application Default Credentials
    :raises UsageError: there are none, or they belong to another universe
    """
    project = getattr(credentials, "project_id", None)
    if credentials is None:
        credentials, project = default_credentials()
    return fit(credentials, universe_domain), project
