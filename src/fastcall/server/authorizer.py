"""Who may do what on the one port: open a stream, fetch TwiML, read what is said."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl

from fastcall.aio.log_throttle import LogThrottle
from fastcall.metrics import Metrics
from fastcall.server.http import PlainRequest
from fastcall.server.options import is_loopback
from fastcall.server.websocket import UpgradeRequest
from fastcall.settings import Settings
from fastcall.twilio.signature import PublicUrl, is_signed
from fastcall.twilio.stream_tokens import TICKET, console_tickets

__all__ = ["Authorizer", "ticket_of"]

log = logging.getLogger("fastcall.server.http_frontend")

SIGNATURE_HEADER = "X-Twilio-Signature"
LOG_EVERY_S = 10.0

_WHY = {
    "signature_missing": "it bears no X-Twilio-Signature",
    "signature_wrong": "its signature is not that of TWILIO_AUTH_TOKEN for FASTCALL_PUBLIC_URL: is that the URL that "
    "Twilio was given, and the token that of the same account?",
    "not_loopback": "only this machine may, or who bears FASTCALL_ADMIN_TOKEN",
    "admin_token": "it does not bear FASTCALL_ADMIN_TOKEN",
    "foreign_page": "a page of another site sent it, by the browser of someone on this machine",
    "twiml_unsigned": "without TWILIO_AUTH_TOKEN nothing tells Twilio's requests from others, and /twiml would give "
    "everybody a token: set it, or say --insecure-twiml",
    "ticket": "its ticket is not from the console of this server, or older than half a minute",
}


class Authorizer:
    """Decides, counts and tells of those that are turned away. Loop thread only.

    :param lets_all_in: whether anyone may place calls where nothing is set that calls must bear
    :param gives_all_tokens: whether anyone may fetch TwiML, and with it a token
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, *, lets_all_in: bool = False, gives_all_tokens: bool = False
    ) -> None:
        self._tokens = settings.twilio_auth_tokens
        self._url = PublicUrl.parse(settings.public_url) if settings.public_url else None
        self._admin_token = settings.admin_token
        self._tickets = console_tickets(settings.stream_secret, settings.admin_token)
        self._is_guarded = lets_all_in or bool(self._tokens or settings.stream_secret)
        # Without a secret there are no tokens, and TwiML gives nothing that was not had without it.
        self._needs_signed_twiml = bool(settings.stream_secret) and not gives_all_tokens
        self._metrics = metrics
        self._throttle = LogThrottle(LOG_EVERY_S)

    @property
    def needs_admin_token(self) -> bool:
        """Whether who reads must bear one, wherever it is."""
        return bool(self._admin_token)

    def look_at(self, path: str, upgrade: UpgradeRequest) -> tuple[int, str] | None:
        """What is wrong with an upgrade by where it goes and who sends it, as status and text; None if nothing is.

        :param path: where WebSockets are taken
        """
        if upgrade.target.partition("?")[0].rstrip("/") != path.rstrip("/"):
            return 404, f"Nothing here; calls connect to {path}.\n"
        return None if self.may_open_stream(path, upgrade) else (403, "This is for Twilio's signed requests.\n")

    def may_open_stream(self, path: str, upgrade: UpgradeRequest) -> bool:
        """Whether a WebSocket may be opened at ``path``.

        The console's ticket is as good as a signature. Where neither is asked for, this machine is trusted, and then a
        browser on it must not place calls for pages of others: to a WebSocket, every page may connect.
        """
        ticket, call_sid = ticket_of(upgrade.target)
        if ticket:
            reason = "token_forged"
            if self._tickets is not None:
                reason = self._tickets.check(ticket, call_sid, now=time.time()) or ""
            return not reason or self._refuse("ticket", "a WebSocket")
        if self._tokens:
            assert self._url is not None
            return self._check(upgrade.signatures, self._url.stream_spellings(path), (), "a WebSocket")
        if upgrade.origins and not self._is_guarded:
            host = upgrade.hosts[0] if len(upgrade.hosts) == 1 else ""
            if not (_is_loopback_name(host) and all(_is_same_origin(each, host) for each in upgrade.origins)):
                return self._refuse("foreign_page", "a WebSocket")
        return True

    def may_fetch_twiml(self, request: PlainRequest) -> bool:
        """Whether ``request`` is a webhook of Twilio's: signed, or nothing is lost if it is somebody else's."""
        if not self._tokens:
            return not self._needs_signed_twiml or self._refuse("twiml_unsigned", "TwiML")
        assert self._url is not None
        signature = request.headers.get(SIGNATURE_HEADER)
        urls = self._url.webhook_spellings(request.path, request.query)
        return self._check((signature,) if signature is not None else (), urls, request.form, "TwiML")

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
            return self._refuse("admin_token", request.path)
        if not self._is_of_this_machine(request):
            return self._refuse("not_loopback", request.path)
        return not _is_of_another_site(request.headers) or self._refuse("foreign_page", request.path)

    def may_see_console(self, request: PlainRequest) -> bool:
        """Whether ``request`` may have the console's files, in which there is nothing that is not public: only that
        this is such a server. What they show is asked for separately."""
        if self._admin_token or self._is_of_this_machine(request):
            return True
        return self._refuse("not_loopback", request.path)

    def _is_of_this_machine(self, request: PlainRequest) -> bool:
        return self._url is None and is_loopback(request.peer) and _names_loopback(request.headers)

    def _check(
        self, signatures: tuple[str, ...], urls: tuple[str, ...], form: tuple[tuple[str, str], ...], what: str
    ) -> bool:
        if len(signatures) != 1:
            return self._refuse("signature_missing", what)
        if not is_signed(signatures[0], tokens=self._tokens, urls=urls, parameters=form):
            return self._refuse("signature_wrong", what)
        return True

    def _refuse(self, reason: str, what: str) -> bool:
        """Count and tell of it.

        :return: False
        """
        self._metrics.auth_refusals[reason] += 1
        held_back = self._throttle.passes(now=asyncio.get_running_loop().time())
        if held_back is not None:
            more = f" ({held_back} more since the last such line)" if held_back else ""
            log.warning("refused: a request for %s; %s%s", what, _WHY[reason], more)
        return False


def ticket_of(target: str) -> tuple[str, str]:
    """The ticket in an upgrade's target, and the call that it says it is for; empty where there is none."""
    query = target.partition("?")[2]
    if TICKET not in query:
        return "", ""
    fields = dict(parse_qsl(query))
    return fields.get(TICKET, ""), fields.get("call", "")


def _names_loopback(headers: Mapping[str, str]) -> bool:
    """Whether the request was made for this machine by name: a page in a browser can make its own name point here."""
    return _is_loopback_name(headers.get("Host", "")) and not any(
        each in headers for each in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
    )


def _is_loopback_name(host: str) -> bool:
    host = host.strip().lower()
    name = host[: host.rfind(":")] if host.rfind(":") > host.rfind("]") else host
    return is_loopback(name.strip("[]"))


def _is_of_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends the request for a page that is not this server's. Another port is another site here."""
    origin = headers.get("Origin")
    if origin is not None and not _is_same_origin(origin, headers.get("Host", "")):
        return True
    return headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def _is_same_origin(origin: str, host: str) -> bool:
    scheme, _, name = origin.strip().lower().partition("://")
    return scheme in ("http", "https") and name == host.strip().lower()
