"""A TCP server for one test: what it accepted, and what it opened itself, ends with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["accepting", "connected", "join", "stop_accepting"]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def accepting(serve: Serve, *, backlog: int = 100) -> AsyncIterator[int]:
    """The port of a server on 127.0.0.1 that calls ``serve`` with each connection.

    When it ends, tasks are cancelled and each socket is gone, also one whose task never had its first turn. An error of
    ``serve`` that is not the peer's going away is raised then.
    """
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[None]] = []

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.append(asyncio.get_running_loop().create_task(run(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=backlog)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await stop_accepting(server)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            await _end(writer)
        await server.wait_closed()
        for end in ends:
            if isinstance(end, Exception):
                raise end


async def stop_accepting(server: asyncio.Server) -> None:
    """Close it, with nothing on its way: what was accepted so far has its protocol.

    Python 3.11 drops a connection that it accepted in the same turn of the loop in which the server is closed: the
    transport cannot attach itself to the server any more, and nobody closes it.
    """
    for listener in server.sockets:
        asyncio.get_running_loop().remove_reader(listener.fileno())
    for _ in range(5):
        await asyncio.sleep(0)
    server.close()


@contextlib.asynccontextmanager
async def connected(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is gone afterwards, however the body ended."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        await _end(writer)


async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_go: asyncio.Event | None = None) -> None:
    """Carry what comes to where it goes, to its end; while ``may_go`` is not set, it waits."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            if may_go is not None:
                await may_go.wait()
            writer.write(data)
            await writer.drain()
    writer.close()


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
