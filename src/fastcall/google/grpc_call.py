"""One gRPC call of a ``GrpcChannel``, and its listener."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from fastcall._http2 import Http2Stream
from fastcall.ports import AudioSink

__all__ = ["Authorization", "CallCarrier", "GrpcCall", "GrpcListener", "Metadata"]

# Limit of what a call buffers while connecting: as much as an open stream buffers while it is writable.
EARLY_BYTES = 16 * 1024


Metadata = Sequence[tuple[str, str]]


class Authorization(Protocol):
    """Provides the headers that authorise calls."""

    @property
    def is_ready(self) -> bool:
        """Whether ``headers`` can be used now; otherwise await ``ready`` first."""

    async def ready(self) -> None:
        """Return when they can; within some seconds.

        :raises RecognizerError: authorisation failed or timed out
        """

    def headers(self) -> Metadata:
        """The headers for a call that starts now."""

    def not_accepted(self, sent: Metadata) -> bool:
        """The peer answered UNAUTHENTICATED to a call with these headers.

        :return: whether a retry may succeed; otherwise the error is final
        """


class CallCarrier(Protocol):
    """The channel, as seen by its calls."""

    def write(self, stream: Http2Stream, message: bytes, field: int) -> bool:
        """Queue a message; returns whether more may follow."""

    def flush_soon(self) -> None:
        """Something was queued without ``write``."""

    def half_close(self, stream: Http2Stream) -> None:
        """No more messages follow."""

    def cancel(self, call: GrpcCall) -> None:
        """Cancel the call; its end is reported in a later turn of the loop."""


class GrpcListener(Protocol):
    """Receives a call's events; on the loop's thread, never inside ``GrpcChannel.open`` or a method of the call."""

    def call_begun(self) -> None:
        """The request was sent; until then it waited for the connection, or for a free stream in it."""

    def call_answered(self) -> None:
        """The peer has sent headers: it is processing the call."""

    def call_message(self, message: bytes) -> None:
        """One message, protobuf."""

    def call_writable(self) -> None:
        """``GrpcCall.writable`` has become true again."""

    def call_ended(self, code: str, message: str, *, unprocessed: bool) -> None:
        """The call has ended, with this gRPC status by name. Called exactly once, and last.

        :param unprocessed: the peer guarantees that it did not process the call: it may be retried elsewhere
        """


class _Nobody:
    """The listener of a call that has ended. Implements ``GrpcListener``."""

    def call_begun(self) -> None:
        """Never called."""

    def call_answered(self) -> None:
        """Never called."""

    def call_message(self, message: bytes) -> None:
        """Never called."""

    def call_writable(self) -> None:
        """Never called."""

    def call_ended(self, code: str, message: str, *, unprocessed: bool) -> None:
        """Never called."""


_NOBODY = _Nobody()


class GrpcCall:
    """One bidirectional streaming call. Loop thread only; all methods return at once and raise nothing."""

    __slots__ = (
        "_channel",
        "_early",
        "_over",
        "_stream",
        "authorized_by",
        "deadline",
        "half_closed",
        "has_begun",
        "listener",
        "path",
        "writable",
    )

    def __init__(self, channel: CallCarrier, path: str, listener: GrpcListener) -> None:
        self._channel = channel
        self._stream: Http2Stream | None = None
        # Until the connection is open: what was written, each with its field; None afterwards.
        self._early: list[tuple[bytes, int]] | None = []
        self._over = False
        self.listener = listener
        self.path = path
        self.half_closed = False
        self.authorized_by: Metadata = ()
        """The headers that authorised it, once it was sent."""
        self.deadline: asyncio.TimerHandle | None = None
        self.has_begun = False
        """Whether the request was sent."""
        self.writable = True
        """Whether a message is sent now, or soon: false under back-pressure and while connecting."""

    def write(self, message: bytes, field: int = 0) -> None:
        """Send a message; with ``field``, a message whose only field has this tag and these bytes."""
        if self._over or self.half_closed:
            return
        if self._stream is None:
            assert self._early is not None
            self._early.append((message, field))
            self.writable = sum(len(m) for m, _ in self._early) < EARLY_BYTES
        else:
            self.writable = self._channel.write(self._stream, message, field)

    def audio_sink(self, field: int) -> AudioSink | None:
        """For messages whose only field has this tag; None while the call is not writable."""
        if self._stream is None or not self.writable:
            return None
        return self._stream.audio_sink(field), self._channel.flush_soon

    def half_close(self) -> None:
        """No more messages."""
        if not self.half_closed and not self._over:
            self.half_closed = True
            self.writable = False
            if self._stream is not None:
                self._channel.half_close(self._stream)

    def cancel(self) -> None:
        """Cancel the call; it ends with ``CANCELLED``."""
        if not self._over:
            self._channel.cancel(self)

    # --- for the channel --------------------------------------------------------------------------------

    @property
    def stream(self) -> Http2Stream | None:
        """Its HTTP/2 stream, once the connection is open."""
        return self._stream

    def connected(self, stream: Http2Stream) -> None:
        """The connection is open: send what was written meanwhile."""
        early, self._early = self._early or [], None
        self._stream = stream
        was_writable, self.writable = self.writable, True
        for message, field in early:
            self.writable = self._channel.write(stream, message, field)
        if self.half_closed:
            self.writable = False
            self._channel.half_close(stream)
        elif self.writable and not was_writable:
            self.listener.call_writable()

    def ended(self, code: str, message: str, *, unprocessed: bool = False) -> None:
        """The call has ended; notify the listener, once."""
        if not self._over:
            self._over = True
            self.writable = False
            # References to the call must not keep its queued data alive.
            self._stream, self._early = None, None
            if self.deadline is not None:
                self.deadline.cancel()
            # Break the reference cycle between call and listener.
            listener, self.listener = self.listener, _NOBODY
            listener.call_ended(code, message, unprocessed=unprocessed)
