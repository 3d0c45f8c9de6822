"""What waits for a handler is bounded, and the oldest goes first."""

from __future__ import annotations

import asyncio

import pytest

from fastcall.aio.event_queue import EventQueue


async def test_the_oldest_is_dropped_and_counted() -> None:
    drops: list[int] = []
    event_queue: EventQueue[int] = EventQueue(3, on_drop=lambda: drops.append(1))
    for number in range(5):
        event_queue.put(number)
    event_queue.finish()
    event_queue.put(99)
    assert drops == []
    assert [number async for number in event_queue] == [2, 3, 4]
    assert len(drops) == 2


async def test_what_is_newer_takes_the_place_of_what_waits() -> None:
    event_queue: EventQueue[tuple[str, int]] = EventQueue(3, on_drop=lambda: None, is_newer=lambda a, b: a[0] == b[0])
    for event in (("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 3)):
        event_queue.put(event)
    event_queue.finish()
    assert [event async for event in event_queue] == [("a", 2), ("b", 2), ("a", 3)]


async def test_a_reader_that_waits_is_woken_by_an_event_and_by_the_end() -> None:
    event_queue: EventQueue[str] = EventQueue(3, on_drop=lambda: None)
    reading = asyncio.ensure_future(event_queue.get())
    await asyncio.sleep(0)
    event_queue.put("hello")
    assert await reading == "hello"
    reading = asyncio.ensure_future(event_queue.get())
    await asyncio.sleep(0)
    event_queue.finish()
    assert await reading is None
    with pytest.raises(TimeoutError):
        await EventQueue[str](1, on_drop=lambda: None).get(timeout_s=0.0)
