"""The pool of connections that streams share; ``PoolRule`` decides by numbers, this holds the connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastcall.google.pool import PoolRule
from fastcall.google.uplink import Connection

__all__ = ["Channels"]


class Channels:
    """The pool. Loop thread only; call ``aclose`` in the end.

    :param connect: makes a connection
    """

    def __init__(self, connect: Callable[[], Connection], *, rule: PoolRule | None = None) -> None:
        self._connect = connect
        self._rule = rule or PoolRule()
        self._connections: dict[int, Connection] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """Connections in the pool."""
        return len(self._connections)

    def take(self, *, but: int | None = None) -> tuple[int, Connection]:
        """The connection for a new stream, and its number; not number ``but``, which has refused the stream."""
        for number in self._rule.numbers:
            connection = self._connections[number]
            if connection.is_gone(has_worked=self._rule.has_worked(number)):
                self._rule.gone(number)
            self._rule.limit(number, connection.max_streams)
        number = self._rule.take(but=but)
        if number not in self._connections:
            self._connections[number] = self._connect()
        return number, self._connections[number]

    def began(self, number: int) -> None:
        """A stream of this connection began."""
        if number in self._connections:
            self._rule.began(number)

    def give_back(self, number: int, *, never_began: bool) -> None:
        """A stream of this connection has ended."""
        if number not in self._connections:
            return  # the pool was closed meanwhile
        self._rule.give_back(number, never_began=never_began, now=asyncio.get_running_loop().time())
        self._tidy()

    async def aclose(self) -> None:
        """Close all connections; open streams end with ``CANCELLED``."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in self._connections.values():
            self._close(connection)
        self._connections.clear()
        await asyncio.gather(*self._closing)

    def _tidy(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._rule.take_away(now=loop.time()):
            self._close(self._connections.pop(number))
        due_at = self._rule.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due_at is None else loop.call_at(due_at + 0.01, self._tidy)

    def _close(self, connection: Connection) -> None:
        task = asyncio.get_running_loop().create_task(connection.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
