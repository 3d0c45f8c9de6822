"""Access tokens for Google's services, requested and renewed by google-auth in a thread, never on the event loop.

One token serves all streams of a recognizer. It is renewed long before it expires; if that fails, it is used as long as
it is valid. A failing endpoint is retried with one request at a time and back-off, however many streams wait. Only a
refusal of the credentials themselves ends the waiting streams: an OAuth error (RFC 6749 section 5.2). All other errors
may be temporary.
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

# Google's tokens are valid for an hour. Renewed before the libraries consider one expired (3 min 45 s).
RENEW_BEFORE_S = 600.0
# A new stream does not use a token that expires sooner.
MARGIN_S = 10.0
# How long a stream waits for a token.
WAIT_S = 10.0
# Delay between attempts at a failing endpoint, doubled each time.
FIRST_RETRY_S, MAX_RETRY_S = 0.25, 30.0
# How long a refusal of the credentials is cached before they are tried again for new calls.
REFUSED_S = 30.0
# Timeout of one request; google-auth's own is 120 s.
REQUEST_TIMEOUT_S = 10.0
# Minimum interval between replacements of rejected tokens.
REPLACE_EVERY_S = 60.0
MAX_CAUSE_LETTERS = 300


class TokenSource:
    """One for all connections of a recognizer. Loop thread only; call ``aclose`` in the end.

    :param credentials: google-auth's
    :param now: seconds since the epoch, as used for the tokens' expiry
    """

    def __init__(self, credentials: Any, *, now: Callable[[], float] = time.time) -> None:
        self._credentials = credentials
        self._now = now
        self._renewal: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cause = ""
        self._believed_until = 0.0
        # The token that the peer rejected, and when the last such one was replaced.
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
        """The headers of a stream that begins now."""
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        return tuple((name.lower(), value) for name, value in headers.items())

    def not_accepted(self, sent: Metadata) -> bool:
        """The peer answered UNAUTHENTICATED to a stream with these headers.

        :return: whether to try another stream, because there is a newer token; otherwise the error stands
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
        """Stop renewals."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _left_s(self) -> float:
        """How long the token is valid."""
        expiry = getattr(self._credentials, "expiry", None)
        # google-auth's times are UTC, but naive.
        return float("inf") if expiry is None else expiry.replace(tzinfo=datetime.UTC).timestamp() - self._now()

    def _renew(self) -> asyncio.Task[None]:
        """The running renewal, or a cached refusal, or a new renewal."""
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
                # Not only google-auth's errors: a token server's response may cause a ValueError.
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
    """google-auth's transport; keeps the last response, to explain errors."""

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
        """Whether the credentials themselves were refused, so that retrying is useless."""
        if not isinstance(error, google.auth.exceptions.GoogleAuthError) or error.retryable:
            return False
        if isinstance(error, google.auth.exceptions.TransportError) or isinstance(
            error.__cause__, google.auth.exceptions.TransportError
        ):
            return False
        if not self._where:
            return True  # no request was made: they lack something
        return self._status in (400, 401, 403) and bool(self._oauth_error())

    def cause(self, error: Exception) -> str:
        """The error, in one line, without secrets."""
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
    """Mark the exception of a renewal that nobody awaits as handled: it was logged."""
    if not renewal.cancelled():
        renewal.exception()
