"""The way to the recogniser by grpcio: its own threads, and two tasks a stream. Works wherever grpcio does."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import grpc
import grpc.aio

from fastcall.adapters.google.uplink import STREAM_TIMEOUT_S, OpenStream, StreamRequest
from fastcall.ports import StreamEnd

__all__ = ["GrpcioConnection", "GrpcioStream"]

log = logging.getLogger("fastcall.google")

# Batches that may wait in a stream before it is no longer writable: one on its way and one behind it.
MAX_PENDING = 2
# A status comes with the end of the responses. Where the peer sent none, gRPC would wait for our half of the stream to
# end, which goes on as long as the call.
STATUS_TIMEOUT_S = 1.0


_BROKEN = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


class GrpcioConnection:
    """A channel whose connection is its own; see ``Connection``."""

    max_streams = None

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._streams: set[GrpcioStream] = set()
        self._methods: dict[str, Any] = {}

    def open(self, request: StreamRequest) -> OpenStream:
        """Begin a stream."""
        dialect = request.dialect
        method = self._methods.get(dialect.method)
        if method is None:
            method = self._methods[dialect.method] = self._channel.stream_stream(
                dialect.method, request_serializer=None, response_deserializer=dialect.parse
            )
        stream = GrpcioStream(method, request)
        self._streams.add(stream)
        stream.task.add_done_callback(lambda _: self._streams.discard(stream))
        return stream

    def is_gone(self, *, has_worked: bool) -> bool:
        """gRPC would connect again by itself, when its own back-off of up to 2 min allows; another is quicker."""
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
    """A task that writes what is pending and a task that reads.

    Owner of the gRPC call; ``stream_ended`` is the last thing that the listener hears.
    """

    def __init__(self, method: Any, request: StreamRequest) -> None:
        self.has_begun = False
        """Whether the peer took the first request."""
        self._method = method
        self._request = request
        self._dialect = request.dialect
        self._listener = request.listener
        self._pending: deque[bytes] = deque((request.first,))
        self._half_closed = False
        self._cancelled = False
        self._was_full = False
        self._wake = asyncio.Event()
        self._call: Any = None
        loop = asyncio.get_running_loop()
        self._opened_at = loop.time()
        self.task = loop.create_task(self._run())

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
            self._pending.append(self._dialect.audio_request(pcm))
            self._wake.set()

    def half_close(self) -> None:
        """No more audio; see the port."""
        self._half_closed = True
        self._wake.set()

    def cancel(self) -> None:
        """Give up; see the port."""
        self._cancelled = True
        # Before the task's first step there is no call; it will see the flag, and tell the end.
        if self._call is not None:
            self._call.cancel()

    async def _run(self) -> None:
        end = StreamEnd("CANCELLED", "given up before it was connected")
        try:
            if not self._cancelled:
                self._call = self._method(timeout=STREAM_TIMEOUT_S)
                end = await self._converse()
        except asyncio.CancelledError:
            if not self._cancelled:
                end = StreamEnd("CANCELLED", "the event loop is closing")
            if self._call is not None:
                self._call.cancel()
        finally:
            self._half_closed = True
            # A finished call that somebody still knows would keep its connection open.
            self._call = None
            self._request.on_end(self, end)
            self._listener.stream_ended(end)

    async def _converse(self) -> StreamEnd:
        """Write and read until the call is over."""
        writer = asyncio.get_running_loop().create_task(self._write_all())
        try:
            return await self._read_all()
        finally:
            writer.cancel()
            for failure in await asyncio.gather(writer, return_exceptions=True):
                if isinstance(failure, Exception):
                    log.error("writing failed", exc_info=failure)

    async def _write_all(self) -> None:
        """Ends with the stream: after the half-close, or when gRPC says that the call is over.

        Why it is over is told to the reader, so these errors need no second report.
        """
        try:
            await self._call.wait_for_connection()
            # Not the call's own `write`: when the stream has ended meanwhile, that puts an INTERNAL of its own in the
            # place of the peer's status (grpc/grpc#36066), which the session would have to take for a failure.
            core = getattr(self._call, "_cython_call", None)
            send = self._call.write if core is None else core.send_serialized_message
            while True:
                while self._pending:
                    await send(self._pending[0])
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
        self._request.on_begin(asyncio.get_running_loop().time() - self._opened_at)

    async def _read_all(self) -> StreamEnd:
        dialect = self._dialect
        # Not the call's own `read`: at the end of the responses that waits for a status, however long none comes.
        read = getattr(self._call, "_read", self._call.read)
        try:
            while True:
                response = await read()
                if response is grpc.aio.EOF:
                    break
                if response is None:  # what grpcio makes of bytes that are not protobuf
                    self._call.cancel()
                    return StreamEnd("INTERNAL", "a response that is not protobuf")
                error = dialect.error(response)
                if error is not None:
                    self._call.cancel()
                    return error
                results = dialect.results(response)
                if results:
                    self._listener.stream_results(results)
        except grpc.aio.AioRpcError as error:
            return StreamEnd(error.code().name, error.details() or "")
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                code = await self._call.code()
        except TimeoutError:
            self._call.cancel()
            return StreamEnd("UNKNOWN", "the peer ended the stream without a status")
        return StreamEnd(code.name, await self._call.details() or "")
