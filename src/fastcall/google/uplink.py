"""The two ways to the recognizer, as the pool sees them: connections that carry streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fastcall.google.api_versions import ApiVersion
from fastcall.ports import RecognizerStream, StreamEnd, StreamListener

__all__ = ["STREAM_TIMEOUT_S", "Connection", "OpenStream", "StreamRequest"]

# The session replaces a stream after 300 s at most, and Google ends it at 305 s: one that is older was forgotten.
STREAM_TIMEOUT_S = 600.0


class OpenStream(RecognizerStream, Protocol):
    """A stream, and what the pool must know of it."""

    @property
    def has_begun(self) -> bool:
        """Whether its first request has gone out to the peer."""


class StreamRequest:
    """What a stream is opened with.

    :param first: the serialised first request
    :param listener: who hears of it
    :param on_begin: called when the first request has gone out
    :param on_end: called at the end, before the listener
    :param elsewhere: called when the connection has refused the stream unprocessed: another one, which carries it from
        then on
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
    """One connection to the peer. Loop thread only; ``aclose`` is owed."""

    @property
    def max_streams(self) -> int | None:
        """How many streams the peer takes at once here, where that is known."""

    def open(self, request: StreamRequest) -> OpenStream:
        """Begin a stream; that it cannot be had comes as its end."""

    def is_gone(self, *, has_worked: bool) -> bool:
        """Whether new streams had better go elsewhere.

        :param has_worked: a stream of it was answered
        """

    async def aclose(self) -> None:
        """End all streams (with ``CANCELLED``) and close it."""
