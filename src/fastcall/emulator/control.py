"""The emulator's HTTP API: its status, and control of faults while it runs. On the same port as gRPC.

::

    GET    /            status, for people
    GET    /status      status, JSON
    GET    /faults      the armed faults, JSON
    POST   /faults      arm faults: a scenario as JSON; streams are counted from here
    POST   /faults/now  inject a fault into all open streams: status, reset, goaway, stall, refuse_connections
    DELETE /faults      disarm all

HTTP/1.1, one request per connection. Requests that change something need `Content-Type: application/json`, which a
web page of another origin cannot send without a preflight, and must come from this machine. The `Host` of every
request must be an IP address, `localhost` or the name that the emulator listens on, against DNS rebinding.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

import h11

from fastcall.emulator.faults import Fault, Kind, parse_faults
from fastcall.emulator.server_state import ServerState

__all__ = ["MAX_BODY_BYTES", "Control", "HttpConnection"]

MAX_HEAD_BYTES: Final = 8192
MAX_BODY_BYTES: Final = 262_144
_TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = {Kind.STATUS, Kind.RESET, Kind.GOAWAY, Kind.STALL, Kind.REFUSE_CONNECTIONS}


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class Control:
    """Answers requests. `on_server_fault` injects the faults of the listening socket."""

    def __init__(self, state: ServerState, on_server_fault: Callable[[Fault], None]) -> None:
        self._state = state
        self._on_server_fault = on_server_fault

    def check_host(self, host: str | None) -> None:
        """Refuse requests for a host name that is not the emulator's; browsers always send it."""
        if host is not None and not _is_ours(host, self._state.options.host):
            raise _Refused(HTTPStatus.FORBIDDEN, "use the emulator's IP address, or localhost")

    def answer(self, method: str, path: str, body: bytes) -> tuple[HTTPStatus, str, str]:
        """(status, content type, text). Never raises."""
        try:
            if method == "GET" and path == "/":
                return HTTPStatus.OK, "text/plain", self._page()
            return HTTPStatus.OK, "application/json", json.dumps(self._json(method, path, body)) + "\n"
        except _Refused as refused:
            return refused.status, "text/plain", f"{refused}\n"

    def _json(self, method: str, path: str, body: bytes) -> Any:
        faults = self._state.faults
        match method, path:
            case "GET", "/status":
                return self._state.status()
            case "GET", "/faults":
                return {"faults": faults.armed}
            case "POST", "/faults":
                new = _faults_in(body)
                self._arm(new)
                return {"armed": len(new)}
            case "POST", "/faults/now":
                new = _faults_in(body)
                return {"streams": self._inject(new)}
            case "DELETE", "/faults":
                faults.clear()
                return {"armed": 0}
        if path in ("/", "/status", "/faults", "/faults/now"):
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} is not allowed here")
        raise _Refused(HTTPStatus.NOT_FOUND, "the paths are /status, /faults and /faults/now")

    def _arm(self, new: Sequence[Fault]) -> None:
        try:
            self._state.faults.add(
                (fault for fault in new if fault.fault is not Kind.REFUSE_CONNECTIONS),
                after_stream=self._state.opened,
            )
        except ValueError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
        for fault in new:
            if fault.fault is Kind.REFUSE_CONNECTIONS:
                self._on_server_fault(fault)

    def _inject(self, new: Sequence[Fault]) -> int:
        for fault in new:
            if fault.fault not in _AT_ONCE:
                raise _Refused(HTTPStatus.BAD_REQUEST, f"{fault.fault} cannot be injected into open streams")
        streams = list(self._state.open.values())
        for fault in new:
            if fault.fault is Kind.REFUSE_CONNECTIONS:
                self._on_server_fault(fault)
            else:
                for handler in streams:
                    handler.inject(fault)
        return len(streams)

    def _page(self) -> str:
        status = self._state.status()
        streams, faults = status["streams"], status["faults"]
        ended = ", ".join(f"{count} {name}" for name, count in sorted(streams["ended"].items())) or "none"
        fired = ", ".join(f"{count} {name}" for name, count in sorted(faults["fired"].items())) or "none"
        return (
            f"fastcall emulator, engine {status['engine']}\n"
            f"streams  {streams['open']} open, {streams['opened']} opened, ended: {ended}\n"
            f"audio    {status['audio_s']:.1f} s\n"
            f"faults   {len(faults['armed'])} armed, fired: {fired}\n"
        )


def _is_ours(host: str, listens_on: str) -> bool:
    name = host.strip().lower()
    name = name[: name.rfind(":")] if name.rfind(":") > name.rfind("]") else name
    if name in ("localhost", listens_on.lower()):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _faults_in(body: bytes) -> tuple[Fault, ...]:
    try:
        return parse_faults(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from None


class HttpConnection(asyncio.Protocol):
    """One request and its response."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._transport: asyncio.Transport | None = None
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timeout = asyncio.get_running_loop().call_later(_TIMEOUT_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timeout is not None:
            self._timeout.cancel()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return  # closed, or answered
        try:
            self._http.receive_data(data)
            while isinstance(event := self._http.next_event(), h11.Event):
                if isinstance(event, h11.EndOfMessage):
                    assert self._request is not None
                    method, path = self._request.method.decode(), self._request.target.partition(b"?")[0].decode()
                    self._send(*self._control.answer(method, path, bytes(self._body)))
                    return
                self._take(event)
        except h11.RemoteProtocolError as error:
            self._send(HTTPStatus(error.error_status_hint), "text/plain", f"{error}\n")
        except _Refused as refused:
            self._send(refused.status, "text/plain", f"{refused}\n")

    def _take(self, event: h11.Event) -> None:
        """The head of a request, or a part of its body."""
        if isinstance(event, h11.Request):
            self._request = event
            # h11 itself limits only incomplete heads.
            if sum(len(name) + len(value) for name, value in event.headers) + len(event.target) > MAX_HEAD_BYTES:
                raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header too large")
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            self._check_size(int(headers.get("content-length", "0")))
            self._control.check_host(headers.get("host"))
            if event.method != b"GET":
                self._check_may_change(event.method, headers)
        elif isinstance(event, h11.Data):
            self._check_size(len(self._body) + len(event.data))
            self._body += event.data

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > MAX_BODY_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_BYTES} bytes")

    def _check_may_change(self, method: bytes, headers: dict[str, str]) -> None:
        assert self._transport is not None
        peer = self._transport.get_extra_info("peername")
        if not ipaddress.ip_address(peer[0]).is_loopback:
            raise _Refused(HTTPStatus.FORBIDDEN, "faults can only be controlled from this machine")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method == b"POST" and kind != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        assert self._transport is not None
        body = text.encode()
        headers = [
            ("Content-Type", f"{kind}; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        response = h11.Response(status_code=status, headers=headers, reason=status.phrase)
        is_head = self._request is not None and self._request.method == b"HEAD"
        events = (response, h11.Data(b"" if is_head else body), h11.EndOfMessage())
        self._transport.write(b"".join(self._http.send(event) or b"" for event in events))
        if self._transport.can_write_eof():
            # Closing with unread input would reset the connection before the response is read, so let the client close.
            self._transport.write_eof()
        else:  # TLS
            self._transport.close()
