"""The grpcio uplink: uses grpcio's own threads and two tasks per stream. Works wherever grpcio does."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import grpc
import grpc.aio

from fastcall.errors import RecognizerError
from fastcall.google.access_tokens import TokenSource
from fastcall.google.api_versions import ApiVersion
from fastcall.google.grpc_call import Metadata
from fastcall.google.uplink import STREAM_TIMEOUT_S, OpenStream, StreamRequest
from fastcall.ports import StreamEnd

__all__ = ["GrpcioConnection", "GrpcioStream"]

log = logging.getLogger("fastcall.google")

# Batches that may wait in a stream before it is no longer writable: one being sent and one behind it.
MAX_PENDING = 2
# The status arrives with the end of the responses. Without one, gRPC would wait for the end of our half of the stream,
# which stays open as long as the call.
STATUS_TIMEOUT_S = 1.0
# A stream that has not begun this long after others of its connection waits because the connection is full.
FULL_AFTER_S = 0.25
# How long the limit deduced from that is believed: the cause may have been another.
LEARNED_S = 60.0


_BROKEN = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


class GrpcioConnection:
    """A channel with a connection that no other channel shares; see ``Connection``.

    :param tokens: authorise each stream; None: no credentials are needed
    """

    def __init__(self, channel: grpc.aio.Channel, tokens: TokenSource | None = None) -> None:
        self._channel = channel
        self.tokens = tokens
        self._streams: set[GrpcioStream] = set()
        self._methods: dict[str, Any] = {}
        self._learned: int | None = None
        self._learned_at = 0.0

    @property
    def max_streams(self) -> int | None:
        """As far as known: gRPC does not expose the peer's limit, and streams beyond it wait without notice."""
        if self._learned is not None and asyncio.get_running_loop().time() >= self._learned_at + LEARNED_S:
            self._learned = None
        return self._learned

    def open(self, request: StreamRequest) -> OpenStream:
        """Begin a stream."""
        stream = GrpcioStream(self, request)
        self.carry(stream)
        return stream

    def carry(self, stream: GrpcioStream) -> None:
        """Let ``stream`` begin on this connection."""
        self._streams.add(stream)
        if any(each.has_begun for each in self._streams):
            self._poll_soon()

    def lose(self, stream: GrpcioStream) -> None:
        """``stream`` has ended, or moved to another connection."""
        self._streams.discard(stream)

    def began(self) -> None:
        """A stream has begun: the connection is open, so those that have not begun should do so soon."""
        if not all(each.has_begun for each in self._streams):
            self._poll_soon()

    def _poll_soon(self) -> None:
        waiting = [each for each in self._streams if not each.has_begun]
        loop = asyncio.get_running_loop()
        # In two halves: after one late turn, the loop still has half of the time to process events.
        loop.call_later(FULL_AFTER_S / 2, loop.call_later, FULL_AFTER_S / 2, self._poll, waiting)

    def _poll(self, waiting: list[GrpcioStream]) -> None:
        """Streams still waiting while others run exceed the peer's limit: move them to another connection."""
        begun = sum(each.has_begun for each in self._streams)
        for stream in waiting:
            if begun and stream in self._streams and not stream.has_begun:
                self._learned, self._learned_at = begun, asyncio.get_running_loop().time()
                stream.begin_elsewhere()

    def start_call(self, api_version: ApiVersion, headers: Metadata) -> Any:
        """A gRPC call of StreamingRecognize."""
        method = self._methods.get(api_version.method)
        if method is None:
            method = self._methods[api_version.method] = self._channel.stream_stream(
                api_version.method, request_serializer=None, response_deserializer=api_version.parse
            )
        return method(timeout=STREAM_TIMEOUT_S, metadata=tuple(headers))

    def is_gone(self, *, has_worked: bool) -> bool:
        """gRPC would reconnect by itself, but with back-off of up to 2 min; a new connection is faster."""
        state = self._channel.get_state()
        return state in _BROKEN or (state is grpc.ChannelConnectivity.IDLE and has_worked)

    async def aclose(self) -> None:
        """End all streams and close the channel."""
        tasks = [stream.task for stream in self._streams]
        for stream in tuple(self._streams):
            stream.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._channel.close()


