"""Which proxy is for whom, how it is asked, and what it answers."""

from __future__ import annotations

import pytest

from fastcall.errors import UsageError
from fastcall.google.proxy import connect_request, proxy_for, refusal_of

HOST = "speech.googleapis.com"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"https_proxy": ""}, None),
        ({"https_proxy": "http://proxy:3128"}, "proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128/"}, "proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "proxy:3128"),
        ({"https_proxy": "http://proxy"}, "proxy:80"),
        ({"https_proxy": "http://[::1]:3128"}, "::1:3128"),
        ({"http_proxy": "http://proxy:1"}, "proxy:1"),
        ({"HTTP_PROXY": "http://proxy:1"}, None),  # a web server may have made it of a request's header
        ({"grpc_proxy": "http://own:1", "https_proxy": "http://other:2"}, "own:1"),
    ],
)
def test_the_variables_are_grpcs(environ: dict[str, str], proxy: str | None) -> None:
    found = proxy_for(environ, HOST)
    assert (None if found is None else str(found)) == proxy


@pytest.mark.parametrize(
    ("exceptions", "host", "is_direct"),
    [
        ("", HOST, False),
        ("*", HOST, True),
        ("googleapis.com", HOST, True),
        (".googleapis.com", HOST, True),
        ("*.googleapis.com", HOST, True),
        ("example.com, SPEECH.googleapis.com", HOST, True),
        ("example.com speech.googleapis.com:443", HOST, True),
        ("apis.com", HOST, False),
        ("oogleapis.com", HOST, False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("fd00::/8", "[fd00::1]", True),
        (",, ,", HOST, False),
        # This machine's own, always: the proxy's loopback is another.
        ("", "localhost", True),
        ("", "127.0.0.5", True),
        ("", "[::1]", True),
    ],
)
def test_exceptions(exceptions: str, host: str, is_direct: bool) -> None:
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        found = proxy_for({"https_proxy": "http://proxy:3128", name: exceptions}, host)
        assert (found is None) is is_direct


def test_credentials_are_decoded_and_never_shown() -> None:
    proxy = proxy_for({"https_proxy": "http://user%40home:p%3Ass@proxy:3128"}, HOST)
    assert proxy is not None
    assert proxy.authorization == "Basic dXNlckBob21lOnA6c3M="
    assert proxy.url == "http://user%40home:p%3Ass@proxy:3128"  # as gRPC reads it
    assert "ss" not in repr(proxy) + str(proxy)
    assert connect_request(proxy, f"{HOST}:443") == (
        b"CONNECT speech.googleapis.com:443 HTTP/1.1\r\nHost: speech.googleapis.com:443\r\n"
        b"Proxy-Authorization: Basic dXNlckBob21lOnA6c3M=\r\n\r\n"
    )


@pytest.mark.parametrize("value", ["https://u:secret@proxy:1", "socks5://u:secret@p:1", "http://", "http://p:secret"])
def test_one_that_cannot_be_one_is_named_and_its_value_is_not(value: str) -> None:
    with pytest.raises(UsageError, match=r"^https_proxy") as raised:
        proxy_for({"https_proxy": value}, HOST)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("head", "refusal"),
    [
        (b"HTTP/1.1 200 Connection established\r\n\r\n", None),
        (b"HTTP/1.0 204\r\nx: y\r\n\r\n", None),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n", "refused the tunnel: 407 Proxy Authentication Required"),
        (b"HTTP/1.1 503 \x1b[31mNo\r\n", "refused the tunnel: 503 [31mNo"),
        (b"SSH-2.0-OpenSSH\r\n", "is not an HTTP proxy"),
        (b"", "is not an HTTP proxy"),
    ],
)
def test_what_it_answers(head: bytes, refusal: str | None) -> None:
    assert refusal_of(head) == refusal
