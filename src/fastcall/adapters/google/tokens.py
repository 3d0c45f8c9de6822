"""Access tokens for Google's services, got and renewed by google-auth in a thread of the loop's, never on it."""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Callable
from typing import Any

import google.auth.exceptions
import google.auth.transport.requests

from fastcall.errors import RecognizerError

__all__ = ["TokenSource"]

log = logging.getLogger("fastcall.google")

# Google's tokens live for an hour. One is renewed before the libraries hold it for too old (3 min 45 s).
RENEW_BEFORE_S = 600.0
RETRY_S = 30.0


class TokenSource:
    """One for all connections of a recogniser. Loop thread only; ``aclose`` is owed.

    :param credentials: google-auth's
    :param now: seconds since the epoch, which the tokens' ends are given in
    """

    def __init__(self, credentials: Any, *, now: Callable[[], float] = time.time) -> None:
        self._credentials = credentials
        self._now = now
        self._renewal: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there is a token that is valid."""
        return bool(self._credentials.valid)

    async def ready(self) -> None:
        """Return when there is a token that is valid.

        :raises RecognizerError: there is none to be had
        """
        if not self.is_ready:
            await asyncio.shield(self._renew())

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of a stream that begins now. A token that has run out is sent too: the peer then says so."""
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        return tuple((name.lower(), value) for name, value in headers.items())

    async def aclose(self) -> None:
        """No more renewals."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renew(self) -> asyncio.Task[None]:
        """The renewal that runs, or a new one."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().create_task(self._get())
        return self._renewal

    async def _get(self) -> None:
        try:
            await asyncio.to_thread(self._credentials.refresh, google.auth.transport.requests.Request())
        except google.auth.exceptions.RefreshError as error:
            self._again_in(RETRY_S)
            raise RecognizerError("UNAUTHENTICATED", _first_line(error)) from error
        except Exception as error:
            # Not google-auth's own alone: what a token server answers may make a ValueError of it, and streams wait.
            self._again_in(RETRY_S)
            raise RecognizerError("UNAVAILABLE", _first_line(error)) from error
        expiry = getattr(self._credentials, "expiry", None)
        if expiry is not None:
            # google-auth's times are UTC and do not say so.
            left_s = expiry.replace(tzinfo=datetime.UTC).timestamp() - self._now()
            self._again_in(max(RETRY_S, left_s - RENEW_BEFORE_S))

    def _again_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._renew_unasked)

    def _renew_unasked(self) -> None:
        self._renew().add_done_callback(_log_failure)


def _log_failure(renewal: asyncio.Task[None]) -> None:
    if not renewal.cancelled() and renewal.exception() is not None:
        log.warning("the access token could not be renewed, trying again: %s", renewal.exception())


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