class GrpcioStream:
    """A task that writes pending batches and a task that reads responses.

    Owns the gRPC call; ``stream_ended`` is the listener's last event.
    """

    def __init__(self, connection: GrpcioConnection, request: StreamRequest) -> None:
        self.has_begun = False
        """Whether the first request was sent."""
        self._connection = connection
        self._moves = False
        self._request = request
        self._api_version = request.api_version
        self._listener = request.listener
        self._pending: deque[bytes] = deque((request.first,))
        self._half_closed = False
        self._cancelled = False
        self._waits_for_token = False
        self._was_full = False
        self._wake = asyncio.Event()
        self._call: Any = None
        self.task = asyncio.get_running_loop().create_task(self._run())

    @property
    def writable(self) -> bool:
        """Whether another batch may be written now."""
        if len(self._pending) < MAX_PENDING:
            return not self._half_closed
        self._was_full = True
        return False

    def write(self, pcm: bytes) -> None:
        """Send audio; see the port."""
        if not self._half_closed:
            self._pending.append(self._api_version.audio_request(pcm))
            self._wake.set()

    def half_close(self) -> None:
        """End the audio; see the port."""
        self._half_closed = True
        self._wake.set()

    def cancel(self) -> None:
        """Cancel; see the port."""
        self._cancelled = True
        # Before the task's first step there is no call; the task will see the flag, and report the end.
        if self._call is not None:
            self._call.cancel()
        elif self._waits_for_token:
            self.task.cancel()

    async def _run(self) -> None:
        end = StreamEnd("CANCELLED", "cancelled before it was connected")
        try:
            while not self._cancelled:
                try:
                    end = await self._authorize_and_converse()
                except asyncio.CancelledError:
                    # Raised by gRPC because we cancelled the call, or because the task itself is cancelled.
                    if not self._moves or self.task.cancelling():
                        raise
                    end = StreamEnd("UNAVAILABLE", "the connection had no free stream")
                if not self._moves or self.has_begun or self._cancelled:
                    break
                self._move()
        except asyncio.CancelledError:
            if not self._cancelled:
                end = StreamEnd("CANCELLED", "the event loop is closing")
            if self._call is not None:
                self._call.cancel()
        finally:
            self._half_closed = True
            # A reference to a finished call would keep its connection open.
            self._call = None
            self._connection.lose(self)
            self._request.on_end(self, end)
            self._listener.stream_ended(end)

    def begin_elsewhere(self) -> None:
        """Nothing of it was sent, nor will be soon: restart it on another connection."""
        self._moves = True
        if self._call is not None:
            self._call.cancel()

    def _move(self) -> None:
        self._moves = False
        self._call = None
        self._connection.lose(self)
        connection = self._request.elsewhere()
        assert isinstance(connection, GrpcioConnection)
        self._connection = connection
        connection.carry(self)

    async def _authorize_and_converse(self) -> StreamEnd:
        headers: Metadata = ()
        tokens = self._connection.tokens
        if tokens is not None:
            self._waits_for_token = True
            try:
                await tokens.ready()
            except RecognizerError as error:
                return StreamEnd(error.code, error.message)
            finally:
                self._waits_for_token = False
            headers = tokens.headers()
            if self._cancelled:
                return StreamEnd("CANCELLED", "cancelled before it was connected")
        self._call = self._connection.start_call(self._api_version, headers)
        end = await self._converse()
        if end.code == "UNAUTHENTICATED" and tokens is not None and tokens.not_accepted(headers):
            return StreamEnd("UNAVAILABLE", f"the access token was not accepted: {end.message}")
        return end

    async def _converse(self) -> StreamEnd:
        """Write and read until the call ends."""
        writer = asyncio.get_running_loop().create_task(self._write_all())
        try:
            return await self._read_all()
        finally:
            writer.cancel()
            for failure in await asyncio.gather(writer, return_exceptions=True):
                if isinstance(failure, Exception):
                    log.error("writing failed", exc_info=failure)

    async def _write_all(self) -> None:
        """Ends with the stream: after the half-close, or when gRPC reports that the call is over.

        The reader receives the reason, so errors here need no second report.
        """
        try:
            await self._call.wait_for_connection()
            # Not the call's own `write`: if the stream has ended meanwhile, it replaces the peer's status with INTERNAL
            # (grpc/grpc#36066), which the session would treat as a failure.
            core = getattr(self._call, "_cython_call", None)
            send = self._call.write if core is None else core.send_serialized_message
            while True:
                while self._pending:
                    await send(self._pending[0])
                    if self._moves:
                        return  # the call was cancelled meanwhile: the next call sends this message again
                    self._pending.popleft()
                    if not self.has_begun:
                        self._begun()
                    if self._was_full and len(self._pending) < MAX_PENDING:
                        self._was_full = False
                        self._listener.stream_writable()
                if self._half_closed:
                    await self._call.done_writing()
                    return
                self._wake.clear()
                await self._wake.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError, grpc.aio.InternalError) as error:
            log.debug("writing ended: %s", error)

    def _begun(self) -> None:
        self.has_begun = True
        self._connection.began()
        self._request.on_begin()

    async def _read_all(self) -> StreamEnd:
        api_version = self._api_version
        # Not the call's own `read`: at the end of the responses it waits for a status without a timeout.
        read = getattr(self._call, "_read", self._call.read)
        try:
            while True:
                response = await read()
                if response is grpc.aio.EOF:
                    break
                if response is None:  # grpcio's value for bytes that are not protobuf
                    self._call.cancel()
                    return StreamEnd("INTERNAL", "a response that is not protobuf")
                error = api_version.error(response)
                if error is not None:
                    self._call.cancel()
                    return error
                results = api_version.results(response)
                if results:
                    self._listener.stream_results(results)
        except grpc.aio.AioRpcError as error:
            return StreamEnd(error.code().name, error.details() or "")
        status = asyncio.ensure_future(self._call.code())
        try:
            # In two halves, as above: after one late turn, the loop still has half of the time to process events.
            for _ in range(2):
                await asyncio.wait((status,), timeout=STATUS_TIMEOUT_S / 2)
            if not status.done():
                self._call.cancel()
                return StreamEnd("UNKNOWN", "the peer ended the stream without a status")
        finally:
            status.cancel()
        return StreamEnd(status.result().name, await self._call.details() or "")
