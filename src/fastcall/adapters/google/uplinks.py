"""Which of the two ways to the recogniser is taken, and what each is made with."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from fastcall import _http2
from fastcall._version import __version__
from fastcall.adapters.google.trust import client_tls, read_roots
from fastcall.adapters.google.uplink import Connection
from fastcall.errors import UsageError
from fastcall.settings import UPLINKS

__all__ = ["Uplink", "make_uplink"]

log = logging.getLogger("fastcall.google")


class Uplink(Protocol):
    """Makes connections to one address. Loop thread only; ``aclose`` is owed, after the connections'."""

    name: str
    """``native`` or ``grpcio``."""

    def connect(self) -> Connection:
        """A connection of its own."""

    async def aclose(self) -> None:
        """Release what the connections shared."""


def make_uplink(name: str, address: str, *, credentials: Any, tls: bool, tls_roots: str | None = None) -> Uplink:
    """The uplink of this name (``native``, ``grpcio`` or ``auto``) to ``address`` (``host:port``).

    :param credentials: google-auth's; None where none are asked for
    :param tls_roots: a file of PEM certificates to trust in place of the system's
    :raises UsageError: there is none of this name, ``native`` was asked for and libnghttp2 is not there, or the address
        is none
    """
    if name not in UPLINKS:
        raise UsageError(f"the uplink {name!r}: say {', '.join(UPLINKS)}")
    if not address.rpartition(":")[2].isdecimal():
        raise UsageError(f"the recogniser's endpoint {address!r} has no port: say HOST:PORT")
    trusted = read_roots(tls_roots)
    if name != "grpcio":
        try:
            _http2.load()
        except OSError as missing:
            if name == "native":
                raise UsageError(
                    f"the native uplink: {missing}; install it (Debian: libnghttp2-14), or say --uplink grpcio"
                ) from missing
            log.info("%s: streams go by grpcio, at several times the cost (--uplink grpcio says so silently)", missing)
        else:
            return _Native(address, credentials=credentials, tls=tls, roots=trusted)
    return _Grpcio(address, credentials=credentials, tls=tls, roots=trusted)


class _Native:
    name = "native"

    def __init__(self, address: str, *, credentials: Any, tls: bool, roots: bytes | None) -> None:
        from fastcall.adapters.google.tokens import TokenSource

        self._address = address
        self._tls = client_tls(roots) if tls else None
        self._tokens = TokenSource(credentials) if credentials is not None else None
        client = f"fastcall/{__version__}"
        self._headers = (("user-agent", client), ("x-goog-api-client", f"gl-python {client}"))

    def connect(self) -> Connection:
        from fastcall.adapters.google.native import NativeConnection

        return NativeConnection(self._address, tls=self._tls, tokens=self._tokens, headers=self._headers)

    async def aclose(self) -> None:
        if self._tokens is not None:
            await self._tokens.aclose()


class _Grpcio:
    name = "grpcio"

    def __init__(self, address: str, *, credentials: Any, tls: bool, roots: bytes | None) -> None:
        self._address = address
        self._credentials = credentials
        self._tls = tls
        self._roots = roots

    def connect(self) -> Connection:
        import grpc.aio
        from google.cloud.speech_v1p1beta1.services.speech.transports import SpeechGrpcAsyncIOTransport

        from fastcall.adapters.google.grpcio import GrpcioConnection

        # Channels with equal arguments would share one connection, and with it one limit of streams.
        options = [("grpc.use_local_subchannel_pool", 1)]
        if not self._tls:
            return GrpcioConnection(grpc.aio.insecure_channel(self._address, options=options))
        secure = grpc.ssl_channel_credentials(self._roots)
        if self._credentials is None:
            return GrpcioConnection(grpc.aio.secure_channel(self._address, secure, options=options))
        channel = SpeechGrpcAsyncIOTransport.create_channel(
            self._address, credentials=self._credentials, ssl_credentials=secure, options=options
        )
        return GrpcioConnection(channel)

    async def aclose(self) -> None:
        """Nothing is shared."""
