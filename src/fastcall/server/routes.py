"""Responses to plain HTTP requests."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastcall.metrics import Metrics
from fastcall.server.admission import CallAdmission
from fastcall.server.authorizer import Authorizer
from fastcall.server.broadcast import Broadcast
from fastcall.server.console import Console
from fastcall.server.http import HttpResponse, PlainRequest, StreamingResponse
from fastcall.server.prometheus import CONTENT_TYPE, render
from fastcall.settings import Settings
from fastcall.twilio.signature import PublicUrl
from fastcall.twilio.stream_tokens import PARAMETER, StreamTokens
from fastcall.twilio.twiml import PASSED_ON, busy_twiml, connect_twiml, own_parameters, redirect_twiml

__all__ = ["Routes"]

XML = "text/xml; charset=utf-8"

Answer = HttpResponse | StreamingResponse


class Routes:
    """The paths and their handlers. Loop thread only.

    :param path: the WebSocket endpoint's path
    :param readiness: returns why no more calls should be sent here; nothing if they should
    :param remarks: returns problems that do not keep calls from being sent here
    :param numbers: returns the merged metrics of all processes
    """

    def __init__(
        self,
        settings: Settings,
        *,
        path: str,
        authorizer: Authorizer,
        gate: CallAdmission,
        tokens: StreamTokens | None,
        metrics: Metrics,
        broadcast: Broadcast,
        readiness: Callable[[], Awaitable[list[str]]],
        remarks: Callable[[], list[str]],
        has_room: Callable[[], bool],
        numbers: Callable[[], Awaitable[dict[str, Any]]],
        leave_room: Callable[[Any], None],
        console: Console,
    ) -> None:
        self._path = path
        self._authorizer = authorizer
        self._gate = gate
        self._tokens = tokens
        self._metrics = metrics
        self._broadcast = broadcast
        self._readiness = readiness
        self._remarks = remarks
        self._has_room = has_room
        self._numbers = numbers
        self._leave_room = leave_room
        self._console = console
        self._fallback_url = settings.fallback_url
        self._url = PublicUrl.parse(settings.public_url) if settings.public_url else None
        self._routes: dict[str, tuple[tuple[str, ...], Callable[[PlainRequest], Awaitable[Answer]]]] = {
            "/healthz": (("GET", "HEAD"), self._healthz),
            "/readyz": (("GET", "HEAD"), self._readyz),
            "/metrics": (("GET", "HEAD"), self._show_metrics),
            "/events": (("GET",), self._events),
            "/twiml": (("GET", "POST"), self._twiml),
            path.rstrip("/") or "/": (("GET",), self._media),
        }

    async def answer(self, request: PlainRequest) -> Answer:
        """The response to ``request``."""
        route = self._routes.get(request.path.rstrip("/") or "/")
        if route is None and (request.path + "/").startswith("/console/"):
            route = self._console.route(request.path)
        if route is None:
            return HttpResponse(404, f"Not found; calls connect to {self._path}.\n")
        methods, answer = route
        if request.method not in methods:
            return HttpResponse(405, f"{' or '.join(methods)} only.\n", allow=", ".join(methods))
        return await answer(request)

    async def _healthz(self, request: PlainRequest) -> Answer:
        return HttpResponse(200, "ok\n")

    async def _readyz(self, request: PlainRequest) -> Answer:
        reasons = await self._readiness()
        remarks = [each for each in self._remarks() if each not in reasons]
        return HttpResponse(503 if reasons else 200, "".join(f"{each}\n" for each in [*(reasons or ["ok"]), *remarks]))

    async def _media(self, request: PlainRequest) -> Answer:
        if "websocket" in request.headers.get("Upgrade", "").lower():
            return HttpResponse(503, "No capacity for another call.\n")
        return HttpResponse(426, "This is a WebSocket endpoint for Twilio Media Streams.\n")

    async def _show_metrics(self, request: PlainRequest) -> Answer:
        if not self._authorizer.may_read(request):
            return HttpResponse(403, "Forbidden; the log says why.\n")
        return HttpResponse(200, render(await self._numbers()), CONTENT_TYPE)

    async def _events(self, request: PlainRequest) -> Answer:
        if not self._authorizer.may_read(request):
            return HttpResponse(403, "Forbidden; the log says why.\n")
        lines = self._broadcast.subscribe()
        if lines is None:
            return HttpResponse(503, "Too many readers.\n")
        self._leave_room(request.transport)
        return StreamingResponse(lines, lines.close)

    async def _twiml(self, request: PlainRequest) -> Answer:
        if self._url is None:
            return HttpResponse(503, "FASTCALL_PUBLIC_URL is not set, so there is no address for the stream.\n")
        if not self._authorizer.may_fetch_twiml(request):
            return HttpResponse(403, "Requests must be signed by Twilio.\n")
        fields = dict(request.form if request.method == "POST" else request.fields)
        call_sid = fields.get("CallSid", "")
        if not call_sid:
            return HttpResponse(400, "CallSid is missing.\n")
        if not self._has_room() or not self._gate.reserve(call_sid, now=time.monotonic()):
            self._metrics.calls_refused["busy"] += 1
            return HttpResponse(200, redirect_twiml(self._fallback_url) if self._fallback_url else busy_twiml(), XML)
        parameters = own_parameters(request.fields) | {name: fields.get(name, "") for name in PASSED_ON}
        if self._tokens is not None:
            parameters[PARAMETER] = self._tokens.mint(call_sid, now=time.time(), nonce=secrets.token_hex(16))
        return HttpResponse(200, connect_twiml(self._url.stream_url(self._path), parameters), XML)
