"""Whether the recognizer answers."""

from __future__ import annotations

import asyncio
import socket

import pytest

from accepting import accepting
from fastcall.google.route import Route
from fastcall.recognition.probe import Probe


async def test_an_address_answers_or_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastcall.recognition.probe.REMEMBERED_S", -1.0)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with accepting(hang_up) as port:
        probe = Probe(Route("127.0.0.1", port).reach)
        assert await probe.is_reachable()
    assert not await probe.is_reachable()


async def test_who_asks_soon_again_gets_the_same_answer() -> None:
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with accepting(count) as port:
        probe = Probe(Route("127.0.0.1", port).reach)
        assert await asyncio.gather(*(probe.is_reachable() for _ in range(10))) == [True] * 10
        assert await probe.is_reachable()
        assert connections <= 1


async def test_an_address_that_swallows_everything_is_not_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastcall.recognition.probe.TIMEOUT_S", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)  # the queue of a listener that accepts nobody
        assert not await Probe(Route(*address).reach).is_reachable()
        for each in waiting:
            each.close()
