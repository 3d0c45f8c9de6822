"""A native stream that is made once more, where the wire would have to be exact to the byte."""

from __future__ import annotations

from typing import Any, cast

from fastcall._http2 import Http2Stream
from fastcall.google.api_versions import Version1
from fastcall.google.grpc_call import GrpcCall, GrpcListener
from fastcall.google.native import NativeConnection, NativeStream
from fastcall.google.uplink import StreamRequest
from listeners import KeepingListener


class Connection(NativeConnection):
    """Its calls hold what is written to them, and then count as full."""

    def __init__(self) -> None:
        self.calls: list[GrpcCall] = []

    def call(self, path: str, listener: GrpcListener) -> GrpcCall:
        self.calls.append(GrpcCall(self, path, listener))
        return self.calls[-1]

    def write(self, stream: Any, message: bytes, field: int) -> bool:
        return False

    def half_close(self, stream: Any) -> None:
        raise NotImplementedError

    def cancel(self, call: GrpcCall) -> None:
        raise NotImplementedError


async def test_one_that_was_full_and_is_not_elsewhere_says_so() -> None:
    """Whoever waits for room would wait for ever: each call counts for itself what it holds."""
    full, other, listener = Connection(), Connection(), KeepingListener()
    request = StreamRequest(
        Version1(), b"config", listener, on_begin=lambda: None, on_end=lambda *_: None, elsewhere=lambda: other
    )
    stream = NativeStream(full, request)
    full.calls[0].connected(cast(Http2Stream, object()))
    assert not stream.writable
    full.calls[0].ended("UNAVAILABLE", "goodbye", unprocessed=True)
    assert stream.writable
    assert listener.told == ["writable"]
