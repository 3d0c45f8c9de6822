"""The interface of the two uplinks to the pool: connections that carry streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fastcall.google.api_versions import ApiVersion
from fastcall.ports import RecognizerStream, StreamEnd, StreamListener

__all__ = ["STREAM_TIMEOUT_S", "Connection", "OpenStream", "StreamRequest"]

# The session replaces a stream after 300 s at most, and Google ends it at 305 s: an older one has leaked.
STREAM_TIMEOUT_S = 600.0


class OpenStream(RecognizerStream, Protocol):
    """A stream, and what the pool needs to know about it."""

    @property
    def has_begun(self) -> bool:
        """Whether its first request was sent."""


class StreamRequest:
    """The parameters of a new stream.

    :param first: the serialised first request
    :param listener: receives its events
    :param on_begin: called when the first request was sent
    :param on_end: called at the end, before the listener
    :param elsewhere: called when the connection has refused the stream unprocessed; returns another connection to
        retry on
    """

    __slots__ = ("api_version", "elsewhere", "first", "listener", "on_begin", "on_end")

    def __init__(
        self,
        api_version: ApiVersion,
        first: bytes,
        listener: StreamListener,
        *,
        on_begin: Callable[[], None],
        on_end: Callable[[OpenStream, StreamEnd], None],
        elsewhere: Callable[[], Connection],
    ) -> None:
        self.api_version = api_version
        self.first = first
        self.listener = listener
        self.on_begin = on_begin
        self.on_end = on_end
        self.elsewhere = elsewhere


class Connection(Protocol):
    """One connection to the peer. Loop thread only; call ``aclose`` in the end."""

    @property
    def max_streams(self) -> int | None:
        """The peer's limit of concurrent streams on this connection, where known."""

    def open(self, request: StreamRequest) -> OpenStream:
        """Begin a stream; failures are reported as its end."""

    def is_gone(self, *, has_worked: bool) -> bool:
        """Whether new streams should use another connection.

        :param has_worked: a stream of it has begun
        """

    async def aclose(self) -> None:
        """End all streams (with ``CANCELLED``) and close it."""
