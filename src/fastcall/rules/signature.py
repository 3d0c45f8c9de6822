"""Twilio's signature: who may open a stream or fetch TwiML.

Twilio signs the URL as it was configured, followed by the form's parameters (sorted by name, name and value run
together), with HMAC-SHA1 and the account's auth token, and sends the base64 of it as ``X-Twilio-Signature``. The URL is
built from what this server was told that its public address is, never from what a request claims.

What the pages and their readers say of the URL: a WebSocket's has the scheme ``wss``, and may have been signed with a
slash at its end; a webhook's loses its port where it is ``https``. So a few spellings are tried, each in constant time.

Source: https://www.twilio.com/docs/usage/security
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastcall.errors import UsageError

__all__ = ["PublicUrl", "is_signed", "signature_of"]

_DEFAULT_PORTS = {"https": 443, "http": 80, "wss": 443, "ws": 80}
_WEBHOOK_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}
_STREAM_SCHEMES = {"https": "wss", "wss": "wss", "http": "ws", "ws": "ws"}


@dataclass(slots=True, frozen=True)
class PublicUrl:
    """Where the outside reaches this server: scheme, host, port, and the path before this server's own paths."""

    scheme: str
    host: str
    port: int | None
    prefix: str

    @classmethod
    def parse(cls, text: str) -> PublicUrl:
        """Read ``https://voice.example.com``, ``wss://example.com:8443/calls`` and the like.

        :raises UsageError: it is no such URL
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"FASTCALL_PUBLIC_URL={text!r}: {error}") from error
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
            raise UsageError(f"FASTCALL_PUBLIC_URL={text!r}: say https://HOST, with a port and a path if need be")
        if parts.query or parts.fragment:
            raise UsageError(f"FASTCALL_PUBLIC_URL={text!r}: Twilio strips query strings; leave it out")
        host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc.removesuffix(":")
        return cls(parts.scheme, host, port, parts.path.rstrip("/"))

    def stream_url(self, path: str) -> str:
        """The URL for ``<Stream url>``: the WebSocket at ``path`` of this server."""
        return self._url(_STREAM_SCHEMES[self.scheme], self._port_as_given(), path)

    def webhook_url(self, path: str) -> str:
        """The URL for a number's voice webhook: ``path`` of this server."""
        return self._url(_WEBHOOK_SCHEMES[self.scheme], self._port_as_given(), path)

    def stream_spellings(self, path: str) -> tuple[str, ...]:
        """What Twilio may have signed for the WebSocket at ``path``."""
        return self._spellings(_STREAM_SCHEMES[self.scheme], path, "")

    def webhook_spellings(self, path: str, query: str) -> tuple[str, ...]:
        """What Twilio may have signed for a webhook; ``query`` as it came in the request, without the ``?``."""
        return self._spellings(_WEBHOOK_SCHEMES[self.scheme], path, f"?{query}" if query else "")

    def _spellings(self, scheme: str, path: str, tail: str) -> tuple[str, ...]:
        plain = path.rstrip("/")
        ports = ("", f":{self.port or _DEFAULT_PORTS[scheme]}")
        return tuple(self._url(scheme, port, end) + tail for port in ports for end in (plain, plain + "/"))

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
