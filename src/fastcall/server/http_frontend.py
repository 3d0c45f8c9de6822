"""The listening port and everything behind it except calls: requests, readiness, admission, draining."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from typing import Any, Protocol

from fastcall.errors import UsageError
from fastcall.events import CallStarted
from fastcall.metrics import Metrics
from fastcall.server.admission import CallAdmission, CallHolder, Refusal
from fastcall.server.authorizer import Authorizer
from fastcall.server.broadcast import Broadcast
from fastcall.server.console import Console
from fastcall.server.http import HttpProtocols
from fastcall.server.options import ServeOptions
from fastcall.server.routes import Routes
from fastcall.server.sniffer import PendingConnections, ProtocolSniffer
from fastcall.server.websocket import UpgradeRequest
from fastcall.settings import Settings
from fastcall.twilio.stream_key import StreamKey
from fastcall.twilio.stream_tokens import StreamTokens, console_tickets

__all__ = ["CallPool", "HttpFrontend"]

log = logging.getLogger("fastcall")


class CallPool(Protocol):
    """Runs the calls: in this process, or in workers."""

    @property
    def live_calls(self) -> int:
        """Sockets that are open or whose last words are still coming."""

    def websocket(self) -> asyncio.Protocol:
        """The protocol of a connection whose first bytes are an upgrade request."""

    def has_room(self) -> bool:
        """Whether another call would be served well."""

    async def unready_reasons(self) -> list[str]:
        """Why no more calls should be sent here; nothing if they should."""

    def warnings(self) -> list[str]:
        """Problems that do not keep calls from being sent here."""

    async def numbers(self) -> dict[str, Any]:
        """The pool's metrics, the frontend's included."""

    def watch(self, call_sids: frozenset[str]) -> None:
        """Report each batch of these calls, and of no others, to the frontend's broadcast."""


class HttpFrontend:
    """Loop thread only; ``listen``, then ``drain`` if calls may end, then ``close`` and ``finish``.

    :param metrics: counts refusals and waiting sockets
    """

    def __init__(
        self,
        settings: Settings,
        options: ServeOptions,
        pool: CallPool,
        metrics: Metrics,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._options = options
        self._pool = pool
        self._metrics = metrics
        tokens = StreamTokens(settings.stream_secret) if settings.stream_secret else None
        tickets = console_tickets(settings.stream_secret, settings.admin_token)
        self.gate = CallAdmission(max_calls=options.max_calls, tokens=tokens, tickets=tickets)
        self.broadcast = Broadcast(metrics, on_watch=pool.watch)
        self.authorizer = Authorizer(
            settings, metrics, lets_all_in=options.insecure, gives_all_tokens=options.insecure_twiml
        )
        self.room = PendingConnections(on_closed=self._note_idle_closed)
        routes = Routes(
            settings,
            path=options.path,
            authorizer=self.authorizer,
            gate=self.gate,
            tokens=tokens,
            metrics=metrics,
            broadcast=self.broadcast,
            readiness=self._readiness,
            remarks=pool.warnings,
            has_room=self._has_room,
            numbers=pool.numbers,
            leave_room=self.room.leave,
            console=Console(
                options.path,
                self.authorizer,
                self.gate,
                tickets,
                self.broadcast,
                has_room=self._has_room,
                leave_room=self.room.leave,
            ),
        )
        self._http = HttpProtocols(routes.answer)
        self._front = ProtocolSniffer(
            websocket=pool.websocket, plain=self.plain, room=self.room, on_bad_head=self._note_bad_head, tls=tls
        )
        self._is_draining = False
        self._is_drained = asyncio.Event()

    async def listen(self) -> int:
        """Accept connections.

        :return: the port
        :raises UsageError: the address cannot be listened on
        """
        host, port = self._options.host, self._options.port
        try:
            return await self._front.listen(host, port)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
            ) from error

    async def drain(self) -> None:
        """Accept no more calls, except those with a reserved place; return when the last has ended, or after
        ``drain_timeout_s``. Plain requests are answered meanwhile: not ready, busy."""
        self._is_draining = True
        self.gate.take_no_more()
        timeout_s = self._options.drain_timeout_s
        if self._pool.live_calls and timeout_s:
            log.info("draining: %d live calls have %g s to end", self._pool.live_calls, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_drained.wait()
        except TimeoutError:
            log.info("drain timeout reached")

    def poll(self) -> None:
        """Call a few times a second: a drain waits for live calls, and for calls with a reserved place."""
        if self._is_draining and not self._pool.live_calls and not self.gate.may_come(now=time.monotonic()):
            self._is_drained.set()

    def close(self) -> None:
        """Accept no more connections, and close sockets without a call."""
        self._is_draining = True
        self._front.close()
        if self._pool.live_calls:
            log.info("stopping: closing %d live calls, waiting for their last words", self._pool.live_calls)

    async def finish(self) -> None:
        """The calls are over: end the readers."""
        self.broadcast.close()
        await self._http.close()

    def plain(self) -> asyncio.Protocol:
        """The protocol of a connection whose first bytes are a plain request, or a refused upgrade."""
        return self._http()

    # --- calls --------------------------------------------------------------------------------------------

    def admit(self, upgrade: UpgradeRequest) -> tuple[int, str] | None:
        """Check an upgrade; see ``MediaServer``."""
        refusal = self.authorizer.check(self._options.path, upgrade)
        if refusal is None and not self.may_upgrade():
            return 503, "No capacity for another call.\n"
        return refusal

    def may_upgrade(self) -> bool:
        """Whether there is capacity for a socket that may become a call; counts a refusal."""
        if self.gate.may_come(now=time.monotonic()) and (self._is_draining or self._pool.has_room()):
            return True
        self._metrics.calls_refused["upgrade"] += 1
        return False

    def enter(
        self, call: CallStarted, holder: CallHolder, *, may_wait: bool = False, has_waited: bool = False
    ) -> Refusal | None:
        """A call's start was received; see ``CallAdmission``.

        :param may_wait: a refusal as a second socket is not final, and is not counted
        """
        refusal = self.gate.enter(call, holder, now=time.monotonic(), unix_now=time.time(), has_waited=has_waited)
        if refusal is None:
            self._metrics.calls_live = self.gate.live
        elif not (may_wait and refusal.reason == "second_socket"):
            self._metrics.note_refusal(refusal.reason, is_auth=refusal.is_auth)
        return refusal

    def holder(self, key: StreamKey) -> CallHolder | None:
        """See ``Gate``."""
        return self.gate.holder(key)

    def leave(self, key: StreamKey, holder: CallHolder) -> None:
        """A call's socket is gone."""
        self.gate.leave(key, holder)
        self._metrics.calls_live = self.gate.live

    # --- readiness ----------------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        return not self._is_draining and self._pool.has_room()

    async def _readiness(self) -> list[str]:
        if self._is_draining:
            return ["draining"]
        nearly_full = [f"nearly all {self._options.max_calls} places are taken"]
        return [*([] if self.gate.is_ready(now=time.monotonic()) else nearly_full), *await self._pool.unready_reasons()]

    def _note_idle_closed(self) -> None:
        self._metrics.idle_closed += 1

    def _note_bad_head(self, reason: str) -> None:
        self._metrics.bad_heads[reason] += 1
