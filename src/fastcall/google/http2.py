"""gRPC calls over HTTP/2 on the event loop's transport, by libnghttp2: no thread, and no task per call.

All messages that the calls of a connection write in one turn of the loop are sent with one system call, at the end of
that turn or, while the loop's thread is busy, 3 ms after the previous write; received data is dispatched in the turn
that reads it. So the kernel's cost is shared by all calls of a connection, and the cost per call falls with load.

A connection serves until the peer sends GOAWAY, it breaks, or it is closed; its owner then creates another. Calls that
it could not serve end with a gRPC status like all others. It never retries: that is up to the owner.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections import deque
from typing import Any, cast

from fastcall._http2 import (
    BEGUN,
    ENDED,
    GOAWAY,
    HEADERS,
    MESSAGE,
    SETTINGS,
    WRITABLE,
    Http2Connection,
    Http2Error,
    Http2Stream,
)
from fastcall.aio.read_turns import SharedReader
from fastcall.errors import RecognizerError
from fastcall.google.grpc_call import Authorization, GrpcCall, GrpcListener, Metadata
from fastcall.google.grpc_status import REFUSED_STREAM, header_block, status_of
from fastcall.google.keepalive import KeepAlive
from fastcall.google.route import Route
from fastcall.google.write_pacing import WritePacing

__all__ = ["GrpcChannel"]

log = logging.getLogger("fastcall.http2")

CONNECT_TIMEOUT_S = 10.0
# While calls are open and nothing was received for this long, a ping is sent, and the peer has this long to respond.
# Servers penalise pings more frequent than every few minutes *without data*; these never are.
KEEPALIVE_AFTER_S = 20.0
KEEPALIVE_TIMEOUT_S = 10.0
GOODBYE_S = 0.5
# Minimum time between two writes while the loop's thread uses more than so much of its core: with many calls, one write
# then carries several requests.
WRITE_EVERY_S = 0.003
BUSY_SHARE = 1 / 3
# Limits of what one turn of the loop processes: bytes received, and events dispatched; the rest follows in the next.
SHARE_BYTES = 16 * 1024
SHARE_EVENTS = 256
# gRPC writes a timeout with 8 digits at most.
TIMEOUT_DIGITS = 100_000_000


class GrpcChannel(asyncio.Protocol):
    """One connection and its calls. Loop thread only; starts to connect on the running loop at once.

    :param route: where to, and how
    :param tls: see ``tls.client_tls``; None for plaintext
    :param server_name: the name that the certificate must have, and the ``:authority``; by default the route's host
    :param headers: sent with every call, after gRPC's own
    :param authorization: authorises the calls; by default none
    """

    def __init__(
        self,
        route: Route,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        headers: Metadata = (),
        authorization: Authorization | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._address = route.address
        self._tls = tls is not None
        self._authority = server_name or (route.host if tls is not None and route.port == 443 else self._address)
        self._headers = headers
        self._authorization = authorization
        self._authorizing: set[asyncio.Task[None]] = set()
        self._http2 = Http2Connection()
        self._reader = SharedReader(self._take, share_bytes=SHARE_BYTES)
        self._events: deque[tuple[int, Http2Stream | None, Any]] = deque()
        self._transport: asyncio.Transport | None = None
        self._settled = asyncio.Event()  # the peer has sent its settings, or the connection failed
        # In the order in which they were opened: requests are sent in this order.
        self._calls: dict[GrpcCall, None] = {}
        self._pacing = WritePacing(every_s=WRITE_EVERY_S, busy_share=BUSY_SHARE, cpu_s=time.thread_time)
        self._paused = False
        self._draining = False
        self._over = False
        self._silence = KeepAlive(after_s=KEEPALIVE_AFTER_S, timeout_s=KEEPALIVE_TIMEOUT_S, now=self._loop.time())
        self._keepalive: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._connecting = self._loop.create_task(self._connect(route, tls, server_name or route.host))

    @property
    def calls(self) -> int:
        """Calls that have not ended."""
        return len(self._calls)

    @property
    def is_usable(self) -> bool:
        """Whether new calls may be opened here."""
        return not self._draining and not self._over

    @property
    def max_calls(self) -> int | None:
        """The peer's limit of concurrent calls, once known; further ones end, unprocessed."""
        return max(1, self._http2.max_streams) if self._settled.is_set() else None

    def open(self, path: str, listener: GrpcListener, *, timeout_s: float | None = None) -> GrpcCall:
        """Start a call; failures are reported as its end.

        :param timeout_s: after this time it ends with ``DEADLINE_EXCEEDED``; also sent to the peer
        """
        call = GrpcCall(self, path, listener)
        self._calls[call] = None
        if timeout_s is not None:
            call.deadline = self._loop.call_later(timeout_s, self._too_late, call)
        if self._over:
            self._loop.call_soon(self._end, call, "UNAVAILABLE", "the connection is closed")
        elif self._settled.is_set():
            self._loop.call_soon(self._begin, call)
        return call

    async def aclose(self) -> None:
        """End all calls, send GOAWAY, and close the connection."""
        self._draining = True
        for call in tuple(self._calls):
            self.cancel(call)
        for task in self._authorizing:
            task.cancel()
        self._connecting.cancel()
        await asyncio.gather(self._connecting, return_exceptions=True)
        if self._transport is not None:
            if not self._over:
                self._http2.goodbye()
                self._flush()
                self._close()
            try:
                async with asyncio.timeout(GOODBYE_S):
                    await asyncio.shield(self._closed)
            except TimeoutError:
                self._transport.abort()
                await self._closed
        await asyncio.sleep(0)  # lets the calls' ends be delivered

    # --- for the calls ----------------------------------------------------------------------------------

    def write(self, stream: Http2Stream, message: bytes, field: int) -> bool:
        """Queue a message; it is sent with the connection's next write. Returns whether more may follow."""
        writable = self._http2.write(stream, message, field)
        self.flush_soon()
        return writable

    def half_close(self, stream: Http2Stream) -> None:
        """The stream's last frame follows its queued messages."""
        self._http2.half_close(stream)
        self.flush_soon()

    def cancel(self, call: GrpcCall) -> None:
        """Reset its stream; its end is reported in a later turn of the loop."""
        if self._calls.pop(call, call) is None:
            self._reset(call)
            self._loop.call_soon(call.ended, "CANCELLED", "cancelled")

    def flush_soon(self) -> None:
        """Something is to be sent: at the end of this turn of the loop, or a little later (see ``WritePacing``)."""
        if not self._http2.flush_due and not self._paused and self._transport is not None:
            self._http2.flush_due = True
            self._loop.call_later(self._pacing.wait_s(now=self._loop.time()), self._flush)

    def _too_late(self, call: GrpcCall) -> None:
        if call in self._calls:
            self._reset(call)
            self._end(call, "DEADLINE_EXCEEDED", "the call's deadline has passed")

    def _reset(self, call: GrpcCall) -> None:
        if call.stream is not None and not self._over:
            self._http2.reset(call.stream)
            self.flush_soon()

    def _begin(self, call: GrpcCall) -> None:
        if self._authorization is not None and not self._authorization.is_ready:
            task = self._loop.create_task(self._begin_authorized(call, self._authorization))
            self._authorizing.add(task)
            task.add_done_callback(self._authorizing.discard)
        else:
            self._send_request(call)

    async def _begin_authorized(self, call: GrpcCall, authorization: Authorization) -> None:
        try:
            await authorization.ready()
        except RecognizerError as error:
            self._end(call, error.code, error.message)
        else:
            self._send_request(call)

    def _send_request(self, call: GrpcCall) -> None:
        if call not in self._calls:
            return  # it was cancelled meanwhile
        if not self.is_usable:
            self._end(call, "UNAVAILABLE", f"{self._address} goes away", unprocessed=True)
            return
        if sum(each.stream is not None for each in self._calls) >= max(1, self._http2.max_streams):
            self._no_room(call)
            return
        try:
            if self._authorization is not None:
                call.authorized_by = self._authorization.headers()
            block = header_block(
                (":method", "POST"),
                (":scheme", "https" if self._tls else "http"),
                (":path", call.path),
                (":authority", self._authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                *self._timeout(call),
                *self._headers,
                *call.authorized_by,
            )
            stream = self._http2.open(block, call)
        except (Http2Error, ValueError) as error:
            self._end(call, "UNAVAILABLE", str(error))
            return
        call.connected(stream)
        self.flush_soon()

    def _no_room(self, call: GrpcCall) -> None:
        """Not queued until others end: its owner can use another connection."""
        self._reset(call)
        message = f"{self._address} allows at most {self._http2.max_streams} concurrent calls per connection"
        self._end(call, "UNAVAILABLE", message, unprocessed=True)

    def _timeout(self, call: GrpcCall) -> Metadata:
        if call.deadline is None:
            return ()
        left_ms = max(1, round((call.deadline.when() - self._loop.time()) * 1000))
        return (("grpc-timeout", f"{left_ms}m" if left_ms < TIMEOUT_DIGITS else f"{left_ms // 1000}S"),)

    def _end(self, call: GrpcCall, code: str, message: str, *, unprocessed: bool = False) -> None:
        self._calls.pop(call, None)
        call.ended(code, message, unprocessed=unprocessed)

    def _ended(self, call: GrpcCall, code: str, message: str, *, unprocessed: bool) -> None:
        """The peer ended the call. If its token was not accepted, a newer one may be: the call may be retried."""
        authorization = self._authorization
        if code == "UNAUTHENTICATED" and authorization is not None and authorization.not_accepted(call.authorized_by):
            code, message, unprocessed = "UNAVAILABLE", f"the access token was not accepted: {message}", True
        self._end(call, code, message, unprocessed=unprocessed)

    # --- the connection -----------------------------------------------------------------------------------

    async def _connect(self, route: Route, tls: ssl.SSLContext | None, server_name: str) -> None:
        try:
            if self._authorization is not None:
                await self._authorization.ready()
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                options: dict[str, Any] = {}
                if tls is not None:
                    options = {"ssl": tls, "server_hostname": server_name, "ssl_shutdown_timeout": GOODBYE_S}
                await self._attach(await route.connect(), options)
                await self._settled.wait()
        except TimeoutError:
            self._abort("UNAVAILABLE", f"no connection to {self._address} within {CONNECT_TIMEOUT_S:g} s")
        except RecognizerError as error:
            self._finish(error.code, error.message)
        except (OSError, UnicodeError, OverflowError) as error:  # the latter two: a malformed host or port
            self._finish("UNAVAILABLE", f"no connection to {self._address}: {getattr(error, 'strerror', 0) or error}")

    async def _attach(self, sock: socket.socket, options: dict[str, Any]) -> None:
        try:
            await self._loop.create_connection(lambda: self, sock=sock, **options)
        except BaseException:
            sock.close()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's; calls wait for the peer's settings with its limit of streams, because it would refuse others."""
        self._transport = cast(asyncio.Transport, transport)
        agreed = transport.get_extra_info("ssl_object")
        if agreed is not None and agreed.selected_alpn_protocol() != "h2":
            self._abort("UNAVAILABLE", f"{self._address} does not speak HTTP/2")
            return
        self._flush()

    def data_received(self, data: bytes) -> None:
        """asyncio's; dispatches the data to the calls in the same turn."""
        self._silence.heard(now=self._loop.time())
        if self._transport is not None:
            self._reader.received(self._transport, data)

    def _take(self, data: bytes) -> bool:
        """Process a share of the received data; returns whether events remain to be dispatched."""
        if self._over:
            return False
        try:
            self._queue(self._http2.receive(data) if data else [])
        except Http2Error as error:
            self._abort("UNAVAILABLE", f"the HTTP/2 connection to {self._address} broke: {error}")
            return False
        self._dispatch(SHARE_EVENTS)
        if self._http2.wants_to_send:
            self.flush_soon()
        return bool(self._events)

    def pause_writing(self) -> None:
        """asyncio's: the socket's buffer is full. Queues fill, and their calls become unwritable."""
        self._paused = True

    def resume_writing(self) -> None:
        """asyncio's."""
        self._paused = False
        self.flush_soon()

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio's; called once and last."""
        self._reader.finish()
        self._finish("UNAVAILABLE", f"the connection to {self._address} was lost: {error or 'closed by the peer'}")
        self._closed.set_result(None)

    def _abort(self, code: str, message: str) -> None:
        self._finish(code, message)
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, code: str, message: str) -> None:
        """End all calls."""
        self._dispatch(len(self._events))
        self._over = True
        self._settled.set()
        if self._keepalive is not None:
            self._keepalive.cancel()
        if self._calls:
            log.debug("%s", message)
        for call in tuple(self._calls):
            self._end(call, code, message)

    def _close(self) -> None:
        # asyncio's TLS transports abandon a shutdown in progress if they are closed twice.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def _flush(self) -> None:
        self._http2.flush_due = False
        transport = self._transport
        while transport is not None and not self._over and not self._paused:
            try:
                data, events = self._http2.data_to_send()
            except Http2Error as error:
                self._abort("UNAVAILABLE", f"the HTTP/2 connection to {self._address} broke: {error}")
                return
            if data:
                self._pacing.written(now=self._loop.time())
                transport.write(data)
            if events:
                self._queue(events)
                self._reader.received(transport, b"")
            if not data:
                break
        if transport is not None and not self._over and not self._http2.wants_more:
            if not self._draining:  # the library ended it: the peer violated the protocol
                message = f"the HTTP/2 connection to {self._address} broke: protocol violation by the peer"
                self._finish("UNAVAILABLE", message)
            self._close()  # both sides have finished; connection_lost follows

    def _queue(self, events: list[tuple[int, Http2Stream | None, Any]]) -> None:
        # GOAWAY arrives together with the ends of calls that it refuses: handle it first, so that none is retried here.
        self._events.extend(event for event in events if event[1] is None)
        self._events.extend(event for event in events if event[1] is not None)

    def _dispatch(self, limit: int) -> None:
        """Dispatch up to ``limit`` events."""
        calls = self._calls
        for _ in range(min(limit, len(self._events))):
            kind, stream, value = self._events.popleft()
            if stream is None:
                self._connection_event(kind, value)
                continue
            call: GrpcCall = stream.owner
            if call not in calls:
                continue  # it was cancelled
            try:
                if kind == MESSAGE:
                    call.listener.call_message(value)
                else:
                    self._call_event(call, kind, value)
            except Exception:
                # Affects one call; the others of this connection continue.
                log.exception("a call's listener failed")
                self.cancel(call)

    def _call_event(self, call: GrpcCall, kind: int, value: Any) -> None:
        if kind == WRITABLE:
            if not call.half_closed:
                call.writable = True
                call.listener.call_writable()
        elif kind == BEGUN:
            call.has_begun = True
            call.listener.call_begun()
        elif kind == ENDED:
            self._ended(call, *status_of(*value), unprocessed=value[0] == REFUSED_STREAM)
        elif kind == HEADERS:
            call.listener.call_answered()

    def _connection_event(self, kind: int, value: Any) -> None:
        if kind == GOAWAY:
            last_stream, code, words = value
            log.debug("%s goes away: code %d %r", self._address, code, words)
            self._draining = True
            for call in tuple(self._calls):
                # The library ended the calls above the last stream that were sent; those still queued would wait
                # forever.
                if call.stream is not None and (not call.has_begun or call.stream.id > last_stream):
                    self._http2.reset(call.stream)
                    self._end(call, "UNAVAILABLE", f"{self._address} goes away", unprocessed=True)
        elif kind == SETTINGS and not self._settled.is_set():
            self._settled.set()
            for call in tuple(self._calls):
                self._begin(call)
            self._keepalive = self._loop.call_later(KEEPALIVE_AFTER_S, self._keep_alive)
        elif kind == SETTINGS:
            placed = [call for call in self._calls if call.stream is not None]
            for call in placed[max(1, self._http2.max_streams) :]:
                if not call.has_begun:
                    self._no_room(call)

    def _keep_alive(self) -> None:
        now = self._loop.time()
        todo = self._silence.poll(is_used=bool(self._calls), now=now)
        if todo == "gone":
            self._abort("UNAVAILABLE", f"{self._address} stopped responding")
            return
        if todo == "ask":
            self._http2.ping()
            self.flush_soon()
        self._keepalive = self._loop.call_later(self._silence.wait_s(now=now), self._keep_alive)
