"""TLS of the uplinks: the certificates that they trust."""

from __future__ import annotations

import ssl

from fastcall.errors import UsageError

__all__ = ["client_tls", "read_roots"]


def read_roots(path: str | None) -> bytes | None:
    """The certificates in a file (PEM); None without a path.

    :raises UsageError: the file has none
    """
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            roots = file.read()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=roots.decode("ascii"))
    except (OSError, ValueError) as error:
        raise UsageError(f"STT_TLS_ROOTS={path}: cannot read PEM certificates from it: {error}") from error
    return roots


def client_tls(roots: bytes | None = None) -> ssl.SSLContext:
    """TLS as gRPC requires it: certificates and names are verified, HTTP/2 is negotiated by ALPN.

    :param roots: PEM certificates to trust in place of the system's
    :raises ssl.SSLError: they are malformed
    """
    context = ssl.create_default_context(cadata=roots.decode("ascii") if roots else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context
