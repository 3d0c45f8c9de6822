"""The certificates that the uplinks trust."""

from __future__ import annotations

import ssl

from fastcall.errors import UsageError

__all__ = ["client_tls", "read_roots"]


def read_roots(path: str | None) -> bytes | None:
    """The certificates in a file (PEM), None without one.

    :raises UsageError: it has none
    """
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            roots = file.read()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=roots.decode("ascii"))
    except (OSError, ValueError) as error:
        raise UsageError(f"STT_TLS_ROOTS={path}: no PEM certificates can be read from it: {error}") from error
    return roots


def client_tls(roots: bytes | None = None) -> ssl.SSLContext:
    """TLS as required by gRPC: certificates and names are checked, HTTP/2 is negotiated by ALPN.

    :param roots: PEM certificates to trust instead of the system's
    :raises ssl.SSLError: they are invalid
    """
    context = ssl.create_default_context(cadata=roots.decode("ascii") if roots else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context
