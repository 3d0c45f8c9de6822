"""One StreamingRecognize call as a ``RecognizerStream``."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from fastcall.adapters.google.channels import Channel
from fastcall.adapters.google.dialects import Dialect
from fastcall.ports import StreamEnd, StreamListener

__all__ = ["GoogleStream"]

log = logging.getLogger("fastcall.google")

# Batches that may wait in a stream before it is no longer writable: one on its way and one behind it.
MAX_PENDING = 2


class GoogleStream:
    """A task that writes what is pending and a task that reads.

    Owner of the gRPC call; ``stream_ended`` is the last thing that the listener hears.

    :param on_begin: called when the first request has gone out, with the seconds that it waited
    :param on_end: called at the end, before the listener
    """

    def __init__(
        self,
        channel: Channel,
        dialect: Dialect,
        first_request: bytes,
        listener: StreamListener,
        *,
        on_begin: Callable[[float], None],
        on_end: Callable[[GoogleStream, StreamEnd], None],
    ) -> None:
        self.channel = channel
        self.has_begun = False
        """Whether the peer took the first request."""
        self._dialect = dialect
        self._listener = listener
        self._on_begin = on_begin
        self._on_end = on_end
        self._pending: deque[bytes] = deque((first_request,))
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
                self._call = self.channel.method(timeout=None)
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
            self._on_end(self, end)
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
        self._on_begin(asyncio.get_running_loop().time() - self._opened_at)

    async def _read_all(self) -> StreamEnd:
        dialect = self._dialect
        try:
            while True:
                response = await self._call.read()
                if response is grpc.aio.EOF:
                    break
                error = dialect.error(response)
                if error is not None:
                    self._call.cancel()
                    return error
                results = dialect.results(response)
                if results:
                    self._listener.stream_results(results)
        except grpc.aio.AioRpcError as error:
            return StreamEnd(error.code().name, error.details() or "")
        code = await self._call.code()
        return StreamEnd(code.name, await self._call.details() or "")
