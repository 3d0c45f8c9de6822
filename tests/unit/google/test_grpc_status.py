"""How a gRPC call ended."""

from __future__ import annotations

import grpc
import pytest

from fastcall.google.grpc_status import STATUS_NAMES, header_block, status_of

OK = [(b":status", b"200"), (b"content-type", b"application/grpc")]


def test_the_names_are_grpcs_own():
    assert tuple(c.name for c in sorted(grpc.StatusCode, key=lambda c: c.value[0])) == STATUS_NAMES


@pytest.mark.parametrize(
    ("code", "headers", "status"),
    [
        (0, [*OK, (b"grpc-status", b"0")], ("OK", "")),
        (0, [*OK, (b"grpc-status", b"11"), (b"grpc-message", b"too long")], ("OUT_OF_RANGE", "too long")),
        # Trailers only: the status comes with the headers.
        (0, [*OK, (b"grpc-status", b"16")], ("UNAUTHENTICATED", "")),
        # A status counts, whatever else is wrong.
        (8, [*OK, (b"grpc-status", b"14")], ("UNAVAILABLE", "")),
        (0, [(b":status", b"503"), (b"grpc-status", b"8")], ("RESOURCE_EXHAUSTED", "")),
        # Percent-encoding, and bytes that are neither that nor UTF-8.
        (0, [*OK, (b"grpc-status", b"3"), (b"grpc-message", b"caf%C3%A9 100%25")], ("INVALID_ARGUMENT", "café 100%")),
        (0, [*OK, (b"grpc-status", b"3"), (b"grpc-message", b"5% %zz \xff")], ("INVALID_ARGUMENT", "5% %zz \ufffd")),
        # Numbers that are none.
        (0, [*OK, (b"grpc-status", b"17")], ("UNKNOWN", "")),
        (0, [*OK, (b"grpc-status", b"-1")], ("UNKNOWN", "")),
        (0, [*OK, (b"grpc-status", b"9" * 5000)], ("UNKNOWN", "")),
        (0, [*OK, (b"grpc-status", b"")], ("UNKNOWN", "")),
        # Proxies that know nothing of gRPC.
        (0, [(b":status", b"404")], ("UNIMPLEMENTED", "the peer answered with HTTP status 404")),
        (0, [(b":status", b"401")], ("UNAUTHENTICATED", "the peer answered with HTTP status 401")),
        (0, [(b":status", b"403")], ("PERMISSION_DENIED", "the peer answered with HTTP status 403")),
        (0, [(b":status", b"400")], ("INTERNAL", "the peer answered with HTTP status 400")),
        (0, [(b":status", b"429")], ("UNAVAILABLE", "the peer answered with HTTP status 429")),
        (0, [(b":status", b"502")], ("UNAVAILABLE", "the peer answered with HTTP status 502")),
        (0, [(b":status", b"500")], ("UNKNOWN", "the peer answered with HTTP status 500")),
        (
            0,
            [(b":status", b"200"), (b"content-type", b"text/html")],
            ("UNKNOWN", "the peer answered with the content type 'text/html', which is not gRPC's"),
        ),
        (0, OK, ("UNKNOWN", "the peer ended the stream without a status")),
        # Resets.
        (7, [], ("UNAVAILABLE", "the peer reset the stream with HTTP/2 error code 7")),
        (8, OK, ("CANCELLED", "the peer reset the stream with HTTP/2 error code 8")),
        (11, OK, ("RESOURCE_EXHAUSTED", "the peer reset the stream with HTTP/2 error code 11")),
        (12, OK, ("PERMISSION_DENIED", "the peer reset the stream with HTTP/2 error code 12")),
        (2, OK, ("INTERNAL", "the peer reset the stream with HTTP/2 error code 2")),
    ],
)
def test_status(code, headers, status):
    assert status_of(code, headers) == status


def test_a_fault_of_the_peers_counts_before_what_it_said():
    assert status_of(0, [*OK, (b"grpc-status", b"0")], "a compressed message") == ("INTERNAL", "a compressed message")


def test_a_long_message_is_cut():
    _, text = status_of(0, [*OK, (b"grpc-status", b"13"), (b"grpc-message", b"x" * 60_000)])
    assert len(text) == 1000


def test_header_block():
    assert header_block((":method", "POST"), ("te", "trailers")) == b":method\0POST\0te\0trailers\0"
    assert header_block() == b""


@pytest.mark.parametrize("value", ["a\0b", "a\nb", "é"])
def test_header_block_refuses_what_http_does_not_allow(value):
    with pytest.raises(ValueError, match="the header authorization contains"):
        header_block(("authorization", value))
