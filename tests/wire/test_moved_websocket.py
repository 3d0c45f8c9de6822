"""A WebSocket that goes from one process to another after its handshake, with all that it has sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from fastcall.server.sniffer import PendingConnections, ProtocolSniffer
from fastcall.server.websocket import MAX_KEPT_BYTES, MediaConnection, MediaServer
from fastcall.server.workers.fd_forwarder import Receiver, Sender, adopt, handover_pair, moved_message, read_message
from peers import PATIENCE_S, client_frame, server_frame, turns, upgrade_request

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


@dataclass
class Listener:
    """What one process hears of a connection. Fulfils ``MessageReceiver``."""

    connection: MediaConnection
    sender: Sender | None = None
    heard: list[bytes] = field(default_factory=list)
    was_given: list[bool] = field(default_factory=list)
    end: tuple[int | None, str] | None = None
    fast_path = None

    def message_received(self, message: bytes) -> None:
        self.heard.append(message)
        if message == b"stay":
            self.connection.stay()
        elif message.startswith(b"give") and self.sender is not None:
            about = {"target": self.connection.target}
            self.was_given.append(
                self.connection.give(lambda descriptor, came: self._send(descriptor, moved_message(about, came)))
            )
        else:
            self.connection.send_soon(server_frame(f"heard {message.decode()}"))

    def _send(self, descriptor: int, message: bytes) -> bool:
        return self.sender is not None and self.sender.send(descriptor, message)

    def binary_received(self) -> None:
        pass

    def frame_received(self) -> None:
        pass

    def socket_closed(self, code: int | None, reason: str) -> None:
        self.end = code, reason

    async def wait_over(self) -> None:
        pass


@dataclass
class Processes:
    """Two ends of a way for connections; in truth of one process."""

    port: int
    here: list[Listener]
    there: list[Listener]
    sender: Sender


@contextlib.asynccontextmanager
async def processes(fast_path: bool) -> AsyncIterator[Processes]:
    ours, theirs = handover_pair()
    sender = Sender(ours)
    here: list[Listener] = []
    there: list[Listener] = []

    def listen_here(connection: MediaConnection) -> Listener:
        here.append(Listener(connection, sender))
        return here[-1]

    def listen_there(connection: MediaConnection) -> Listener:
        there.append(Listener(connection))
        return there[-1]

    first = MediaServer(listen_here, admit=lambda _: None, fast_path=fast_path, keeps=True)
    second = MediaServer(listen_there, admit=lambda _: (403, "not asked"), fast_path=fast_path, keeps=True)

    async def take(descriptor: int, message: bytes) -> None:
        about, received = read_message(message)
        assert about is not None
        await adopt(descriptor, received, lambda: second.moved(about["target"]))

    receiver = Receiver(theirs, take)
    front = ProtocolSniffer(websocket=first, plain=asyncio.Protocol, room=PendingConnections(), on_bad_head=print)
    try:
        yield Processes(await front.listen("127.0.0.1", 0), here, there, sender)
    finally:
        front.close()
        async with asyncio.timeout(PATIENCE_S):
            for server in (first, second):
                await server.close(1001, "the test is over")
        receiver.close()
        sender.close()


@contextlib.asynccontextmanager
async def client(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(upgrade_request(port, "/media?fastcall_ticket=x"))
    async with asyncio.timeout(PATIENCE_S):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    yield reader, writer
    writer.close()


async def next_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readexactly(2)
        return head[0] & 0x0F, await reader.readexactly(head[1])


SENT = [b"one", b"give it away", b"three", b"four"]
BYTES = b"".join(client_frame(TEXT, each) for each in SENT)
both_ways = pytest.mark.parametrize("fast_path", [True, False], ids=["fast path", "plain"])


@both_ways
@pytest.mark.parametrize("piece", [len(BYTES), 25, 7, 1], ids=lambda piece: f"{piece} bytes at once")
async def test_it_goes_on_there_with_all_that_it_has_sent(fast_path: bool, piece: int) -> None:
    async with processes(fast_path) as both, client(both.port) as (reader, writer):
        for at in range(0, len(BYTES), piece):
            writer.write(BYTES[at : at + piece])
            await turns(1)  # so that pieces are mostly read one by one
        while (frame := await next_frame(reader)) != (TEXT, b"heard four"):
            assert frame[0] == TEXT  # and no second handshake
        writer.write(client_frame(PING, b"who?") + client_frame(TEXT, b"five"))
        assert [await next_frame(reader) for _ in range(2)] == [(PONG, b"who?"), (TEXT, b"heard five")]
        (here,), (there,) = both.here, both.there
        assert (here.heard[-1], here.was_given, here.end) == (b"give it away", [True], None)
        assert there.heard == [*SENT, b"five"]
        assert there.connection.target == "/media?fastcall_ticket=x"
        assert not there.connection.give(lambda *_: True)  # once is enough
        writer.write(client_frame(CLOSE, b"\x03\xe8"))
        assert await next_frame(reader) == (CLOSE, b"\x03\xe8")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
    assert there.end == (1000, "")


@both_ways
async def test_it_stays_where_it_is_when_nobody_takes_it(fast_path: bool) -> None:
    async with processes(fast_path) as both, client(both.port) as (reader, writer):
        both.sender.close()
        writer.write(BYTES)
        frames = [await next_frame(reader) for _ in range(3)]
        assert frames == [(TEXT, b"heard one"), (TEXT, b"heard three"), (TEXT, b"heard four")]
        assert (both.here[0].was_given, both.there) == ([False], [])


@both_ways
@pytest.mark.parametrize("first", [b"stay", b"x" * MAX_KEPT_BYTES], ids=["it is to stay", "it has sent too much"])
async def test_it_is_not_given_away_any_more_when(fast_path: bool, first: bytes) -> None:
    async with processes(fast_path) as both, client(both.port) as (reader, writer):
        writer.write(client_frame(TEXT, first))
        writer.write(client_frame(TEXT, b"give it away") + client_frame(TEXT, b"y"))
        if first != b"stay":
            async with asyncio.timeout(PATIENCE_S):
                await reader.readuntil(b"heard " + first)
        assert await next_frame(reader) == (TEXT, b"heard y")
        assert (both.here[0].was_given, both.there) == ([False], [])
