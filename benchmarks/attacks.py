"""What strangers and broken peers do, as a process: `python benchmarks/attacks.py PORT TOKEN SECONDS MBIT [NAME]`.

Each attack is repeated, with one connection of each kind at a time and a pause in between; each sends at most MBIT
megabits a second. Real attackers have limited bandwidth and separate machines, so the process has the lowest priority,
to load the server and not the shared cores. With NAME, only attacks whose names contain it. The last line counts the
runs of each, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from fastcall.simulator.twilio_client import sign_url

PAUSE_S = 0.2
ATTACK_S = 10.0
CHUNK = 16 * 1024
FLOOD_BYTES = 10 * 1024 * 1024

TEXT, PING = 1, 9
HEAD = "GET /media HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + size.to_bytes(2, "big")
    return bytes([opcode | (0x80 if fin else 0)]) + length + bytes(4) + payload


def text(**fields: Any) -> bytes:
    return frame(TEXT, json.dumps(fields).encode())


def start(call_sid: str) -> bytes:
    media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    ids = {"accountSid": "AC1", "callSid": call_sid, "streamSid": "MZ1", "tracks": ["inbound"]}
    return text(event="start", sequenceNumber="1", streamSid="MZ1", start={**ids, "mediaFormat": media_format})


def gap(number: int) -> bytes:
    """A frame 5 s after the previous one."""
    media = {"track": "inbound", "chunk": "1", "timestamp": str(5000 * number), "payload": "/////w=="}
    return text(event="media", sequenceNumber="2", streamSid="MZ1", media=media)


FRAGMENTS = frame(TEXT, fin=False) + frame(0, fin=False) * 1998 + frame(0)
FLOODS: dict[str, bytes] = {
    "empty pings": frame(PING),
    "pings": frame(PING, b"x" * 125),
    "pongs": frame(10),
    "fragments": FRAGMENTS,
    "binary": frame(2, b"x" * 100),
    "short messages": frame(TEXT, b"{}"),
    "nested JSON": frame(TEXT, b"[" * 20_000),
}


class Attackers:
    """All of them, on one port."""

    def __init__(self, port: int, token: str, bytes_per_s: float) -> None:
        self._port, self._bytes_per_s = port, bytes_per_s
        head = HEAD.format(port=port) + KEY
        signature = sign_url(token, f"ws://127.0.0.1:{port}/media")
        self._unsigned = (head + "\r\n").encode()
        self._signed = (head + f"X-Twilio-Signature: {signature}\r\n\r\n").encode()
        self.done: Counter[str] = Counter()

    def all(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """The attacks by name."""
        made: dict[str, Callable[[], Awaitable[None]]] = {
            f"flood of {name}": lambda data=data: self._flood(self._signed, data) for name, data in FLOODS.items()
        }
        made |= {
            f"{name} in a call": lambda name=name, data=data: self._flood(self._signed, data, first=start(f"CA{name}"))
            for name, data in FLOODS.items()
        }
        return made | {
            "unsigned flood": lambda: self._flood(self._unsigned, frame(0), answer=b"403"),
            "flood before the answer": lambda: self._flood(self._signed + frame(PING) * 8000, frame(PING), answer=b""),
            "refused and kept": lambda: self._hold(self._unsigned),
            "connected and kept": lambda: self._hold(b""),
            "slow head": self._dribble,
            "connect and close": lambda: self._hold(self._signed, seconds=0.0),
            "no HTTP": lambda: self._hold(b"\x16\x03\x01\x02\x00" + bytes(range(256)), seconds=0.0),
            "reads nothing": lambda: self._flood(self._signed, frame(PING, b"x" * 125), reads=False),
            "gaps of 5 s": lambda: self._flood(self._signed, b"", first=self._gaps()),
            "second socket": self._two,
            "long callSid": lambda: self._hold(self._signed + start("é" * 64) + start("ש" * 64), seconds=1.0),
            "body in chunks": lambda: self._flood(self._post(), b"1\r\nx\r\n", answer=b""),
            "forbidden reads": lambda: self._hold(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", seconds=0.2),
        }

    async def repeat(self, name: str, attack: Callable[[], Awaitable[None]]) -> None:
        """Until it is cancelled."""
        while True:
            try:
                async with asyncio.timeout(ATTACK_S):
                    await attack()
                self.done[name] += 1
            except ConnectionRefusedError:
                pass
            except (OSError, asyncio.IncompleteReadError):  # it was cut off, or its time is over
                self.done[name] += 1
            except asyncio.CancelledError:
                self.done[name] += 1
                raise
            await asyncio.sleep(PAUSE_S)

    @contextlib.asynccontextmanager
    async def _connected(self, data: bytes) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(data)
            yield reader, writer
        finally:
            writer.transport.abort()

    async def _flood(
        self, head: bytes, data: bytes, *, first: bytes = b"", answer: bytes = b"101", reads: bool = True
    ) -> None:
        """Send until the other side has enough, or 10 MB are sent."""
        async with self._connected(head) as (reader, writer):
            if answer and answer not in await reader.readuntil(b"\r\n\r\n"):
                raise ConnectionRefusedError  # no room at present
            reading = asyncio.create_task(_discard(reader)) if reads else None
            try:
                writer.write(first)
                chunk = data * (1 + CHUNK // max(1, len(data))) if data else b""
                for _ in range(FLOOD_BYTES // len(chunk) if chunk else 0):
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(len(chunk) / self._bytes_per_s)
                if reading is not None:
                    await reading
                else:
                    await asyncio.sleep(ATTACK_S)
            finally:
                if reading is not None:
                    reading.cancel()

    async def _hold(self, data: bytes, *, seconds: float = ATTACK_S) -> None:
        async with self._connected(data) as (_, writer):
            await writer.drain()
            await asyncio.sleep(seconds)

    async def _dribble(self) -> None:
        async with self._connected(b"") as (_, writer):
            for at in range(len(self._signed) - 4):
                writer.write(self._signed[at : at + 1])
                await writer.drain()
                await asyncio.sleep(0.05)

    async def _two(self) -> None:
        async with self._connected(self._signed + start("CAtwice")), self._connected(self._signed + start("CAtwice")):
            await asyncio.sleep(1.0)

    def _gaps(self) -> bytes:
        return start("CAgaps") + b"".join(gap(number) for number in range(1, 241))

    def _post(self) -> bytes:
        return f"POST /twiml HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


async def _discard(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


async def main() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    attackers = Attackers(int(sys.argv[1]), sys.argv[2], float(sys.argv[4]) * 1e6 / 8)
    only = sys.argv[5] if len(sys.argv) > 5 else ""
    attacks = {name: attack for name, attack in attackers.all().items() if only in name}
    tasks = [asyncio.create_task(attackers.repeat(name, attack)) for name, attack in attacks.items()]
    done, _ = await asyncio.wait(tasks, timeout=float(sys.argv[3]), return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    print(json.dumps({name: attackers.done[name] for name in attacks}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
