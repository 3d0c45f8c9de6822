"""A stream of grpcio's, on calls whose steps the test takes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc

from fastcall.google.grpcio import GrpcioConnection, GrpcioStream
from fastcall.google.uplink import StreamRequest
from fastcall.ports import StreamEnd
from peers import turns


class SteppedCall:
    """A call whose writes are done when the test says so; cancelled, it ends as grpcio's own does."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.may_write = asyncio.Event()
        self._over = asyncio.Event()
        self._cython_call = self

    async def wait_for_connection(self) -> None:
        """It is connected."""

    async def send_serialized_message(self, data: bytes) -> None:
        await self.may_write.wait()
        self.sent.append(data)

    async def _read(self) -> Any:
        await self._over.wait()
        return grpc.aio.EOF

    read = _read

    def cancel(self) -> None:
        self._over.set()

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.CANCELLED

    async def details(self) -> str:
        return "Locally cancelled by application!"


class SteppedConnection(GrpcioConnection):
    """A connection of such calls."""

    tokens = None

    def __init__(self) -> None:
        self._streams = set()
        self.calls: list[SteppedCall] = []

    def start_call(self, *_: Any) -> SteppedCall:
        self.calls.append(SteppedCall())
        return self.calls[-1]


class Request:
    """A stream that is asked for."""

    first = b"the config"
    api_version: Any = None

    def __init__(self, elsewhere: GrpcioConnection) -> None:
        self.listener = self
        self.ends: list[StreamEnd] = []
        self._elsewhere = elsewhere

    def elsewhere(self) -> GrpcioConnection:
        return self._elsewhere

    def on_begin(self, after_s: float) -> None:
        """The peer took the first request."""

    def on_end(self, stream: GrpcioStream, end: StreamEnd) -> None:
        """It is over."""

    def stream_ended(self, end: StreamEnd) -> None:
        self.ends.append(end)


async def test_a_first_write_that_is_done_while_the_stream_moves_is_done_again_elsewhere() -> None:
    """Else the call that was given up here would be told as one that the recognizer has broken off."""
    full, other = SteppedConnection(), SteppedConnection()
    request = Request(other)
    stream = full.open(cast(StreamRequest, request))
    await turns(5)
    full.calls[0].may_write.set()
    stream.begin_elsewhere()
    await turns(5)
    assert full.calls[0].sent == [b"the config"]
    assert request.ends == []
    other.calls[0].may_write.set()
    await turns(5)
    assert other.calls[0].sent == [b"the config"]
    assert stream.has_begun
    stream.cancel()
    await stream.task
    assert [end.code for end in request.ends] == ["CANCELLED"]
