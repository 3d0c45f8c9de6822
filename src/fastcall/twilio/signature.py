"""Twilio's signature: who may open a stream or fetch TwiML.

Twilio signs the URL as it was configured, followed by the form's parameters (sorted by name, name and value run
together), with HMAC-SHA1 and the account's auth token, and sends the base64 of it as ``X-Twilio-Signature``. The URL is
built from what this server was told that its public address is, never from what a request claims.

What the pages and their readers say of the URL: a WebSocket's has the scheme ``wss``, and may have been signed with a
slash at its end; a webhook's loses its port where it is ``https``; user name and password are dropped before signing,
which not every library of Twilio's does. So a few spellings are tried, each in constant time.

Source: https://www.twilio.com/docs/usage/security
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastcall.errors import UsageError

__all__ = ["PublicUrl", "is_signed", "signature_of"]

_DEFAULT_PORTS = {"https": 443, "http": 80, "wss": 443, "ws": 80}
_WEBHOOK_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}
_STREAM_SCHEMES = {"https": "wss", "wss": "wss", "http": "ws", "ws": "ws"}

_CREDENTIALS = re.compile(r"([A-Za-z]+://)[^/?#]*@")


@dataclass(slots=True, frozen=True)
class PublicUrl:
    """Where the outside reaches this server: scheme, host, port, and the path before this server's own paths."""

    scheme: str
    host: str
    port: int | None
    prefix: str
    credentials: str = field(default="", repr=False)
    """``user:password@`` as it was given, or nothing."""

    @classmethod
    def parse(cls, text: str) -> PublicUrl:
        """Read ``https://voice.example.com``, ``wss://user:password@example.com:8443/calls`` and the like.

        :raises UsageError: it is no such URL
        """
        credentials = _CREDENTIALS.match(text)
        shown = text if credentials is None else f"{credentials[1]}…@{text[credentials.end() :]}"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"FASTCALL_PUBLIC_URL={shown!r}: the port is none") from error
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or re.search(r"[\s<>\"'\\^`{|}]", text):
            raise UsageError(f"FASTCALL_PUBLIC_URL={shown!r}: say https://HOST, with a port and a path if need be")
        if parts.query or parts.fragment:
            raise UsageError(f"FASTCALL_PUBLIC_URL={shown!r}: Twilio strips query strings; leave it out")
        given, at, netloc = parts.netloc.rpartition("@")
        host = netloc.removesuffix(f":{port}") if port is not None else netloc.removesuffix(":")
        return cls(parts.scheme, host, port, parts.path.rstrip("/"), given + at)

    def __str__(self) -> str:
        """Without the credentials."""
        return self._url(self.scheme, self._port_as_given(), "")

    @property
    def is_secure(self) -> bool:
        """Whether it is reached by TLS."""
        return self.scheme in ("https", "wss")

    def stream_url(self, path: str) -> str:
        """The URL for ``<Stream url>``: the WebSocket at ``path`` of this server."""
        return self._url(_STREAM_SCHEMES[self.scheme], self._port_as_given(), path)

    def stream_spellings(self, path: str) -> tuple[str, ...]:
        """What Twilio may have signed for the WebSocket at ``path``."""
        return self._spellings(_STREAM_SCHEMES[self.scheme], path, "")

    def webhook_spellings(self, path: str, query: str) -> tuple[str, ...]:
        """What Twilio may have signed for a webhook; ``query`` as it came in the request, without the ``?``."""
        return self._spellings(_WEBHOOK_SCHEMES[self.scheme], path, f"?{query}" if query else "")

    def _spellings(self, scheme: str, path: str, tail: str) -> tuple[str, ...]:
        plain = path.rstrip("/")
        ports = ("", f":{self.port or _DEFAULT_PORTS[scheme]}")
        ends = (plain, plain + "/")
        urls = tuple(self._url(scheme, port, end) + tail for port in ports for end in ends)
        if not self.credentials:
            return urls
        start = f"{scheme}://"
        return urls + tuple(f"{start}{self.credentials}{url.removeprefix(start)}" for url in urls)

    def _port_as_given(self) -> str:
        return "" if self.port is None else f":{self.port}"

    def _url(self, scheme: str, port: str, path: str) -> str:
        return f"{scheme}://{self.host}{port}{self.prefix}{path}"


def signature_of(token: str, url: str, parameters: Iterable[tuple[str, str]] = ()) -> str:
    """The signature that Twilio would send.

    :param token: the account's auth token
    :param parameters: of a form that was posted; a name that comes twice counts each different value once
    """
    signed = url + "".join(name + value for name, value in sorted(set(parameters)))
    mac = hmac.new(token.encode(), signed.encode("utf-8", "surrogatepass"), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode("ascii")


def is_signed(
    signature: str, *, tokens: Sequence[str], urls: Sequence[str], parameters: Sequence[tuple[str, str]] = ()
) -> bool:
    """Whether ``signature`` is right for one of ``urls`` and one of ``tokens``.

    Every pair is compared, in constant time: how long it takes tells nothing.
    """
    given = signature.encode("utf-8", "surrogatepass")
    found = False
    for token in tokens:
        for url in urls:
            found |= hmac.compare_digest(signature_of(token, url, parameters).encode(), given)
    return found
