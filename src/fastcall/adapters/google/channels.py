"""The connections that streams share: ``PoolRule``'s numbers, as gRPC channels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from fastcall.rules.pool import PoolRule

__all__ = ["Channel", "Channels"]

_BROKEN = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


class Channel:
    """One connection."""

    def __init__(self, number: int, channel: grpc.aio.Channel, method: str, parse: Callable[[bytes], Any]) -> None:
        self.number = number
        self.grpc = channel
        self.method: Any = channel.stream_stream(method, request_serializer=None, response_deserializer=parse)


class Channels:
    """The pool. Loop thread only; ``aclose`` is owed.

    :param connect: makes a channel; its connection must be its own
    :param method: path of the method that streams call
    :param parse: a response from its bytes
    """

    def __init__(
        self,
        connect: Callable[[], grpc.aio.Channel],
        *,
        method: str,
        parse: Callable[[bytes], Any],
        rule: PoolRule | None = None,
    ) -> None:
        self._connect = connect
        self._method = method
        self._parse = parse
        self._rule = rule or PoolRule()
        self._channels: dict[int, Channel] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """Connections in the pool."""
        return len(self._channels)

    def take(self) -> Channel:
        """A stream begins."""
        for number in self._rule.numbers:
            if self._is_gone(number):
                self._rule.gone(number)
        number = self._rule.take()
        channel = self._channels.get(number)
        if channel is None:
            channel = self._channels[number] = Channel(number, self._connect(), self._method, self._parse)
        return channel

    def began(self, channel: Channel) -> None:
        """A stream of it was answered."""
        if channel.number in self._channels:
            self._rule.began(channel.number)

    def give_back(self, channel: Channel, *, never_began: bool) -> None:
        """A stream of it is over."""
        if channel.number not in self._channels:
            return  # closed altogether meanwhile
        self._rule.give_back(channel.number, never_began=never_began, now=asyncio.get_running_loop().time())
        self._tidy()

    async def aclose(self) -> None:
        """Close all connections; streams that are open end with ``CANCELLED``."""
        if self._timer is not None:
            self._timer.cancel()
        for channel in self._channels.values():
            self._close(channel)
        self._channels.clear()
        await asyncio.gather(*self._closing)

    def _is_gone(self, number: int) -> bool:
        """gRPC would connect again by itself, when its own back-off of up to 2 min allows; another is quicker."""
        state = self._channels[number].grpc.get_state()
        return state in _BROKEN or (state is grpc.ChannelConnectivity.IDLE and self._rule.has_worked(number))

    def _tidy(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._rule.take_away(now=loop.time()):
            self._close(self._channels.pop(number))
        due_at = self._rule.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due_at is None else loop.call_at(due_at + 0.01, self._tidy)

    def _close(self, channel: Channel) -> None:
        task = asyncio.get_running_loop().create_task(channel.grpc.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
