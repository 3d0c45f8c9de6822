"""A connection that goes from one end to the other with what it has said."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest
import uvloop

from fastcall.server.sniffer import PendingConnections, ProtocolSniffer
from fastcall.server.workers.fd_forwarder import (
    MAX_EARLY_BYTES,
    MAX_MESSAGE_BYTES,
    Receiver,
    Sender,
    Upgrade,
    adopt,
    handover_pair,
    moved_message,
    read_message,
    upgrade_message,
)
from peers import PATIENCE_S, turns
from wire.test_sniffer import UPGRADE, Echo

REQUEST = UPGRADE % b"Upgrade: websocket"


async def take(descriptor: int, message: bytes) -> None:
    """As a process does that has the other end."""
    await adopt(descriptor, read_message(message)[1], lambda: Echo("other"))


async def hand_over(pieces: list[bytes], *, channel_is_open: bool = True) -> tuple[bytes, int]:
    """What is answered to the pieces by the other end, and how many connections came there."""
    ours, theirs = handover_pair()
    sender, receiver = Sender(ours), Receiver(theirs, take)
    if not channel_is_open:
        receiver.close()
    front = ProtocolSniffer(
        websocket=lambda: Upgrade(sender.send, lambda: Echo("refused")),
        plain=lambda: Echo("plain"),
        room=PendingConnections(),
        on_bad_head=print,
    )
    port = await front.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    async with asyncio.timeout(PATIENCE_S):
        for piece in pieces:
            writer.write(piece)
            answers.append(await reader.readline())
    writer.close()
    front.close()
    sender.close()
    if channel_is_open:
        receiver.close()
    return b"".join(answers), receiver.received


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_the_other_end_answers_to_the_first_bytes_and_to_those_after(run) -> None:  # type: ignore[no-untyped-def]
    assert run(hand_over([REQUEST, b"more", b"and more"])) == (b"other %d\nother 4\nother 8\n" % len(REQUEST), 1)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_what_nobody_takes_is_refused_here(run) -> None:  # type: ignore[no-untyped-def]
    answer, received = run(hand_over([REQUEST, b"more"], channel_is_open=False))
    assert (answer, received) == (b"refused %d\nrefused 4\n" % len(REQUEST), 0)


def test_who_says_too_much_before_an_answer_is_refused() -> None:
    early = REQUEST + bytes(MAX_EARLY_BYTES)
    taken: list[int] = []

    def choose(descriptor: int, _: bytes) -> bool:
        taken.append(descriptor)
        return True

    async def send_at_once() -> bytes:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        upgrade = Upgrade(choose, lambda: Echo("refused"))
        transport, _ = await loop.connect_accepted_socket(lambda: upgrade, ours)
        upgrade.data_received(early)
        theirs.setblocking(False)
        answer = await loop.sock_recv(theirs, 100)
        transport.close()
        theirs.close()
        return answer

    assert asyncio.run(send_at_once()) == b"refused %d\n" % len(early)
    assert taken == []


def test_a_full_way_takes_no_more_and_does_not_wait() -> None:
    ours, theirs = handover_pair()
    sender = Sender(ours)
    sent = 0
    with socket.socket() as connection:
        while sender.send(connection.fileno(), REQUEST):
            sent += 1
            assert sent < 100_000
    assert sent >= 1
    sender.close()
    theirs.close()


async def test_a_process_out_of_descriptors_leaves_connections_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = handover_pair()
    sender, receiver = Sender(ours, theirs.dup()), Receiver(theirs, take)

    def no_more(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    peer, connection = socket.socketpair()
    with peer, connection:
        assert sender.send(connection.fileno(), REQUEST)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", no_more)
            await turns(5)
            receiver.poll()
            assert (receiver.is_full, receiver.received, sender.take_back()) == (True, 0, [])
        [(descriptor, early)] = sender.take_back()
        assert (early, os.get_inheritable(descriptor)) == (REQUEST, False)
        os.close(descriptor)
        receiver.poll()
        assert not receiver.is_full
    receiver.close()
    sender.close()


@pytest.mark.parametrize("received", [b"", b"U\nM", bytes(range(256)) * 128], ids=["nothing", "odd", "much"])
def test_a_message_says_what_the_connection_is_and_no_byte_of_a_peer_does(received: bytes) -> None:
    about = {"target": "/media?" + "\n\ud800" * 2000, "key": {"stream": "M\n" * 240}}
    assert read_message(moved_message(about, received)) == (about, received)
    for forged in (received, moved_message(about, received)):
        assert read_message(upgrade_message(forged)) == (None, forged)
    assert len(moved_message(about, received)) <= MAX_MESSAGE_BYTES
