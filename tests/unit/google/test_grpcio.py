"""A stream of grpcio's, on calls whose steps the test takes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc

from fastcall.google.grpcio import STATUS_TIMEOUT_S, GrpcioConnection, GrpcioStream
from fastcall.google.uplink import StreamRequest
from fastcall.ports import StreamEnd
from peers import turns
from sim.clock import VirtualLoop, in_virtual_time


class SteppedCall:
    """A call whose writes are done when the test says so; cancelled, it ends as grpcio's own does."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.may_write = asyncio.Event()
        self.has_status = asyncio.Event()
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
        self.has_status.set()

    def end(self) -> None:
        """No more responses come, and no status yet."""
        self._over.set()

    async def code(self) -> grpc.StatusCode:
        await self.has_status.wait()
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

    def on_begin(self) -> None:
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
    await turns(20)
    full.calls[0].may_write.set()
    stream.begin_elsewhere()
    await turns(20)
    assert full.calls[0].sent == [b"the config"]
    assert request.ends == []
    other.calls[0].may_write.set()
    await turns(20)
    assert other.calls[0].sent == [b"the config"]
    assert stream.has_begun
    stream.cancel()
    await stream.task
    assert [end.code for end in request.ends] == ["CANCELLED"]


@in_virtual_time
async def test_a_status_that_is_there_when_a_late_loop_goes_on_is_the_peers() -> None:
    """Such a loop finds that the time is over before it finds what has come meanwhile."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    connection = SteppedConnection()
    request = Request(connection)
    stream = connection.open(cast(StreamRequest, request))
    await turns(20)
    call = connection.calls[0]
    call.end()
    await turns(20)
    loop.stand_still(2 * STATUS_TIMEOUT_S)
    loop.call_later(0.0, loop.call_soon, call.has_status.set)  # behind the timers, as what a socket brings
    await stream.task
    assert [end.code for end in request.ends] == ["CANCELLED"]


@in_virtual_time
async def test_a_peer_that_ends_a_stream_without_a_status_is_waited_for_so_long() -> None:
    loop = asyncio.get_running_loop()
    connection = SteppedConnection()
    request = Request(connection)
    stream = connection.open(cast(StreamRequest, request))
    await turns(20)
    began_at = loop.time()
    connection.calls[0].end()
    await stream.task
    assert [(end.code, end.message) for end in request.ends] == [
        ("UNKNOWN", "the peer ended the stream without a status")
    ]
    assert loop.time() == began_at + STATUS_TIMEOUT_S
