"""One gRPC call, and who hears of it: what ``GrpcChannel`` carries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from fastcall._http2 import Http2Stream

__all__ = ["Authorization", "CallCarrier", "GrpcCall", "GrpcListener", "Metadata"]

# What a call may hold while its connection is being made: as much as one that stands holds when it is writable.
EARLY_BYTES = 16 * 1024


Metadata = Sequence[tuple[str, str]]


class Authorization(Protocol):
    """What calls are authorised with."""

    @property
    def is_ready(self) -> bool:
        """Whether ``headers`` authorise a call now; else ``ready`` has work to do."""

    async def ready(self) -> None:
        """Return when they do; within some seconds.

        :raises RecognizerError: they will not, or not soon
        """

    def headers(self) -> Metadata:
        """The headers of a call that begins now."""

    def not_accepted(self, sent: Metadata) -> bool:
        """The peer answered UNAUTHENTICATED to a call with these headers.

        :return: whether it may accept another call, so that its word is not yet to be believed
        """


class CallCarrier(Protocol):
    """The channel, as its calls see it."""

    def write(self, stream: Http2Stream, message: bytes, field: int) -> bool:
        """Queue a message; returns whether more may follow."""

    def half_close(self, stream: Http2Stream) -> None:
        """No more messages follow."""

    def cancel(self, call: GrpcCall) -> None:
        """Give it up; its end is told in a turn of its own."""


class GrpcListener(Protocol):
    """Who hears of a call; on the loop's thread, never from inside ``GrpcChannel.open`` or a method of the call."""

    def call_begun(self) -> None:
        """The request has gone out; until then it waited for the connection, or for a place in it."""

    def call_answered(self) -> None:
        """The peer has sent headers: it processes the call."""

    def call_message(self, message: bytes) -> None:
        """One message, protobuf."""

    def call_writable(self) -> None:
        """``GrpcCall.writable`` has become true again."""

    def call_ended(self, code: str, message: str, *, unprocessed: bool) -> None:
        """The call is over: the gRPC status by name. Exactly once, and nothing comes after it.

        :param unprocessed: the peer has done nothing for it, and says so: it may be made again elsewhere
        """


class _Nobody:
    """Who hears of a call that has ended. Fulfils ``GrpcListener``."""

    def call_begun(self) -> None:
        """Cannot come."""

    def call_answered(self) -> None:
        """Cannot come."""

    def call_message(self, message: bytes) -> None:
        """Cannot come."""

    def call_writable(self) -> None:
        """Cannot come."""

    def call_ended(self, code: str, message: str, *, unprocessed: bool) -> None:
        """Cannot come."""


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
        # Until the connection stands: what was written, each with its field; None afterwards.
        self._early: list[tuple[bytes, int]] | None = []
        self._over = False
        self.listener = listener
        self.path = path
        self.half_closed = False
        self.authorized_by: Metadata = ()
        """The headers that authorise it, once it has been sent."""
        self.deadline: asyncio.TimerHandle | None = None
        self.has_begun = False
        """Whether the request has gone out."""
        self.writable = True
        """Whether a message goes out now, or nearly: false under back-pressure and while connecting."""

    def write(self, message: bytes, field: int = 0) -> None:
        """Send a message; with ``field``, the one whose only field has this tag and these bytes."""
        if self._over or self.half_closed:
            return
        if self._stream is None:
            assert self._early is not None
            self._early.append((message, field))
            self.writable = sum(len(m) for m, _ in self._early) < EARLY_BYTES
        else:
            self.writable = self._channel.write(self._stream, message, field)

    def half_close(self) -> None:
        """No more messages."""
        if not self.half_closed and not self._over:
            self.half_closed = True
            self.writable = False
            if self._stream is not None:
                self._channel.half_close(self._stream)

    def cancel(self) -> None:
        """Give the call up; it ends with ``CANCELLED``."""
        if not self._over:
            self._channel.cancel(self)

    # --- for the channel --------------------------------------------------------------------------------

    @property
    def stream(self) -> Http2Stream | None:
        """The stream that carries it, once the connection stands."""
        return self._stream

    def connected(self, stream: Http2Stream) -> None:
        """The connection stands: what was written meanwhile goes out."""
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
        """It is over; tells the listener, once."""
        if not self._over:
            self._over = True
            self.writable = False
            # Whoever still knows the call keeps nothing of what it had queued.
            self._stream, self._early = None, None
            if self.deadline is not None:
                self.deadline.cancel()
            # The two know each other, and each is to be freed without the other.
            listener, self.listener = self.listener, _NOBODY
            listener.call_ended(code, message, unprocessed=unprocessed)
