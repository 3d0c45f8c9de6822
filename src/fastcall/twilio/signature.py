"""Verifies Twilio's signatures, of stream upgrades and webhooks.

Twilio signs the URL as it was configured, followed by the form's parameters (sorted by name, name and value run
together), with HMAC-SHA1 and the account's auth token, and sends the base64 of it as ``X-Twilio-Signature``. The URL is
built from the configured public address, never from a request's own claims.

According to Twilio's documentation and its users, a WebSocket's URL has the scheme ``wss`` and may be signed with a
trailing slash; an ``https`` webhook's loses its port; user name and password are dropped before signing, though not
by every Twilio library. So a few spellings are tried, each in constant time.

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
    """This server's public address: scheme, host, port, and a prefix of its paths."""

    scheme: str
    host: str
    port: int | None
    prefix: str
    credentials: str = field(default="", repr=False)
    """``user:password@`` as given, or empty."""

    @classmethod
    def parse(cls, text: str) -> PublicUrl:
        """Read ``https://voice.example.com``, ``wss://user:password@example.com:8443/calls`` and the like.

        :raises UsageError: it is not such a URL
        """
        credentials = _CREDENTIALS.match(text)
        shown = text if credentials is None else f"{credentials[1]}…@{text[credentials.end() :]}"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"FASTCALL_PUBLIC_URL={shown!r}: the port is invalid") from error
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or re.search(r"[\s<>\"'\\^`{|}]", text):
            raise UsageError(f"FASTCALL_PUBLIC_URL={shown!r}: must be https://HOST, with a port and a path if needed")
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
        """Whether it uses TLS."""
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
    :param parameters: of a posted form; of a repeated name, each different value counts once
    """
    signed = url + "".join(name + value for name, value in sorted(set(parameters)))
    mac = hmac.new(token.encode(), signed.encode("utf-8", "surrogatepass"), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode("ascii")


def is_signed(
    signature: str, *, tokens: Sequence[str], urls: Sequence[str], parameters: Sequence[tuple[str, str]] = ()
) -> bool:
    """Whether ``signature`` is right for one of ``urls`` and one of ``tokens``.

    Every pair is compared, in constant time, so timing reveals nothing.
    """
    given = signature.encode("utf-8", "surrogatepass")
    found = False
    for token in tokens:
        for url in urls:
            found |= hmac.compare_digest(signature_of(token, url, parameters).encode(), given)
    return found
