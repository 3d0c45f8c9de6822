"""A recognizer, or a fallback, that is still starting: sessions use it at once.

Starting one takes time (finding credentials, loading a model) and may fail. Streams opened meanwhile take no audio,
which waits in the session. They begin when the recognizer is ready, and end with its error if it fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastcall.errors import FastcallError, RecognizerError
from fastcall.ports import (
    Fallback,
    Recognizer,
    RecognizerStream,
    StreamConfig,
    StreamEnd,
    StreamListener,
    StreamResult,
)
from fastcall.retry import CircuitBreaker

__all__ = ["PendingFallback", "PendingRecognizer"]


class PendingRecognizer:
    """Implements ``Recognizer`` with the result of ``making``. Loop thread only.

    :param making: shared by all that wait for it; it is not cancelled here
    :param source: see the port
    """

    def __init__(self, making: asyncio.Future[Recognizer], source: str) -> None:
        self._making = making
        self._source = source
        self._breaker = CircuitBreaker()

    @property
    def source(self) -> str:
        """See the port."""
        return self._source

    @property
    def breaker(self) -> CircuitBreaker:
        """The one shared by all calls, once it exists."""
        made = self._made
        return self._breaker if made is None else made.breaker

    def model_for(self, config: StreamConfig) -> StreamConfig:
        """See the port."""
        made = self._made
        return config if made is None else made.model_for(config)

    def model_refused(self, config: StreamConfig) -> None:
        """See the port."""
        made = self._made
        if made is not None:
            made.model_refused(config)

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        """See the port."""
        made = self._made
        return _PendingStream(self._making, config, listener) if made is None else made.open(config, listener)

    async def aclose(self) -> None:
        """Does nothing: the recognizer belongs to its creator."""

    @property
    def _made(self) -> Recognizer | None:
        making = self._making
        is_made = making.done() and not making.cancelled() and making.exception() is None
        return making.result() if is_made else None


class _PendingStream:
    """Implements ``RecognizerStream``, and listens to its stream to know when it has ended."""

    def __init__(self, making: asyncio.Future[Recognizer], config: StreamConfig, listener: StreamListener) -> None:
        self._config = config
        self._listener = listener
        self._stream: RecognizerStream | None = None
        self._is_half_closed = False
        self._is_given_up = False
        self._has_ended = False
        # In another turn of the loop even if it is done: the listener is not called from within ``open``.
        making.add_done_callback(self._begin)

    @property
    def writable(self) -> bool:
        return self._stream is not None and self._stream.writable

    def write(self, pcm: bytes) -> None:
        if self._stream is not None:
            self._stream.write(pcm)

    def half_close(self) -> None:
        self._is_half_closed = True
        if self._stream is not None:
            self._stream.half_close()

    def cancel(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
        elif not self._is_given_up and not self._has_ended:
            self._is_given_up = True
            asyncio.get_running_loop().call_soon(self.stream_ended, StreamEnd("CANCELLED"))

    def _begin(self, making: asyncio.Future[Recognizer]) -> None:
        if self._is_given_up:
            return
        error = asyncio.CancelledError() if making.cancelled() else making.exception()
        if error is not None:
            # Wrong credentials stay wrong; this status means that it is not an outage.
            known = isinstance(error, FastcallError)
            self.stream_ended(StreamEnd("UNAUTHENTICATED", str(error) if known else f"{type(error).__name__}: {error}"))
            return
        self._stream = making.result().open(self._config, self)
        if self._is_half_closed:
            self._stream.half_close()
        elif self._stream.writable:
            self._listener.stream_writable()

    # --- StreamListener -----------------------------------------------------------------------------------

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        self._listener.stream_results(results)

    def stream_writable(self) -> None:
        self._listener.stream_writable()

    def stream_ended(self, end: StreamEnd) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._listener.stream_ended(end)


class PendingFallback:
    """Implements ``Fallback`` with the result of ``making``. Loop thread only."""

    def __init__(self, making: asyncio.Future[Fallback], source: str) -> None:
        self._making = making
        self._source = source

    @property
    def source(self) -> str:
        """See the port."""
        return self._source

    async def recognize(self, pcm: bytes, language: str, *, urgent: bool = True) -> str:
        """See the port; waits until it is ready."""
        try:
            made = await asyncio.shield(self._making)
        except FastcallError as error:
            raise RecognizerError("UNAVAILABLE", f"the fallback could not be started: {error}") from error
        return await made.recognize(pcm, language, urgent=urgent)

    async def aclose(self) -> None:
        """Does nothing: the fallback belongs to its creator."""
