"""Which proxy to use for a host, and how to request a tunnel: HTTP CONNECT (RFC 9110 section 9.3.6).

The environment variables are those of gRPC and curl: https://grpc.github.io/grpc/core/md_doc_environment_variables.html
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from fastcall.errors import UsageError

__all__ = ["Proxy", "connect_request", "proxy_for", "refusal_of"]

PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "HTTPS_PROXY", "http_proxy")
EXCEPTION_VARIABLES = ("no_grpc_proxy", "no_proxy", "NO_PROXY")
DEFAULT_PORT = 80
MAX_REASON_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. Its ``repr`` has no credentials."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)
    """The value of ``Proxy-Authorization``."""
    url: str = field(default="", repr=False)
    """``http://user:password@host:port``."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def proxy_for(environ: Mapping[str, str], host: str) -> Proxy | None:
    """The proxy for ``host``, a name or an address; None: connect directly, as to this machine's own addresses.

    :raises UsageError: a variable's value is not a proxy's URL
    """
    name = next((name for name in PROXY_VARIABLES if environ.get(name)), None)
    if name is None or _is_excepted(host, next((environ[n] for n in EXCEPTION_VARIABLES if environ.get(n)), "")):
        return None
    return _read(name, environ[name])


def connect_request(proxy: Proxy, target: str) -> bytes:
    """The request to ``proxy`` for a tunnel to ``target`` (``host:port``)."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def refusal_of(head: bytes) -> str | None:
    """Why the tunnel was refused, from the head of the proxy's response; None: it is open."""
    line = head.partition(b"\r\n")[0].decode("ascii", "replace")
    version, _, rest = line.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
        return "is not an HTTP proxy"
    if rest[0] == "2":
        return None
    printable = "".join(letter for letter in rest if letter.isprintable())
    return f"refused the tunnel: {printable[:MAX_REASON_LETTERS]}"


def _read(name: str, value: str) -> Proxy:
    """``value`` may contain a password: error messages never repeat it."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise UsageError(f"{name} is not a proxy URL: use http://HOST:PORT") from None
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(f"{name} must be http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    user = f"{_userinfo(parts)}@" if parts.username is not None else ""
    return Proxy(parts.hostname, port, _authorization(parts), f"http://{user}{host}:{port}")


def _userinfo(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[0]


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")


def _is_excepted(host: str, exceptions: str) -> bool:
    host = host.strip("[]").lower().rstrip(".")
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_covers(each, host, address) for each in exceptions.lower().replace(",", " ").split())


def _covers(exception: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if exception == "*":
        return True
    if address is not None:
        try:
            return address in ipaddress.ip_network(exception.strip("[]"), strict=False)
        except ValueError:
            return exception.rpartition(":")[0] == host
    name = exception.removeprefix("*").removeprefix(".").partition(":")[0].rstrip(".")
    return bool(name) and f".{host}".endswith(f".{name}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
