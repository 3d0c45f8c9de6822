"""One connection's share of a turn of the loop."""

from __future__ import annotations

import asyncio

from fastcall.aio.read_turns import SharedReader
from peers import turns


class Transport(asyncio.ReadTransport):
    def __init__(self) -> None:
        super().__init__()
        self.is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


async def test_what_fits_is_taken_at_once() -> None:
    transport, taken = Transport(), []
    reader = SharedReader(lambda data: taken.append(data) or False, share_bytes=4)
    reader.received(transport, b"abcd")
    assert (taken, transport.is_paused) == ([b"abcd"], False)


async def test_more_waits_for_later_turns_and_nothing_is_read_meanwhile() -> None:
    transport, taken = Transport(), []
    reader = SharedReader(lambda data: taken.append(data) or False, share_bytes=4)
    reader.received(transport, b"abcdefghij")
    assert (taken, transport.is_paused) == ([b"abcd"], True)
    transport.resume_reading()  # by somebody else, and something comes
    reader.received(transport, b"k")
    assert (taken, transport.is_paused) == ([b"abcd"], True)
    await turns(1)
    assert (taken, transport.is_paused) == ([b"abcd", b"efgh"], True)
    await turns(1)
    assert (taken, transport.is_paused) == ([b"abcd", b"efgh", b"ijk"], False)


async def test_who_has_enough_is_given_no_more_in_this_turn() -> None:
    """Its pieces may be many, though their bytes are few."""
    transport, taken = Transport(), []
    left = 2

    def take(data: bytes) -> bool:
        nonlocal left
        taken.append(data)
        left -= 1
        return left > 0

    reader = SharedReader(take, share_bytes=4)
    reader.received(transport, b"ab")
    assert (taken, transport.is_paused) == ([b"ab"], True)
    await turns(1)
    assert (taken, transport.is_paused) == ([b"ab", b""], False)


async def test_at_the_end_the_rest_is_done_at_once_and_in_order() -> None:
    transport, taken = Transport(), []
    reader = SharedReader(lambda data: taken.append(data) or False, share_bytes=4)
    reader.received(transport, b"abcdefghij")
    reader.finish()
    assert taken == [b"abcd", b"efgh", b"ij"]
    await turns(2)
    assert len(taken) == 3


async def test_who_gives_up_is_given_nothing_more() -> None:
    transport, taken = Transport(), []
    reader = SharedReader(lambda data: taken.append(data) or False, share_bytes=4)
    reader.received(transport, b"abcdefghij")
    reader.cancel()
    await turns(3)
    assert taken == [b"abcd"]
