"""Passes a connection to another process: its descriptor and the data received so far, in one message (SCM_RIGHTS).

Messages arrive complete or not at all (SOCK_SEQPACKET), and sending never blocks: a process that does not take its
connections is full, and another one is tried. Not for TLS: its state belongs to the process that began it.

A message's first byte says what the connection is: one with an unanswered upgrade request, or a WebSocket whose upgrade
another process has answered, with the data received since. That byte never comes from a peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

__all__ = [
    "Receiver",
    "Sender",
    "Upgrade",
    "adopt",
    "handover_pair",
    "moved_message",
    "read_message",
    "upgrade_message",
]

log = logging.getLogger("fastcall.handover")

# The upgrade request, and data that impatient peers send after it. Twilio sends nothing before the response.
MAX_EARLY_BYTES = 64 * 1024
# That, and a WebSocket's key and request target, as JSON.
MAX_MESSAGE_BYTES = MAX_EARLY_BYTES + 64 * 1024
UPGRADE, MOVED = b"U", b"M"
# How many to take per turn of the loop.
BATCH = 64
# Received descriptors must not be inherited by programs that this process starts.
CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def upgrade_message(early: bytes) -> bytes:
    """The message with a connection whose first bytes, an upgrade request, are ``early``."""
    return UPGRADE + early


def moved_message(about: Mapping[str, Any], received: bytes) -> bytes:
    """The message with a WebSocket that has sent ``received`` since its handshake.

    :param about: data for the other process, as JSON
    """
    return MOVED + json.dumps(about).encode() + b"\n" + received


def read_message(message: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """A WebSocket's data, None for an upgrade; and the bytes that the connection has sent."""
    if message.startswith(UPGRADE):
        return None, message[1:]
    about, _, received = message[1:].partition(b"\n")
    return json.loads(about), received


def handover_pair() -> tuple[socket.socket, socket.socket]:
    """A socket pair for connections in both directions; the second end is for another process."""
    kind = socket.SOCK_DGRAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.setblocking(False)
    return ours, theirs


class Sender:
    """The sending end; call ``close`` in the end.

    :param their_end: a copy of the other end, for ``take_back``; closed with this one
    """

    def __init__(self, channel: socket.socket, their_end: socket.socket | None = None) -> None:
        self._channel = channel
        self._their_end = their_end

    def send(self, descriptor: int, message: bytes) -> bool:
        """Send a copy of the descriptor; the caller still closes its own.

        :return: whether the other process has it
        """
        try:
            socket.send_fds(self._channel, [message], [descriptor])
        except OSError:  # full, or gone
            return False
        return True

    def take_back(self) -> list[tuple[int, bytes]]:
        """The connections that the other process will never receive: each a descriptor, which the caller closes, and
        its message."""
        taken: list[tuple[int, bytes]] = []
        if self._their_end is not None:
            self._their_end.setblocking(False)
            with contextlib.suppress(OSError):  # no more of them, or out of descriptors
                while message := _next_message(self._their_end):
                    taken += [(descriptor, message[0]) for descriptor in message[1]]
        return taken

    def close(self) -> None:
        """Close this end."""
        self._channel.close()
        if self._their_end is not None:
            self._their_end.close()


class Upgrade(asyncio.Protocol):
    """The protocol of a connection for another process: passes it on with its first bytes.

    :param choose: sends the descriptor and the message to another process; returns whether it did
    :param refuse: makes the protocol that answers connections that no process took
    """

    def __init__(self, choose: Callable[[int, bytes], bool], refuse: Callable[[], asyncio.Protocol]) -> None:
        self._choose = choose
        self._refuse = refuse

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the code that passes the connection here."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """The upgrade request. Later data stays in the socket, for the other process."""
        transport = self._transport
        transport.pause_reading()
        if len(data) <= MAX_EARLY_BYTES and self._choose(
            transport.get_extra_info("socket").fileno(), upgrade_message(data)
        ):
            transport.abort()  # this copy only
            return
        refusal = self._refuse()
        transport.set_protocol(refusal)
        refusal.connection_made(transport)
        refusal.data_received(data)
        transport.resume_reading()


class Receiver:
    """The receiving end. Loop thread only; create it on the running loop; call ``close`` in the end.

    A process that is out of descriptors leaves connections in the socket: the kernel would deliver the message and
    silently drop its descriptor, and the caller with it.

    :param take: called with each descriptor, which it then owns, and its message
    """

    def __init__(self, channel: socket.socket, take: Callable[[int, bytes], Coroutine[Any, Any, None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._channel.setblocking(False)
        self._take = take
        self._taking: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.is_full = False
        """Whether connections wait because this process is out of descriptors."""
        self.received = 0
        """Connections received so far, lost ones included."""
        self._loop.add_reader(channel, self._receive)

    def poll(self) -> None:
        """Call a few times a second: take connections that had to wait."""
        if self.is_full and not self._is_closed:
            with contextlib.suppress(OSError):  # still none free
                _try_descriptor()
                self.is_full = False
                self._loop.add_reader(self._channel, self._receive)

    def close(self) -> None:
        """Take no more."""
        self._is_closed = True
        self._loop.remove_reader(self._channel)
        self._channel.close()

    def _receive(self) -> None:
        for _ in range(BATCH):
            try:
                message = _next_message(self._channel)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._loop.remove_reader(self._channel)
                self.is_full = error.errno in (errno.EMFILE, errno.ENFILE)
                return
            if message is None:  # the other end is closed
                self._loop.remove_reader(self._channel)
                return
            first_bytes, descriptors = message
            if not descriptors:
                self.received += 1
                log.error("a connection was lost: out of file descriptors")
            for descriptor in descriptors:
                task = self._loop.create_task(self._take_one(descriptor, first_bytes))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)

    async def _take_one(self, descriptor: int, message: bytes) -> None:
        try:
            await self._take(descriptor, message)
        finally:
            self.received += 1


async def adopt(descriptor: int, early: bytes, make: Callable[[], asyncio.Protocol]) -> None:
    """Give a connection from another process a protocol, and pass that the connection's first bytes.

    :param make: makes the protocol
    """
    try:
        connection = socket.socket(fileno=descriptor)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: _Early(make(), early), connection)
    except OSError as error:
        log.debug("a connection was lost before it was passed here: %s", error)


def _next_message(channel: socket.socket) -> tuple[bytes, list[int]] | None:
    """The next message, and at most one descriptor; None when the other end is closed.

    :raises OSError: there is none now, or no descriptor is free for it, and then it stays in the socket
    """
    _try_descriptor()
    message, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, 1, CLOSE_ON_EXEC)
    if not message:
        return None
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # for kernels without MSG_CMSG_CLOEXEC
    return message, descriptors


def _try_descriptor() -> None:
    """Check whether a descriptor is free.

    :raises OSError: none is
    """
    os.close(os.open(os.devnull, os.O_RDONLY))


class _Early(asyncio.Protocol):
    """Passes a protocol the bytes that another process has read, before any others."""

    def __init__(self, protocol: asyncio.Protocol, early: bytes) -> None:
        self._protocol = protocol
        self._early = early

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).set_protocol(self._protocol)
        self._protocol.connection_made(transport)
        self._protocol.data_received(self._early)
