"""Access tokens for Google's services, fetched and renewed by google-auth in a worker thread, never on the event loop.

All streams of a recognizer share one token. It is renewed long before it expires; if renewal fails, it is used as long
as it is valid. Failed requests to the token endpoint are retried with back-off, one at a time, however many streams
wait. Waiting streams fail only if the credentials themselves are refused with an OAuth error (RFC 6749 section 5.2);
all other failures may be temporary.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import random
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import google.auth.exceptions
import google.auth.transport.requests

from fastcall.errors import RecognizerError
from fastcall.google.grpc_call import Metadata

__all__ = ["TokenSource"]

log = logging.getLogger("fastcall.google")

# Google's tokens are valid for an hour. Renewal starts before google-auth considers one stale (3 min 45 s).
RENEW_BEFORE_S = 600.0
# A token that expires sooner is not used for new streams.
MARGIN_S = 10.0
# How long a stream waits for a token.
WAIT_S = 10.0
# Between attempts while the endpoint fails, doubled each time.
FIRST_RETRY_S, MAX_RETRY_S = 0.25, 30.0
# How long a refusal of the credentials is cached; then they are tried again, for the next calls.
REFUSED_S = 30.0
# Per request; google-auth's own limit is 120 s.
REQUEST_TIMEOUT_S = 10.0
# Minimum time between replacements of tokens that the peer did not accept.
REPLACE_EVERY_S = 60.0
MAX_CAUSE_LETTERS = 300


class TokenSource:
    """One for all connections of a recognizer. Loop thread only; call ``aclose`` in the end.

    :param credentials: google-auth's
    :param now: clock, in seconds since the epoch, as the tokens' expiry times are
    """

    def __init__(self, credentials: Any, *, now: Callable[[], float] = time.time) -> None:
        self._credentials = credentials
        self._now = now
        self._renewal: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cause = ""
        self._believed_until = 0.0
        # The token that the peer did not accept, and when one was last replaced for that reason.
        self._unwanted: str | None = None
        self._replaced_at: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there is a valid token."""
        credentials = self._credentials
        return bool(credentials.token) and self._left_s() > MARGIN_S and self._unwanted is None

    async def ready(self) -> None:
        """Return when there is a valid token.

        :raises RecognizerError: UNAUTHENTICATED: the credentials were refused; UNAVAILABLE: no token within 10 s
        """
        if self.is_ready:
            return
        try:
            async with asyncio.timeout(WAIT_S):
                await asyncio.shield(self._renew())
        except TimeoutError:
            cause = self._cause or "the token endpoint does not respond"
            raise RecognizerError("UNAVAILABLE", f"no access token within {WAIT_S:g} s: {cause}") from None

    def headers(self) -> Metadata:
        """The headers for a stream that starts now."""
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        return tuple((name.lower(), value) for name, value in headers.items())

    def not_accepted(self, sent: Metadata) -> bool:
        """The peer answered UNAUTHENTICATED to a stream with these headers.

        :return: whether a retry may succeed, because it would use a newer token; otherwise the error is final
        """
        loop = asyncio.get_running_loop()
        if self._unwanted is not None or sent != self.headers():
            return True
        if self._replaced_at is not None and loop.time() < self._replaced_at + REPLACE_EVERY_S:
            return False
        log.warning("the recognizer rejected the access token: requesting another")
        self._replaced_at = loop.time()
        self._unwanted = self._credentials.token
        self._renew_unasked()
        return True

    async def aclose(self) -> None:
        """Stop renewing."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _left_s(self) -> float:
        """How long the token remains valid."""
        expiry = getattr(self._credentials, "expiry", None)
        # google-auth's times are UTC, without a time zone.
        return float("inf") if expiry is None else expiry.replace(tzinfo=datetime.UTC).timestamp() - self._now()

    def _renew(self) -> asyncio.Task[None]:
        """The running renewal, or a refusal that is still cached, or a new renewal."""
        loop = asyncio.get_running_loop()
        if self._renewal is None or (self._renewal.done() and loop.time() >= self._believed_until):
            self._renewal = loop.create_task(self._get())
            self._renewal.add_done_callback(_retrieve)
        return self._renewal

    async def _get(self) -> None:
        """Retry until there is a token, or the credentials are refused."""
        wait_s = FIRST_RETRY_S
        while True:
            request = _Request()
            try:
                await asyncio.to_thread(self._credentials.refresh, request)
                break
            except Exception as error:
                # Not only google-auth's errors: a malformed response may raise a ValueError.
                self._cause = request.cause(error)
                if request.is_refusal(error):
                    log.warning("the credentials were refused: %s", self._cause)
                    self._believed_until = asyncio.get_running_loop().time() + REFUSED_S
                    self._renew_in(REFUSED_S)
                    raise RecognizerError("UNAUTHENTICATED", self._cause) from error
            log.warning("no access token, retrying in %.2g s: %s", wait_s, self._cause)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, MAX_RETRY_S)
        self._cause, self._unwanted = "", None
        self._believed_until = 0.0
        if self._left_s() != float("inf"):
            self._renew_in(max(MAX_RETRY_S, self._left_s() - RENEW_BEFORE_S))

    def _renew_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._renew_unasked)

    def _renew_unasked(self) -> None:
        self._believed_until = 0.0
        self._renew()


class _Request(google.auth.transport.requests.Request):
    """google-auth's HTTP transport; keeps the last response, for error messages."""

    def __init__(self) -> None:
        super().__init__()
        self._where = ""
        self._status: int | None = None
        self._body = b""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Any = None,
        timeout: float | None = REQUEST_TIMEOUT_S,
        **options: Any,
    ) -> Any:
        parts = urlsplit(url)
        self._where, self._status, self._body = f"{parts.hostname}{parts.path}", None, b""
        bound = min(timeout or REQUEST_TIMEOUT_S, REQUEST_TIMEOUT_S)
        answer = super().__call__(url, method, body, headers, bound, **options)  # type: ignore[no-untyped-call]
        self._status, self._body = answer.status, answer.data
        return answer

    def is_refusal(self, error: Exception) -> bool:
        """Whether the credentials themselves were refused, so that a retry is useless."""
        if not isinstance(error, google.auth.exceptions.GoogleAuthError) or error.retryable:
            return False
        if isinstance(error, google.auth.exceptions.TransportError) or isinstance(
            error.__cause__, google.auth.exceptions.TransportError
        ):
            return False
        if not self._where:
            return True  # no request was sent: the credentials are incomplete
        return self._status in (400, 401, 403) and bool(self._oauth_error())

    def cause(self, error: Exception) -> str:
        """What went wrong, in one line, without secrets."""
        if self._status is None or self._status == 200:
            words = str(error)
        else:
            words = f"HTTP {self._status}: {self._oauth_error() or self._body.decode('utf-8', 'replace')}"
        line = " ".join(words.split())[:MAX_CAUSE_LETTERS] or type(error).__name__
        return f"{self._where}: {line}" if self._where else line

    def _oauth_error(self) -> str:
        try:
            answer = json.loads(self._body)
            return f"{answer['error']} {answer.get('error_description', '')}".strip()
        except (ValueError, KeyError, TypeError, AttributeError):
            return ""


def _retrieve(renewal: asyncio.Task[None]) -> None:
    """Mark the exception of a renewal that nobody awaits as retrieved; it has been logged."""
    if not renewal.cancelled():
        renewal.exception()
