"""What simulated calls cost: `python benchmarks/callers_cost.py [calls] [seconds] [niceness]`.

The calls of `callers.py` on one core, against a sink on another core that discards all messages. Prints the
CPU time of the callers: their share of a core, and microseconds a message. The aim: 1,000 calls from half a core.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import select
import socket
import sys
import threading
import time
from pathlib import Path

from density import take_priority
from processes import Child

HERE = Path(__file__).parent
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CALLS_A_SECOND = 200


class Sink:
    """Accepts WebSockets and reads; one thread."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.poll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.greeted: set[int] = set()
        self.bytes = 0
        self.stopping = False
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        buffer = bytearray(1 << 18)
        listener = self.listener.fileno()
        self.poll.register(listener, select.EPOLLIN)
        while not self.stopping:
            for descriptor, _ in self.poll.poll(0.1):
                if descriptor == listener:
                    peer = self.listener.accept()[0]
                    self.sockets[peer.fileno()] = peer
                    self.poll.register(peer.fileno(), select.EPOLLIN)
                    continue
                size = self.sockets[descriptor].recv_into(buffer)
                if not size:
                    self.poll.unregister(descriptor)
                    self.sockets.pop(descriptor).close()
                elif descriptor in self.greeted:
                    self.bytes += size
                else:
                    self.greet(descriptor, bytes(buffer[:size]))

    def greet(self, descriptor: int, request: bytes) -> None:
        self.greeted.add(descriptor)
        found = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
        assert found
        accept = base64.b64encode(hashlib.sha1(found[1] + GUID).digest())
        self.sockets[descriptor].sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )


def main() -> int:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    if len(sys.argv) > 3:
        take_priority(int(sys.argv[3]))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    sink = Sink()
    sink.thread.start()
    url = f"ws://127.0.0.1:{sink.listener.getsockname()[1]}/media"
    callers = Child([str(HERE / "callers.py"), str(cores[-1]), url, str(calls), str(calls / CALLS_A_SECOND)])
    try:
        callers.line()
        time.sleep(1.0)
        before, began = callers.ask(), time.monotonic()
        time.sleep(seconds)
        after, took_s = callers.ask(), time.monotonic() - began
    finally:
        callers.stop()
        sink.stopping = True
        sink.thread.join()
    spent_s, sent = after["cpu_s"] - before["cpu_s"], after["sent"] - before["sent"]
    print(f"{after['live']} calls, {sent / took_s:.0f} messages/s, late by {after['late_p99_ms']:.1f} ms at p99")
    print(f"callers: {spent_s / took_s:.0%} of a core, {1e6 * spent_s / sent:.1f} us a message")
    return 0


if __name__ == "__main__":
    sys.exit(main())
