"""One port for two protocols, and for those who speak neither, or too slowly, or are too many."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fastcall.server.sniffer import MAX_HEAD_BYTES, PendingConnections, ProtocolSniffer
from peers import PATIENCE_S, Phone, ask, serve_process, serving, tones, upgrade_request
from thoroughness import amount

IDLE = amount(3_000, thorough=10_000)


class Echo(asyncio.Protocol):
    """Says which protocol it is, and what it was handed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(f"{self._name} {len(data)}\n".encode())  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def fronting(room: PendingConnections | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """(port, why heads were refused) of a front with two echoes behind it."""
    bad: list[str] = []
    front = ProtocolSniffer(
        websocket=lambda: Echo("websocket"),
        plain=lambda: Echo("plain"),
        room=PendingConnections() if room is None else room,
        on_bad_head=bad.append,
    )
    try:
        yield await front.listen("127.0.0.1", 0), bad
    finally:
        front.close()


async def converse(port: int, *pieces: bytes) -> bytes:
    """Send the pieces, each in a packet of its own, and read a line, or b"" if the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


UPGRADE = b"GET /media HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "protocol"),
    [
        (UPGRADE % b"Upgrade: websocket", b"websocket"),
        (UPGRADE % b"UPGRADE:\tWebSocket", b"websocket"),
        (UPGRADE % b"upgrade: h2c, websocket", b"websocket"),
        (UPGRADE % b"X-Upgrade: websocket", b"plain"),
        (UPGRADE % b"Upgrade: h2c", b"plain"),
        (UPGRADE % b"Upgrade: websockets", b"plain"),
        (b"POST /media HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"plain"),
        (b"POST /twiml HTTP/1.1\r\nContent-Length: 9\r\n\r\nUpgrade: websocket", b"plain"),
        (b"GET / HTTP/1.1\r\n\r\n\r\nUpgrade: websocket\r\n\r\n", b"plain"),
        (b"GET / HTTP/1.0\r\n\r\n", b"plain"),
        (b"nonsense\r\n\r\n", b"plain"),
    ],
)
async def test_an_upgrade_goes_one_way_and_all_else_the_other(request_bytes: bytes, protocol: bytes) -> None:
    async with fronting() as (port, bad):
        whole = await converse(port, request_bytes)
        assert whole == b"%s %d\n" % (protocol, len(request_bytes))
        end = request_bytes.index(b"\r\n\r\n") + 4
        in_pieces = await converse(port, *(request_bytes[i : i + 1] for i in range(end)))
        assert in_pieces.split(b" ")[0] == protocol
    assert bad == []


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "head_not_http"),
        (b"\r\n", "head_not_http"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES, "head_too_long"),
    ],
)
async def test_what_is_no_request_is_closed(first: bytes, reason: str) -> None:
    async with fronting() as (port, bad):
        assert await converse(port, first) == b""
    assert bad == [reason]


async def test_a_head_that_dribbles_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastcall.server.sniffer.HEAD_TIMEOUT_S", 0.3)
    async with fronting() as (port, bad):
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        begins_at = loop.time()
        closed = loop.create_task(reader.read())
        sent = 0
        while not closed.done():
            with contextlib.suppress(ConnectionError):
                writer.write(upgrade_request(port)[sent : sent + 1])
            sent += 1
            await asyncio.wait((closed,), timeout=0.02)
            assert sent < len(upgrade_request(port))
        assert loop.time() - begins_at >= 0.3
        writer.close()
        assert await converse(port) == b""  # who sends nothing at all
    assert bad == ["head_slow", "head_slow"]


async def test_of_those_that_wait_the_oldest_goes() -> None:
    closed: list[None] = []
    room = PendingConnections(8, lambda: closed.append(None))
    async with fronting(room) as (port, _):
        writers = []
        readers = []
        for _number in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            readers.append(reader)
            writers.append(writer)
        async with asyncio.timeout(PATIENCE_S):
            for reader in readers[:10]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
        writers[-1].write(b"GET / HTTP/1.1\r\n\r\n")
        assert await readers[-1].readline() == b"plain 18\n"
        assert len(room) <= 10
        assert len(closed) >= 10
        for writer in writers:
            writer.close()


async def test_those_that_left_by_themselves_take_no_room() -> None:
    closed: list[None] = []
    room = PendingConnections(8, lambda: closed.append(None))
    async with fronting(room) as (port, _):
        for _number in range(100):
            assert await converse(port, b"GET / HTTP/1.1\r\n\r\n") == b"plain 18\n"
    assert closed == []


def can_open(count: int) -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard >= count


async def test_thousands_of_idle_connections_do_not_touch_a_call(prompt_emulator: str, tmp_path: Path) -> None:
    if not can_open(IDLE + 500):
        pytest.skip("this machine allows fewer descriptors")
    async with serve_process(SPEECH_EMULATOR_HOST=prompt_emulator) as process, Phone(process.ready[1], "good") as phone:
        port = int(process.ready[1].rpartition(":")[2].partition("/")[0])
        await phone.start()
        speaking = asyncio.create_task(phone.speak(tones("[300] apple arrow autumn [700]")))
        sockets = []
        for _ in range(IDLE // 100):
            connecting = [asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
            # Whoever is refused outright is as good as closed.
            opened = await asyncio.gather(*connecting, return_exceptions=True)
            sockets += [each for each in opened if not isinstance(each, BaseException)]
        await speaking
        await asyncio.to_thread(process.wait_for_words, "apple arrow autumn", phone.call_sid)
        async with Phone(process.ready[1], "late") as late:
            await late.start()
            await late.say(tones("[300] badge bamboo [700]"))
            await asyncio.to_thread(process.wait_for, r"(Final|Amended): badge bamboo call=")
        metrics = (await ask(port, "/metrics")).body
        for _, writer in sockets:
            writer.transport.abort()
    value = {line.split()[0]: float(line.split()[1]) for line in metrics.splitlines() if line[:1] != "#"}
    assert value["fastcall_sockets_waiting"] <= 1250
    closed = value["fastcall_idle_closed_total"] + value.get('fastcall_bad_heads_total{reason="head_slow"}', 0)
    assert closed >= IDLE - 2000


async def test_it_speaks_tls_to_calls_and_to_requests(prompt_emulator: str) -> None:
    data = Path(__file__).parents[1] / "data"
    cert, key = str(data / "localhost.pem"), str(data / "localhost-key.pem")
    context = ssl.create_default_context(cafile=cert)
    async with serve_process("--tls-cert", cert, "--tls-key", key, SPEECH_EMULATOR_HOST=prompt_emulator) as process:
        address = process.ready[1].replace("127.0.0.1", "localhost")
        assert address.startswith("wss://")
        async with Phone(address, "tls", ssl=context) as phone:
            await phone.start()
            await phone.say(tones("[300] apple arrow [700]"))
            await asyncio.to_thread(process.wait_for, r"(Final|Amended): apple arrow call=")
        port = int(address.rpartition(":")[2].partition("/")[0])
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
        writer.close()
        assert (await converse(port, b"GET /healthz HTTP/1.1\r\n\r\n")) == b""  # TLS only


async def test_the_call_is_not_in_the_room_of_those_that_wait(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "call") as phone:
        assert served.server.snapshot()["sockets_waiting"] == 1
        await phone.start()
        await served.transcripts.wait_for(phone.call_sid, "session_started")
        assert served.server.snapshot()["sockets_waiting"] == 0
        assert served.server.snapshot()["calls_live"] == 1
