"""How a gRPC call ended, derived from its HTTP/2 response. Pure.

Sources: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (responses, errors),
https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md, RFC 9113 section 7 (error codes).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

__all__ = ["REFUSED_STREAM", "STATUS_NAMES", "header_block", "status_of"]

STATUS_NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""Indexed by number."""

_OF_HTTP = {
    400: "INTERNAL",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "UNIMPLEMENTED",
    429: "UNAVAILABLE",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "UNAVAILABLE",
}
# HTTP/2 error codes of RST_STREAM; those not listed are INTERNAL.
REFUSED_STREAM, _CANCEL, _ENHANCE_YOUR_CALM, _INADEQUATE_SECURITY = 7, 8, 11, 12
_OF_RESET = {
    REFUSED_STREAM: "UNAVAILABLE",
    _CANCEL: "CANCELLED",
    _ENHANCE_YOUR_CALM: "RESOURCE_EXHAUSTED",
    _INADEQUATE_SECURITY: "PERMISSION_DENIED",
}
# Longer messages are cut.
MAX_MESSAGE_LETTERS = 1000


def status_of(code: int, headers: Sequence[tuple[bytes, bytes]], fault: str | None = None) -> tuple[str, str]:
    """The status by name, and the peer's message.

    :param code: the HTTP/2 error code that the stream ended with; 0 if it ended regularly
    :param headers: the response's headers and trailers, in order of arrival
    :param fault: the peer's protocol violation, if the client ended the stream because of it
    """
    fields = dict(headers)
    number, http = fields.get(b"grpc-status"), fields.get(b":status", b"")
    kind = fields.get(b"content-type", b"")
    if number is not None and fault is None:
        return _name(number), _text(fields.get(b"grpc-message", b""))
    if http and http != b"200":
        status = _OF_HTTP.get(int(http) if http.isdigit() else 0, "UNKNOWN")
        return status, f"the peer answered with HTTP status {_text(http)}"
    if http and not kind.startswith(b"application/grpc"):
        return "UNKNOWN", f"the peer answered with the content type {_text(kind)!r}, which is not gRPC's"
    if fault is not None:
        return "INTERNAL", fault
    if code:
        return _OF_RESET.get(code, "INTERNAL"), f"the peer reset the stream with HTTP/2 error code {code}"
    return "UNKNOWN", "the peer ended the stream without a status"


def header_block(*fields: tuple[str, str]) -> bytes:
    """Names and values as ``fastcall._http2`` takes them, each terminated by a NUL byte.

    :raises ValueError: a character is not allowed in HTTP headers
    """
    for name, value in fields:
        if not (name + value).isascii() or not (name + value).isprintable():
            raise ValueError(f"the header {name} contains a character that HTTP does not allow")
    return b"".join(f"{name}\0{value}\0".encode("ascii") for name, value in fields)


def _name(number: bytes) -> str:
    value = int(number) if number.isdigit() and len(number) < 4 else len(STATUS_NAMES)
    return STATUS_NAMES[value] if value < len(STATUS_NAMES) else "UNKNOWN"


def _text(value: bytes) -> str:
    """A header's value as text: percent-decoded, as gRPC encodes it; invalid UTF-8 is replaced, never an error."""
    return unquote_to_bytes(value).decode("utf-8", "replace")[:MAX_MESSAGE_LETTERS]
