"""The live stream: every reader all of it, nobody waiting for the slow."""

from __future__ import annotations

from fastcall.metrics import Metrics
from fastcall.server import broadcast
from fastcall.server.broadcast import Broadcast


async def test_each_reader_gets_what_is_written_since_it_came() -> None:
    hub = Broadcast(Metrics())
    hub.write("before\n")
    one, other = hub.subscribe(), hub.subscribe()
    assert one is not None
    assert other is not None
    hub.write("a\n")
    assert await anext(one) == "a\n"
    hub.write("b\n")
    hub.close()
    assert [line async for line in one] == ["b\n"]
    assert [line async for line in other] == ["a\n", "b\n"]
    assert hub.subscribe() is None


async def test_a_slow_reader_loses_the_oldest_and_it_is_counted() -> None:
    metrics = Metrics()
    hub = Broadcast(metrics, max_waiting=3)
    slow = hub.subscribe()
    assert slow is not None
    for number in range(10):
        hub.write(f"{number}\n")
    hub.close()
    assert [line async for line in slow] == ["7\n", "8\n", "9\n"]
    assert metrics.events_dropped == 7


async def test_there_is_an_end_to_readers() -> None:
    hub = Broadcast(Metrics())
    readers = [hub.subscribe() for _ in range(broadcast.MAX_READERS)]
    assert None not in readers
    assert hub.subscribe() is None
    hub.close()


async def test_who_watches_a_call_has_its_batches_and_nothing_else() -> None:
    watched: list[set[str]] = []
    hub = Broadcast(Metrics(), on_watch=lambda calls: watched.append(set(calls)))
    one, other = hub.subscribe("CA1"), hub.subscribe("CA2")
    assert not hub.is_read
    everything = hub.subscribe()
    assert hub.is_read
    assert everything is not None
    assert one is not None
    assert other is not None
    hub.write("said\n")
    hub.write_batch("CA1", "batch\n")
    assert await anext(one) == "batch\n"
    one.close()
    hub.close()
    assert [line async for line in everything] == ["said\n"]
    assert [line async for line in other] == []
    assert watched == [{"CA1"}, {"CA1", "CA2"}, {"CA2"}, set()]
