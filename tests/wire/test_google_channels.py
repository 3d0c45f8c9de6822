"""The pool of connections, as the server sees it: how many there are, and what becomes of one that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from fastcall.google.pool import PoolRule
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.ports import RecognizerStream, StreamConfig
from listeners import KeepingListener
from peers import PATIENCE_S, both_uplinks, control, google_recognizer, start_emulator
from relay import Between
from waiting import until_so

CONFIG = StreamConfig("en-US", "default")

pytestmark = both_uplinks


@contextlib.asynccontextmanager
async def pool(*options: str, rule: PoolRule | None = None) -> AsyncIterator[tuple[GoogleRecognizer, Between, str]]:
    """A recognizer, the relay that its connections go through, and the emulator's own address."""
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "0", "--max-streams", "0", *options)
    between = Between(emulator.ready[1])
    try:
        async with between.running():
            recognizer = google_recognizer(between.address, pool=rule)
            try:
                yield recognizer, between, emulator.ready[1]
            finally:
                await recognizer.aclose()
                await between.until(lambda: not between.open)
    finally:
        await asyncio.to_thread(emulator.stop)


class Streams:
    """Streams that were opened and have sent a little."""

    def __init__(self, recognizer: GoogleRecognizer, count: int) -> None:
        self.listeners = [KeepingListener() for _ in range(count)]
        self.streams: list[RecognizerStream] = [recognizer.open(CONFIG, listener) for listener in self.listeners]
        for stream in self.streams:
            stream.write(bytes(3200))

    async def finish(self) -> set[str]:
        """Half-close all; the statuses with which they ended."""
        for stream in self.streams:
            stream.half_close()
        return await self.ends()

    async def ends(self) -> set[str]:
        async with asyncio.timeout(PATIENCE_S):
            for listener in self.listeners:
                await listener.wait_over()
        return {end.code for listener in self.listeners for end in listener.ends}


async def begun(count: int, *opened: Streams) -> None:
    """Wait until so many of the streams have begun."""

    async def are_so_many() -> bool:
        return sum(stream.has_begun for each in opened for stream in each.streams) >= count

    await until_so(are_so_many)


async def arrived(address: str, count: int) -> None:
    """Wait until the emulator has so many open streams."""

    async def has_so_many() -> bool:
        return (await asyncio.to_thread(control, address, "/status"))["streams"]["open"] >= count

    await until_so(has_so_many)


async def test_200_streams_are_on_three_connections_and_none_waits_for_another() -> None:
    # The peer lets no more than 80 in: streams beyond that would wait until others have ended.
    async with pool("--streams-per-connection", "80") as (recognizer, between, _):
        streams = Streams(recognizer, 200)
        await begun(200, streams)
        assert (len(between.clients), recognizer.connections) == (3, 3)
        assert await streams.finish() == {"OK"}
        assert recognizer.open_streams == 0


async def test_a_broken_connection_hurts_only_its_own_streams_and_is_replaced() -> None:
    async with pool(rule=PoolRule(streams=2)) as (recognizer, between, _):
        first = Streams(recognizer, 2)
        await begun(2, first)
        second = Streams(recognizer, 1)
        await begun(1, second)
        assert len(between.clients) == 2
        between.cut(0)
        assert await first.ends() == {"UNAVAILABLE"}
        third = Streams(recognizer, 1)  # there is room beside the second
        await begun(1, third)
        assert len(between.clients) == 2
        fourth = Streams(recognizer, 1)
        await begun(1, fourth)
        assert len(between.clients) == 3
        for streams in (second, third, fourth):
            assert await streams.finish() == {"OK"}


async def test_a_connection_whose_server_says_goodbye_gets_no_new_streams_and_keeps_the_old() -> None:
    async with pool() as (recognizer, between, address):
        old = Streams(recognizer, 2)
        await arrived(address, 2)
        await asyncio.to_thread(control, address, "/faults/now", {"fault": "goaway"})
        # Whether the news has arrived by then or not: the stream begins, on another connection at the latest now.
        new = Streams(recognizer, 1)
        await begun(3, old, new)
        await between.until(lambda: len(between.clients) == 2)
        assert await new.finish() == {"OK"}
        assert await old.finish() == {"OK"}
        await between.until(lambda: len(between.open) == 1)


async def test_a_stream_that_meets_a_goodbye_on_its_way_is_begun_elsewhere() -> None:
    """The relay holds back what the peer says until the stream has gone out."""
    async with pool() as (recognizer, between, address):
        old = Streams(recognizer, 1)
        await arrived(address, 1)
        between.hold()
        await asyncio.to_thread(control, address, "/faults/now", {"fault": "goaway"})
        new = Streams(recognizer, 3)
        for stream in new.streams[:2]:
            stream.half_close()
        new.streams[1].cancel()
        await begun(3 if recognizer.uplink == "native" else 1, old, new)
        between.detach()
        await between.until(lambda: len(between.clients) == 2)
        assert await new.finish() == {"OK", "CANCELLED"}
        assert [end.code for listener in new.listeners for end in listener.ends] == ["OK", "CANCELLED", "OK"]
        assert await old.finish() == {"OK"}
        assert recognizer.open_streams == 0


async def test_empty_connections_beyond_the_first_are_closed_after_a_while() -> None:
    async with pool(rule=PoolRule(streams=1, empty_s=0.1)) as (recognizer, between, _):
        streams = Streams(recognizer, 3)
        await begun(3, streams)
        assert len(between.open) == 3
        assert await streams.finish() == {"OK"}
        await between.until(lambda: len(between.open) == 1)
        assert recognizer.connections == 1


async def test_what_the_peer_takes_on_a_connection_is_respected_and_others_are_made_at_once() -> None:
    """Six streams at once where it takes two: none waits for another's end."""
    async with pool("--streams-per-connection", "2") as (recognizer, between, _):
        first = Streams(recognizer, 6)
        await begun(6, first)
        assert (len(between.clients), recognizer.connections) == (3, 3)
        more = Streams(recognizer, 3)
        await begun(3, more)
        assert len(between.clients) == 5
        assert await first.finish() == {"OK"}
        assert await more.finish() == {"OK"}
        assert recognizer.open_streams == 0


async def test_a_stream_that_is_given_up_while_it_waits_for_a_place_ends_once() -> None:
    async with pool("--streams-per-connection", "1") as (recognizer, _, _):
        streams = Streams(recognizer, 3)
        for stream in streams.streams[1:]:
            stream.cancel()
        await begun(1, streams)
        assert await streams.finish() == {"OK", "CANCELLED"}
        assert recognizer.open_streams == 0


async def test_a_server_that_is_not_there_is_tried_on_new_connections() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    recognizer = google_recognizer(f"127.0.0.1:{port}")
    try:
        for _ in range(5):
            assert await Streams(recognizer, 1).ends() == {"UNAVAILABLE"}
        assert recognizer.connections <= 1  # those that failed are closed
    finally:
        await recognizer.aclose()
