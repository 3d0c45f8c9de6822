"""What waits for a handler is bounded, and the oldest goes first."""

from __future__ import annotations

import asyncio

import pytest

from fastcall.aio.event_queue import Inbox


async def test_the_oldest_is_dropped_and_counted() -> None:
    drops: list[int] = []
    inbox: Inbox[int] = Inbox(3, on_drop=lambda: drops.append(1))
    for number in range(5):
        inbox.put(number)
    inbox.finish()
    inbox.put(99)
    assert drops == []
    assert [number async for number in inbox] == [2, 3, 4]
    assert len(drops) == 2


async def test_what_is_newer_takes_the_place_of_what_waits() -> None:
    inbox: Inbox[tuple[str, int]] = Inbox(3, on_drop=lambda: None, is_newer=lambda a, b: a[0] == b[0])
    for event in (("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 3)):
        inbox.put(event)
    inbox.finish()
    assert [event async for event in inbox] == [("a", 2), ("b", 2), ("a", 3)]


async def test_a_reader_that_waits_is_woken_by_an_event_and_by_the_end() -> None:
    inbox: Inbox[str] = Inbox(3, on_drop=lambda: None)
    reading = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    inbox.put("hello")
    assert await reading == "hello"
    reading = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    inbox.finish()
    assert await reading is None
    with pytest.raises(TimeoutError):
        await Inbox[str](1, on_drop=lambda: None).get(timeout_s=0.0)
