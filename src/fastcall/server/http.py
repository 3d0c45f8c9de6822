"""Plain HTTP requests. aiohttp parses, limits and answers them; what to answer is decided elsewhere.

One request per connection: proxies and scrapers, who send more, do not need them quickly, and a closed connection
cannot be held open for its next request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.http import HttpVersion10
from aiohttp.web_protocol import RequestHandler

from fastcall.aio.read_turns import SharedReader

__all__ = ["HttpProtocols", "HttpResponse", "PlainRequest", "StreamingResponse"]

log = logging.getLogger("fastcall.http")

MAX_BODY_BYTES = 64 * 1024
MAX_FORM_FIELDS = 500
BODY_TIMEOUT_S = 5.0
# Parsed per turn of the loop: one-byte chunks of a body are expensive for aiohttp.
SHARE_BYTES = 2 * 1024
# More than a head and the longest body, in chunks of at least twelve bytes; nothing is read beyond that.
MAX_REQUEST_BYTES = 128 * 1024
# Time for requests in progress when the server stops.
SHUTDOWN_S = 1.0

# Responses must not be cached, nor their content types guessed.
COMMON_HEADERS = {"Server": "fastcall", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

FORM = "application/x-www-form-urlencoded"


@dataclass(slots=True, frozen=True)
class PlainRequest:
    """A complete request. Nothing in it can be trusted."""

    method: str
    path: str
    """As sent, without the query."""
    query: str
    """As sent, without the ``?``; empty if there is none."""
    headers: Mapping[str, str]
    """By case-insensitive name; of repeated names, the first."""
    form: tuple[tuple[str, str], ...]
    """The decoded fields of a posted form, empty ones included."""
    peer: str
    """The address of the socket's peer: a proxy's, if there is one."""
    transport: asyncio.BaseTransport | None

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The query's decoded fields."""
        return tuple(parse_qsl(self.query, keep_blank_values=True)) if self.query else ()


@dataclass(slots=True, frozen=True)
class HttpResponse:
    """A response."""

    status: int
    body: str | bytes
    content_type: str = "text/plain"
    allow: str = ""
    """With 405: the methods allowed."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Additional headers, or other values of the common ones."""


@dataclass(slots=True, frozen=True)
class StreamingResponse:
    """A response that lasts until ``lines`` end or the reader disconnects."""

    lines: AsyncIterator[str]
    on_end: Callable[[], None]
    """Called once, when ``lines`` will not be read any more, even if iteration never began."""
    content_type: str = "application/x-ndjson"


ReplyRunner = Callable[[PlainRequest], Awaitable[HttpResponse | StreamingResponse]]


class HttpProtocols:
    """Makes the protocol of each plain connection. Loop thread only.

    :param answer: makes the response; its errors are logged and answered with 500
    """

    def __init__(self, answer: ReplyRunner) -> None:
        self._answer = answer
        # Malformed requests are answered with 400 but not logged: anyone could fill the log.
        silent = logging.getLogger("fastcall.http.protocol")
        silent.disabled = True
        self._server = web.Server(self._handle, request_factory=self._make_request)
        self._options: dict[str, Any] = {
            "access_log": None,
            "logger": silent,
            "lingering_time": 0.0,
            "auto_decompress": False,
        }
        self._server.handler_cancellation = True

    def __call__(self) -> asyncio.Protocol:
        """The protocol of one connection."""
        handler = _Handler(self._server, loop=asyncio.get_running_loop(), **self._options)
        return _Shared(handler)

    async def close(self) -> None:
        """End requests in progress, after a second."""
        await self._server.shutdown(SHUTDOWN_S)

    def _make_request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._respond(request)
        response.force_close()
        return response

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                form = await _form_of(request)
        except TimeoutError:
            return _response(HttpResponse(408, "The body did not arrive in time.\n"))
        except web.HTTPRequestEntityTooLarge:
            return _response(HttpResponse(413, f"The body exceeds {MAX_BODY_BYTES} bytes.\n"))
        except (UnicodeDecodeError, ValueError):
            return _response(HttpResponse(400, "The body is not a valid form.\n"))
        plain = PlainRequest(
            request.method,
            request.raw_path.partition("?")[0],
            request.raw_path.partition("?")[2],
            request.headers,
            form,
            request.remote or "",
            request.transport,
        )
        try:
            answer = await self._answer(plain)
        except Exception:
            log.exception("internal error on a request for %.100r", plain.path)
            return _response(HttpResponse(500, "Internal error; the log has the reason.\n"))
        return await _stream_lines(request, answer) if isinstance(answer, StreamingResponse) else _response(answer)


class _Handler(RequestHandler):
    __slots__ = ()

    def handle_error(self, *args: Any, **options: Any) -> web.StreamResponse:
        """aiohttp's response to malformed requests, without its version."""
        response = super().handle_error(*args, **options)
        response.headers.update(COMMON_HEADERS)
        return response


class _Shared(asyncio.Protocol):
    """aiohttp's protocol of one connection, fed in shares, and with no more than a request may have."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        self._reader = SharedReader(self._take, share_bytes=SHARE_BYTES)
        self._received = 0
        self._transport: asyncio.Transport
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        data = data[: MAX_REQUEST_BYTES - self._received]
        self._received += len(data)
        if data:
            self._reader.received(self._transport, data)
        else:
            self._transport.pause_reading()  # answered without the rest, then closed

    def eof_received(self) -> bool | None:
        self._reader.finish()
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader.cancel()
        self._protocol.connection_lost(exc)

    def _take(self, data: bytes) -> bool:
        self._protocol.data_received(data)
        return False


async def _form_of(request: web.BaseRequest) -> tuple[tuple[str, str], ...]:
    body = await request.read()
    if not body or request.content_type != FORM:
        return ()
    return tuple(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS))


def _response(answer: HttpResponse) -> web.Response:
    headers = {**COMMON_HEADERS, **answer.headers}
    if answer.allow:
        headers["Allow"] = answer.allow
    content_type, _, parameter = answer.content_type.partition(";")
    version = f";{parameter}" if parameter else "; charset=utf-8"
    headers["Content-Type"] = content_type + version
    body = answer.body.encode() if isinstance(answer.body, str) else answer.body
    return web.Response(status=answer.status, body=body, headers=headers)


async def _stream_lines(request: web.BaseRequest, stream: StreamingResponse) -> web.StreamResponse:
    try:
        return await _send_lines(request, stream)
    except ConnectionError:
        log.debug("a reader of lines is gone")
        return web.Response(status=499)  # the client is gone
    finally:
        stream.on_end()


async def _send_lines(request: web.BaseRequest, stream: StreamingResponse) -> web.StreamResponse:
    response = web.StreamResponse(headers={**COMMON_HEADERS, "Content-Type": stream.content_type})
    response.force_close()
    if request.version != HttpVersion10:
        response.enable_chunked_encoding()
    await response.prepare(request)
    async for line in stream.lines:
        await response.write(line.encode(errors="backslashreplace"))
    return response
