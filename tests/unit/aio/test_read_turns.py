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


async def test_all_that_wait_share_the_turns() -> None:
    """One share a turn, round and round."""
    taken: list[bytes] = []
    readers = [SharedReader(lambda data: taken.append(data) or False, share_bytes=1) for _ in range(3)]
    for reader, data in zip(readers, (b"abc", b"ABC", b"12"), strict=True):
        reader.received(Transport(), data)
    assert taken == [b"a", b"A", b"1"]
    for count, last in enumerate((b"b", b"B", b"2", b"c", b"C"), start=4):
        await turns(1)
        assert (len(taken), taken[-1]) == (count, last)
    await turns(3)
    assert len(taken) == 8


async def test_who_gives_up_keeps_nobody_waiting() -> None:
    taken: list[bytes] = []
    first, second = (SharedReader(lambda data: taken.append(data) or False, share_bytes=1) for _ in range(2))
    first.received(Transport(), b"abc")
    second.received(Transport(), b"ABC")
    first.cancel()
    await turns(1)
    assert taken == [b"a", b"A", b"B"]
    first.received(Transport(), b"xy")
    await turns(2)
    assert taken[3:] == [b"x", b"C", b"y"]


async def test_one_that_raises_keeps_nobody_waiting() -> None:
    taken: list[bytes] = []
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))

    def fail(data: bytes) -> bool:
        if data == b"b":
            raise ValueError("a defect")
        return False

    broken = SharedReader(fail, share_bytes=1)
    sound = SharedReader(lambda data: taken.append(data) or False, share_bytes=1)
    broken.received(Transport(), b"abc")
    sound.received(Transport(), b"ABC")
    await turns(4)
    assert taken == [b"A", b"B", b"C"]
    assert [str(error) for error in told] == ["a defect"]
