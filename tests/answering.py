"""A recognizer that answers each request at once with the same result: nothing of it costs, but the way to it does.

As a program it serves on a port of its own, which it prints, until its stdin ends: ``python tests/answering.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from google.cloud import speech_v1p1beta1 as speech

from accepting import stop_accepting
from fastcall.emulator.grpc_server import Connection, GrpcStream
from fastcall.emulator.messages import Code, Status

__all__ = ["TEXT", "AnsweringService", "answering"]

TEXT = "apple arrow autumn badge bamboo"


def _answer() -> bytes:
    alternative = speech.SpeechRecognitionAlternative(transcript=TEXT)
    result = speech.StreamingRecognitionResult(alternatives=[alternative], stability=0.9)
    result.result_end_time = {"seconds": 3, "nanos": 120_000_000}
    return bytes(speech.StreamingRecognizeResponse.serialize(speech.StreamingRecognizeResponse(results=[result])))


class AnsweringService:
    """Serves each connection of the emulator's HTTP/2."""

    streams_per_connection = 100

    def __init__(self) -> None:
        self.answer = _answer()
        self.connections: set[Connection] = set()
        self.open_calls = 0

    def connected(self, connection: Connection) -> None:
        self.connections.add(connection)

    def disconnected(self, connection: Connection) -> None:
        self.connections.discard(connection)

    def call(self, path: str, stream: GrpcStream) -> _Call:
        self.open_calls += 1
        return _Call(self, stream)

    def http1(self, connection: Connection, data: bytes) -> None:
        return None


class _Call:
    def __init__(self, service: AnsweringService, stream: GrpcStream) -> None:
        self._service = service
        self._stream = stream
        self._configured = False

    def message(self, data: bytes) -> None:
        if self._configured:
            self._stream.send(self._service.answer)
        self._configured = True

    def half_closed(self) -> None:
        self._service.open_calls -= 1
        self._stream.finish(Status(Code.OK, ""))

    def cancelled(self) -> None:
        self._service.open_calls -= 1


@contextlib.asynccontextmanager
async def answering() -> AsyncIterator[tuple[str, AnsweringService]]:
    """One on this loop: its address, and itself."""
    service = AnsweringService()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=1024)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", service
    finally:
        await stop_accepting(server)


async def _serve() -> None:
    async with answering() as (address, _):
        print(address, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
