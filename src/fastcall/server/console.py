"""The console: a page that shows the live calls, and can call this server as a telephone would.

Its files hold nothing secret, and are served to anybody who might be authorized; the data requires authorization. The
token is sent in ``Authorization``, which only this server's page can set: a cookie would also be sent with requests
from other sites' pages, and would need a session shared by all processes.

A browser cannot sign an upgrade as Twilio does. Instead it requests a *call*: ids chosen by this server, a reserved
place, and a ticket for one stream with these ids.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastcall.server.admission import CallAdmission
from fastcall.server.authorizer import Authorizer
from fastcall.server.broadcast import Broadcast
from fastcall.server.http import HttpResponse, PlainRequest, StreamingResponse
from fastcall.twilio.messages import MAX_ID_CHARS
from fastcall.twilio.stream_tokens import TICKET, TICKET_LIFETIME_S, StreamTokens

__all__ = ["Console"]

JSON = "application/json"
CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
    "webmanifest": "application/manifest+json; charset=utf-8",
}

# Only this server's files and endpoints are used; no site may frame the page or learn from a referrer that it was open.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}

Route = tuple[tuple[str, ...], Callable[[PlainRequest], Awaitable[HttpResponse | StreamingResponse]]]


class Console:
    """The console's paths and their answers. Loop thread only.

    :param media_path: the WebSocket endpoint's path
    :param tickets: None if streams need no authorization
    """

    def __init__(
        self,
        media_path: str,
        authorizer: Authorizer,
        gate: CallAdmission,
        tickets: StreamTokens | None,
        broadcast: Broadcast,
        *,
        has_room: Callable[[], bool],
        leave_room: Callable[[Any], None],
    ) -> None:
        self._media_path = media_path
        self._authorizer = authorizer
        self._gate = gate
        self._tickets = tickets
        self._broadcast = broadcast
        self._has_room = has_room
        self._leave_room = leave_room
        self._files = _read_files()

    def route(self, path: str) -> Route | None:
        """Methods and handler of ``path``; None if there is none. Files are matched by their full name."""
        name = path.removeprefix("/console").removeprefix("/")
        if path == "/console":
            return ("GET", "HEAD"), self._redirect
        if name == "calls":
            return ("GET", "POST"), self._calls
        if name == "batches":
            return ("GET",), self._batches
        return (("GET", "HEAD"), self._file) if (name or "index.html") in self._files else None

    async def _redirect(self, request: PlainRequest) -> HttpResponse:
        # Relative, since a proxy may have added a path prefix.
        return HttpResponse(308, "", headers={"Location": "console/"})

    async def _file(self, request: PlainRequest) -> HttpResponse:
        if not self._authorizer.may_see_console(request):
            return HttpResponse(403, "The console is for this machine only, unless FASTCALL_ADMIN_TOKEN is set.\n")
        content, content_type, tag = self._files[request.path.removeprefix("/console/") or "index.html"]
        headers = {**PAGE_HEADERS, "ETag": tag}
        if request.headers.get("If-None-Match") == tag:
            return HttpResponse(304, "", content_type, headers=headers)
        return HttpResponse(200, content, content_type, headers=headers)

    async def _calls(self, request: PlainRequest) -> HttpResponse:
        """``GET``: the streams of the live calls. ``POST``: what a browser needs to place a call."""
        if not self._authorizer.may_read(request):
            return self._refusal()
        if request.method == "GET":
            return _json(200, {"live": [{**key.words(), "stream_sid": sid} for key, sid in self._gate.streams]})
        call_sid, stream_sid = f"CA{secrets.token_hex(16)}", f"MZ{secrets.token_hex(16)}"
        if not self._has_room() or not self._gate.reserve(call_sid, now=time.monotonic()):
            return _json(503, {"error": "no capacity for another call"})
        parameters = {"From": "console"}
        if self._tickets is not None:
            nonce = secrets.token_hex(16)
            parameters[TICKET] = self._tickets.mint(
                call_sid, now=time.time(), nonce=nonce, lifetime_s=TICKET_LIFETIME_S
            )
        call = {"call_sid": call_sid, "stream_sid": stream_sid, "path": self._media_path, "parameters": parameters}
        return _json(201, call)

    async def _batches(self, request: PlainRequest) -> HttpResponse | StreamingResponse:
        """One call's batches to the recognizer, with their times, until the reader disconnects."""
        if not self._authorizer.may_read(request):
            return self._refusal()
        call_sid = dict(request.fields).get("call", "")
        if not 0 < len(call_sid) <= MAX_ID_CHARS:
            return _json(400, {"error": "?call=CALL_SID is missing"})
        lines = self._broadcast.subscribe(call_sid)
        if lines is None:
            return _json(503, {"error": "too many readers"})
        self._leave_room(request.transport)
        return StreamingResponse(lines, lines.close)

    def _refusal(self) -> HttpResponse:
        if self._authorizer.needs_admin_token:
            return _json(401, {"error": "token"}, {"WWW-Authenticate": 'Bearer realm="fastcall"'})
        return _json(403, {"error": "forbidden; the log says why"})


def _json(status: int, value: object, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(status, json.dumps(value) + "\n", JSON, headers=headers or {})


def _read_files() -> dict[str, tuple[bytes, str, str]]:
    """Content, content type and tag of each file, by its name."""
    found = {}
    for entry in files("fastcall").joinpath("data", "console").iterdir():
        content_type = CONTENT_TYPES.get(entry.name.rpartition(".")[2])
        if content_type is not None:
            content = entry.read_bytes()
            found[entry.name] = content, content_type, f'"{sha256(content).hexdigest()[:32]}"'
    return found
