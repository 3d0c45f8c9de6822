"""Who may do what on the one port: open a stream, fetch TwiML, read what is said."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping

from fastcall.adapters.http import PlainRequest
from fastcall.options import is_loopback
from fastcall.rules.metrics import Metrics
from fastcall.rules.signature import PublicUrl, is_signed
from fastcall.rules.throttle import LogThrottle
from fastcall.settings import Settings

__all__ = ["Doorman"]

log = logging.getLogger("fastcall.door")

SIGNATURE_HEADER = "X-Twilio-Signature"
LOG_EVERY_S = 10.0

_WHY = {
    "signature_missing": "it bears no X-Twilio-Signature",
    "signature_wrong": "its signature is not that of TWILIO_AUTH_TOKEN for FASTCALL_PUBLIC_URL: is that the URL that "
    "Twilio was given, and the token that of the same account?",
    "not_loopback": "only this machine may, or who bears FASTCALL_ADMIN_TOKEN",
    "admin_token": "it does not bear FASTCALL_ADMIN_TOKEN",
}


class Doorman:
    """Decides, counts and tells of those that are turned away. Loop thread only."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._tokens = settings.twilio_auth_tokens
        self._url = PublicUrl.parse(settings.public_url) if settings.public_url else None
        self._admin_token = settings.admin_token
        self._metrics = metrics
        self._throttle = LogThrottle(LOG_EVERY_S)

    def may_open_stream(self, path: str, signatures: list[str]) -> bool:
        """Whether a WebSocket may be opened at ``path``.

        :param signatures: the values of all its signature headers; there must be one
        """
        if not self._tokens:
            return True
        assert self._url is not None
        return self._check(signatures, self._url.stream_spellings(path), (), "a WebSocket")

    def may_fetch_twiml(self, request: PlainRequest) -> bool:
        """Whether ``request`` is a webhook of Twilio's: signed, where there is a token to sign with."""
        if not self._tokens:
            return True
        assert self._url is not None
        signature = request.headers.get(SIGNATURE_HEADER)
        urls = self._url.webhook_spellings(request.path, request.query)
        return self._check([signature] if signature is not None else [], urls, request.form, "TwiML")

    def may_read(self, request: PlainRequest) -> bool:
        """Whether ``request`` may see what is said and how the server is.

        With an admin token: who bears it. Without: who is on this machine, and does not speak for another; a proxy on
        this machine does, so where there is a public address there must be a token.
        """
        if self._admin_token:
            given = request.headers.get("Authorization", "")
            expected = f"Bearer {self._admin_token}"
            if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
                return True
            self._refuse("admin_token", request.path)
            return False
        if self._url is None and is_loopback(request.peer) and _names_loopback(request.headers):
            return True
        self._refuse("not_loopback", request.path)
        return False

    def _check(
        self, signatures: list[str], urls: tuple[str, ...], form: tuple[tuple[str, str], ...], what: str
    ) -> bool:
        if len(signatures) != 1:
            self._refuse("signature_missing", what)
            return False
        if not is_signed(signatures[0], tokens=self._tokens, urls=urls, parameters=form):
            self._refuse("signature_wrong", what)
            return False
        return True

    def _refuse(self, reason: str, what: str) -> None:
        self._metrics.auth_refusals[reason] += 1
        held_back = self._throttle.passes(now=asyncio.get_running_loop().time())
        if held_back is not None:
            more = f" ({held_back} more since the last such line)" if held_back else ""
            log.warning("refused: a request for %s; %s%s", what, _WHY[reason], more)


def _names_loopback(headers: Mapping[str, str]) -> bool:
    """Whether the request was made for this machine by name: a page in a browser can make its own name point here."""
    host = headers.get("Host", "").strip().lower()
    name = host[: host.rfind(":")] if host.rfind(":") > host.rfind("]") else host
    return is_loopback(name.strip("[]")) and not any(
        each in headers for each in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
    )
