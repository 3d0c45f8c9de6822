"""The design that fastcall replaces as a server: `python benchmarks/replaced_server.py RECOGNISER`.

websockets, ``json``, ``base64``, ``audioop``, then ``ReplacedSession``: a queue and two threads a call, a blocking
client. It has no voice detector, and prints no transcript. Says where it listens; ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sys
import warnings

import grpc
import uvloop
from websockets.asyncio.server import ServerConnection, serve

from replaced_design import ReplacedSession

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

STREAMS_PER_CHANNEL = 80


class Channels:
    """Connections of 80 streams at most, as the replaced design would need them too."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channels: list[grpc.Channel] = []
        self._streams = 0

    def take(self) -> grpc.Channel:
        if self._streams % STREAMS_PER_CHANNEL == 0:
            options = [("grpc.use_local_subchannel_pool", 1)]
            self._channels.append(grpc.insecure_channel(self._address, options=options))
        self._streams += 1
        return self._channels[-1]


async def main() -> None:
    channels = Channels(sys.argv[1])

    async def handle(connection: ServerConnection) -> None:
        session: ReplacedSession | None = None
        async for raw in connection:
            message = json.loads(raw)
            if message["event"] == "start":
                session = ReplacedSession(channels.take(), lambda: None)
            elif message["event"] == "media" and session is not None:
                session.push_audio(audioop.ulaw2lin(base64.b64decode(message["media"]["payload"]), 2))
        if session is not None:
            await asyncio.to_thread(session.close)

    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None, open_timeout=60) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"listening on ws://127.0.0.1:{port}/media", flush=True)
        await stopping.wait()


if __name__ == "__main__":
    uvloop.run(main())
