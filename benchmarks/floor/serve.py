"""The least server, for `density.py`: `python benchmarks/floor/serve.py 127.0.0.1:PORT [AUDIO.wav]`.

The port is where the recognizer listens; the audio is what it says to each call, again and again, without it nothing.
Accepts and upgrades connections; everything after that is `floor.c`, compiled when it is newer than what was compiled.
Linux only (epoll).
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import _webrtcvad

from fastcall.audio.wav import read_wav

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "benchmarks"
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
TURNS = 1000


def load() -> ctypes.CDLL:
    """Compile `floor.c` if need be, and load it."""
    source, target = HERE / "floor.c", BUILD / "floor.so"
    BUILD.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        own = target.with_suffix(f".{os.getpid()}")  # another process may compile the same
        options = ["-O3", "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run(["cc", *options, "-o", str(own), str(source), "-ldl"], check=True)
        own.replace(target)
    library = ctypes.CDLL(str(target))
    library.floor_begin.restype = ctypes.c_char_p
    return library


def upgrade(connection: socket.socket) -> bytes:
    """Answer the upgrade request; what follows it.

    :raises ValueError: it is none
    """
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(4096)
        if not part:
            raise ValueError("no request")
        received += part
    head, _, early = received.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    key = next((value for name, value in fields.items() if name.lower() == "sec-websocket-key"), None)
    if key is None:
        raise ValueError("not an upgrade request")
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    connection.sendall("\r\n".join((*lines, f"Sec-WebSocket-Accept: {accept}", "", "")).encode())
    return early


def main() -> int:
    library = load()
    port = int(sys.argv[1].rpartition(":")[2])
    missing = library.floor_begin(port, _webrtcvad.__file__.encode())
    if missing is not None:
        print(f"the floor cannot be measured here: {missing.decode()}", file=sys.stderr)
        return 1
    answer = read_wav(Path(sys.argv[2]).read_bytes()) if len(sys.argv) > 2 else b""
    library.floor_speak(answer, ctypes.c_size_t(len(answer)))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        print(f"listening on ws://127.0.0.1:{listener.getsockname()[1]}/media", flush=True)
        listener.setblocking(False)
        while True:
            library.floor_run(listener.fileno(), TURNS)
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            connection.settimeout(5)
            try:
                early = upgrade(connection)
            except (OSError, ValueError):
                connection.close()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            library.floor_add(connection.detach(), early, ctypes.c_size_t(len(early)))


if __name__ == "__main__":
    sys.exit(main())
