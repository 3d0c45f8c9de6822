"""Chooses one of the two uplinks and creates it."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from fastcall import _http2
from fastcall._version import __version__
from fastcall.errors import UsageError
from fastcall.google.access_tokens import TokenSource
from fastcall.google.route import Route
from fastcall.google.tls import client_tls, read_roots
from fastcall.google.uplink import Connection
from fastcall.settings import UPLINKS

__all__ = ["Uplink", "make_uplink"]

log = logging.getLogger("fastcall.google")


class Uplink(Protocol):
    """Creates connections to one address. Loop thread only; call ``aclose`` after closing the connections."""

    name: str
    """``native`` or ``grpcio``."""
    route: Route
    """The route of its connections."""

    def connect(self) -> Connection:
        """A new connection."""

    async def aclose(self) -> None:
        """Release what the connections share."""


def make_uplink(name: str, address: str, *, credentials: Any, tls: bool, tls_roots: str | None = None) -> Uplink:
    """The uplink of this name (``native``, ``grpcio`` or ``auto``) to ``address`` (``host:port``).

    :param credentials: google-auth's; None: none are needed
    :param tls_roots: a file of PEM certificates to trust in place of the system's
    :raises UsageError: the name is unknown, ``native`` was requested without libnghttp2, the address has no port, or
        the environment's proxy is malformed
    """
    if name not in UPLINKS:
        raise UsageError(f"the uplink {name!r}: use {', '.join(UPLINKS)}")
    if not address.rpartition(":")[2].isdecimal():
        raise UsageError(f"the recognizer's endpoint {address!r} has no port: use HOST:PORT")
    trusted = read_roots(tls_roots)
    route = Route.to(address)
    tokens = TokenSource(credentials) if credentials is not None else None
    if name != "grpcio":
        try:
            _http2.load()
        except OSError as missing:
            if name == "native":
                raise UsageError(
                    f"the native uplink: {missing}; install it (Debian: libnghttp2-14), or use --uplink grpcio"
                ) from missing
            log.info("%s: streams use grpcio, at several times the cost (--uplink grpcio silences this)", missing)
        else:
            return _Native(route, tokens=tokens, tls=tls, roots=trusted)
    return _Grpcio(route, tokens=tokens, tls=tls, roots=trusted)


class _Native:
    name = "native"

    def __init__(self, route: Route, *, tokens: TokenSource | None, tls: bool, roots: bytes | None) -> None:
        self.route = route
        self._tls = client_tls(roots) if tls else None
        self._tokens = tokens
        client = f"fastcall/{__version__}"
        self._headers = (("user-agent", client), ("x-goog-api-client", f"gl-python {client}"))

    def connect(self) -> Connection:
        from fastcall.google.native import NativeConnection

        return NativeConnection(self.route, tls=self._tls, tokens=self._tokens, headers=self._headers)

    async def aclose(self) -> None:
        if self._tokens is not None:
            await self._tokens.aclose()


class _Grpcio:
    name = "grpcio"

    def __init__(self, route: Route, *, tokens: TokenSource | None, tls: bool, roots: bytes | None) -> None:
        self.route = route
        self._tokens = tokens
        self._tls = tls
        self._roots = roots

    def connect(self) -> Connection:
        import grpc
        import grpc.aio

        from fastcall.google.grpcio import GrpcioConnection

        proxy = self.route.proxy
        options: list[tuple[str, Any]] = [
            # Channels with equal arguments would share one connection, and its limit of streams.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.primary_user_agent", f"fastcall/{__version__}"),
            # It would read the environment itself, and other variables than the native uplink.
            ("grpc.enable_http_proxy", 0) if proxy is None else ("grpc.http_proxy", proxy.url),
        ]
        if self._tls:
            secure = grpc.ssl_channel_credentials(self._roots)
            channel = grpc.aio.secure_channel(self.route.address, secure, options=options)
        else:
            channel = grpc.aio.insecure_channel(self.route.address, options=options)
        return GrpcioConnection(channel, self._tokens)

    async def aclose(self) -> None:
        if self._tokens is not None:
            await self._tokens.aclose()
