"""Access control: who may open a stream, fetch TwiML, and read transcripts."""

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

log = logging.getLogger("fastcall.server.authorizer")

SIGNATURE_HEADER = "X-Twilio-Signature"
LOG_EVERY_S = 10.0

_WHY = {
    "signature_missing": "it has no X-Twilio-Signature",
    "signature_wrong": "its X-Twilio-Signature does not match: check that FASTCALL_PUBLIC_URL is the URL configured at "
    "Twilio, and that TWILIO_AUTH_TOKEN is of the same account",
    "not_loopback": "it needs FASTCALL_ADMIN_TOKEN, or must come from this machine",
    "admin_token": "it has no valid FASTCALL_ADMIN_TOKEN",
    "foreign_page": "a browser on this machine sent it for a page of another site",
    "twiml_unsigned": "without TWILIO_AUTH_TOKEN, Twilio's requests cannot be verified, and /twiml would give anyone a "
    "token: set it, or use --insecure-twiml",
    "ticket": "its ticket is not from this server's console, or is older than half a minute",
}


class Authorizer:
    """Decides about requests; counts and logs refusals. Loop thread only.

    :param lets_all_in: whether anyone may place calls if no secret is configured for calls
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
        # Without a secret there are no tokens, and TwiML gives nothing away.
        self._needs_signed_twiml = bool(settings.stream_secret) and not gives_all_tokens
        self._metrics = metrics
        self._throttle = LogThrottle(LOG_EVERY_S)

    @property
    def needs_admin_token(self) -> bool:
        """Whether readers need a token wherever they are."""
        return bool(self._admin_token)

    def check(self, path: str, upgrade: UpgradeRequest) -> tuple[int, str] | None:
        """Why an upgrade is refused for its path or sender, as status and text; None if it is not.

        :param path: the WebSocket endpoint's path
        """
        if upgrade.target.partition("?")[0].rstrip("/") != path.rstrip("/"):
            return 404, f"Not found; calls connect to {path}.\n"
        return None if self.may_open_stream(path, upgrade) else (403, "Requests must be signed by Twilio.\n")

    def may_open_stream(self, path: str, upgrade: UpgradeRequest) -> bool:
        """Whether a WebSocket may be opened at ``path``.

        The console's ticket is as good as a signature. Where neither is required, this machine is trusted; then a
        browser on it must not place calls for pages of other sites, since any page may connect to a WebSocket.
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
        """Whether ``request`` is a webhook from Twilio: signed, or harmless if it is from somebody else."""
        if not self._tokens:
            return not self._needs_signed_twiml or self._refuse("twiml_unsigned", "TwiML")
        assert self._url is not None
        signature = request.headers.get(SIGNATURE_HEADER)
        urls = self._url.webhook_spellings(request.path, request.query)
        return self._check((signature,) if signature is not None else (), urls, request.form, "TwiML")

    def may_read(self, request: PlainRequest) -> bool:
        """Whether ``request`` may read transcripts and metrics.

        With an admin token: requests that carry it. Without: requests from this machine that are not forwarded for
        another; a local proxy forwards, so with a public address a token is required.
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
        """Whether ``request`` may have the console's files. Nothing in them is secret except that this is such a
        server; the data they show is requested separately."""
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
        """Count and log it.

        :return: False
        """
        self._metrics.auth_refusals[reason] += 1
        held_back = self._throttle.passes(now=asyncio.get_running_loop().time())
        if held_back is not None:
            more = f" ({held_back} more since the last such line)" if held_back else ""
            log.warning("refused: a request for %s; %s%s", what, _WHY[reason], more)
        return False


def ticket_of(target: str) -> tuple[str, str]:
    """The ticket in an upgrade's target, and the call it claims to be for; both empty without one."""
    query = target.partition("?")[2]
    if TICKET not in query:
        return "", ""
    fields = dict(parse_qsl(query))
    return fields.get(TICKET, ""), fields.get("call", "")


def _names_loopback(headers: Mapping[str, str]) -> bool:
    """Whether the request's host is this machine by name: a page's own host name may resolve to this machine."""
    return _is_loopback_name(headers.get("Host", "")) and not any(
        each in headers for each in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
    )


def _is_loopback_name(host: str) -> bool:
    host = host.strip().lower()
    name = host[: host.rfind(":")] if host.rfind(":") > host.rfind("]") else host
    return is_loopback(name.strip("[]"))


def _is_of_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent the request for another site's page. Another port is another site here."""
    origin = headers.get("Origin")
    if origin is not None and not _is_same_origin(origin, headers.get("Host", "")):
        return True
    return headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def _is_same_origin(origin: str, host: str) -> bool:
    scheme, _, name = origin.strip().lower().partition("://")
    return scheme in ("http", "https") and name == host.strip().lower()
