"""The native uplink, by ``fastcall._http2``: on the event loop itself, without a thread or task per stream."""

from __future__ import annotations

import ssl

from google.protobuf.message import DecodeError

from fastcall.google.access_tokens import TokenSource
from fastcall.google.grpc_call import GrpcCall, GrpcListener, Metadata
from fastcall.google.http2 import GrpcChannel
from fastcall.google.route import Route
from fastcall.google.uplink import STREAM_TIMEOUT_S, OpenStream, StreamRequest
from fastcall.ports import AudioSink, StreamEnd

__all__ = ["NativeConnection", "NativeStream"]

# Limit of what a stream keeps for a retry until the peer answers: 4 s of audio.
MAX_KEPT_BYTES = 64 * 1024


class NativeConnection:
    """An HTTP/2 connection; see ``Connection``.

    :param route: how to reach the address
    :param tls: for Google; None for a plaintext emulator
    :param tokens: authorise each stream; None: no credentials are needed
    :param headers: sent with each stream
    """

    def __init__(
        self, route: Route, *, tls: ssl.SSLContext | None, tokens: TokenSource | None, headers: Metadata
    ) -> None:
        self._channel = GrpcChannel(route, tls=tls, headers=headers, authorization=tokens)

    @property
    def max_streams(self) -> int | None:
        """The peer's limit."""
        return self._channel.max_calls

    def open(self, request: StreamRequest) -> OpenStream:
        """Begin a stream."""
        return NativeStream(self, request)

    def call(self, path: str, listener: GrpcListener) -> GrpcCall:
        """Begin a gRPC call."""
        return self._channel.open(path, listener, timeout_s=STREAM_TIMEOUT_S)

    def is_gone(self, *, has_worked: bool) -> bool:
        """It never reconnects."""
        return not self._channel.is_usable

    async def aclose(self) -> None:
        """End all streams and close it."""
        await self._channel.aclose()


class NativeStream:
    """One StreamingRecognize call. A ``RecognizerStream``, and the listener of its gRPC call.

    A call that the peer refuses unprocessed (it is shutting down, or has too many streams) is retried on another
    connection with everything that was written: gRPC's *transparent retry*, which grpcio does by itself.
    """

    __slots__ = (
        "_audio_tag",
        "_call",
        "_early_error",
        "_half_closed",
        "_kept",
        "_kept_bytes",
        "_request",
        "has_begun",
    )

    def __init__(self, connection: NativeConnection, request: StreamRequest) -> None:
        self.has_begun = False
        self._request = request
        self._early_error: StreamEnd | None = None
        # What was written, each with its field, as long as the call may have to be retried.
        self._kept: list[tuple[bytes, int]] | None = []
        self._kept_bytes = 0
        self._half_closed = False
        self._audio_tag = request.api_version.audio_tag
        self._call = connection.call(request.api_version.method, self)
        self._keep(request.first, 0)
        self._call.write(request.first, 0)

    # --- RecognizerStream -------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether a batch is sent now."""
        return self._call.writable

    @property
    def audio_sink(self) -> AudioSink | None:
        """See the port; None as long as the call may have to be retried, because then its audio is kept."""
        return self._call.audio_sink(self._audio_tag) if self._kept is None else None

    def write(self, pcm: bytes) -> None:
        """Send audio; see the port."""
        if self._kept is not None:
            self._keep(pcm, self._audio_tag)
        self._call.write(pcm, self._audio_tag)

    def _keep(self, message: bytes, field: int) -> None:
        assert self._kept is not None
        self._kept.append((message, field))
        self._kept_bytes += len(message)
        if self._kept_bytes > MAX_KEPT_BYTES:
            self._kept = None

    def half_close(self) -> None:
        """End the audio; see the port."""
        self._half_closed = True
        self._call.half_close()

    def cancel(self) -> None:
        """Cancel; see the port."""
        self._call.cancel()

    # --- GrpcListener -----------------------------------------------------------------------------------

    def call_begun(self) -> None:
        """The request's headers were sent."""
        if not self.has_begun:
            self.has_begun = True
            self._request.on_begin()

    def call_answered(self) -> None:
        """The call can no longer be refused unprocessed."""
        self._kept = None

    def call_message(self, message: bytes) -> None:
        """A response."""
        api_version = self._request.api_version
        try:
            response = api_version.parse(message)
        except DecodeError as error:
            self._early_error = StreamEnd("INTERNAL", f"a response that is not protobuf: {error}")
            self._call.cancel()
            return
        self._early_error = api_version.error(response)
        if self._early_error is not None:
            self._call.cancel()
            return
        results = api_version.results(response)
        if results:
            self._request.listener.stream_results(results)

    def call_writable(self) -> None:
        """The call is writable again."""
        self._request.listener.stream_writable()

    def call_ended(self, code: str, message: str, *, unprocessed: bool) -> None:
        """It has ended; a status inside a response, for which the call was cancelled, takes precedence."""
        if unprocessed and self._kept is not None and self._early_error is None:
            kept, self._kept = self._kept, None
            connection = self._request.elsewhere()
            assert isinstance(connection, NativeConnection)
            self._call = connection.call(self._request.api_version.method, self)
            for each, field in kept:
                self._call.write(each, field)
            if self._half_closed:
                self._call.half_close()
            elif self._call.writable:
                self._request.listener.stream_writable()  # the previous call may have been unwritable
            return
        end = self._early_error or StreamEnd(code, message)
        self._request.on_end(self, end)
        self._request.listener.stream_ended(end)
