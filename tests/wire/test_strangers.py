"""What a stranger can make the server do: counted in frames that were parsed, bytes that were taken, and lines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

import pytest
from aiohttp.web_protocol import RequestHandler

from fastcall.server import http
from peers import PATIENCE_S, ParsedFrames, Phone, client_frame, serving, turns, upgrade_request
from waiting import until_so
from workers import serving_workers

CONTINUATION, TEXT, PING, PONG = 0, 1, 9, 10
NOWHERE = "127.0.0.1:9"  # no call is begun here: no recognizer is needed
SIGNED_ONLY = {"twilio_auth_token": "secret", "public_url": "https://calls.example.com"}


async def send_until_closed(port: int, head: bytes, flood: bytes, total: int) -> tuple[bytes, int]:
    """What the server says, and how many bytes of ``total`` of the flood the two systems took before it closed."""
    ours = socket.socket()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    ours.setblocking(False)
    loop = asyncio.get_running_loop()
    taken = 0
    with ours:
        await loop.sock_connect(ours, ("127.0.0.1", port))
        answer = b""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(ours, head + flood)
                while b"\r\n\r\n" not in answer and (more := await loop.sock_recv(ours, 4096)):
                    answer += more
                while answer and taken < total:
                    await loop.sock_sendall(ours, flood)
                    taken += len(flood)
    return answer, taken


async def test_a_refused_upgrade_costs_nothing_whatever_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = ParsedFrames(monkeypatch)
    flood = client_frame(0, b"") * 4096  # 24 KB
    async with serving(NOWHERE, **SIGNED_ONLY) as served:
        answer, taken = await send_until_closed(served.port, upgrade_request(served.port), flood, 10 * 1024 * 1024)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert served.server.live_calls == 0
    assert parsed.count == 0
    assert taken < 10 * 1024 * 1024


async def test_a_refused_peer_that_goes_on_sending_is_reset() -> None:
    """Its connection is not read to an end that it may choose: there is none any more."""
    loop = asyncio.get_running_loop()
    with socket.socket() as ours:
        ours.setblocking(False)
        async with serving(NOWHERE, **SIGNED_ONLY) as served:
            await loop.sock_connect(ours, ("127.0.0.1", served.port))
            await loop.sock_sendall(ours, upgrade_request(served.port))
            async with asyncio.timeout(PATIENCE_S):
                assert (await loop.sock_recv(ours, 4096)).startswith(b"HTTP/1.1 403 ")
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    await loop.sock_sendall(ours, client_frame(CONTINUATION, b"") * 1_000_000)
            assert served.server.calls.open_sockets == 0  # though the peer has closed nothing


async def test_floods_on_sockets_that_workers_have_are_charged_and_closed(prompt_emulator: str) -> None:
    """Nothing of them is answered, so what comes first is the close frame."""
    floods = {
        "pongs": client_frame(PONG, b""),
        "fragments": client_frame(TEXT, b"", fin=False) + client_frame(CONTINUATION, b"", fin=False) * 30_000,
        "messages": client_frame(TEXT, b"{}"),
    }
    async with serving_workers(prompt_emulator) as it:
        for name, flood in floods.items():
            for is_live in (False, True):
                phone = Phone(it.url, f"{name} {is_live}")
                start = client_frame(TEXT, phone.messages.start({}).encode())
                reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
                writer.write(upgrade_request(it.port))
                async with asyncio.timeout(PATIENCE_S):
                    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
                    writer.write((start if is_live else b"") + flood * max(1, 200_000 // len(flood)))
                    code, reason = close_frame(await reader.read(200))
                writer.close()
                assert (code, reason) == (1008, "far more messages than a call sends")
        assert await it.number("fastcall_calls_ended_total", 3) == 3


def close_frame(data: bytes) -> tuple[int, str]:
    """Code and reason, if that is what it is."""
    assert data[:1] == b"\x88"
    payload = data[2 : 2 + data[1]]
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()


async def test_a_request_with_more_than_64_kib_behind_it_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = ParsedFrames(monkeypatch)
    async with serving(NOWHERE) as served:
        head = upgrade_request(served.port)
        _, taken = await send_until_closed(served.port, head + client_frame(PING, b"x" * 125) * 1000, b"", 0)
        assert taken == 0
        assert served.server.live_calls == 0
    assert parsed.count == 0


@pytest.mark.usefixtures("fast_path")
async def test_a_flood_of_pings_is_closed_and_not_parsed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastcall.server.websocket.CLOSE_TIMEOUT_S", 0.2)
    parsed = ParsedFrames(monkeypatch)
    async with serving(NOWHERE) as served:
        _, taken = await send_until_closed(
            served.port, upgrade_request(served.port), client_frame(PING, b"x" * 100) * 200, 20 * 1024 * 1024
        )
        assert taken < 20 * 1024 * 1024
    assert parsed.count < 10_000


async def test_refused_upgrades_that_keep_their_sockets_say_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their sockets are closed by this side, and not after a time-out with a traceback."""
    monkeypatch.setattr("fastcall.server.websocket.CLOSE_TIMEOUT_S", 0.2)
    caplog.set_level(logging.INFO)
    async with serving(NOWHERE, **SIGNED_ONLY) as served:
        caplog.clear()
        writers = []
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writers.append(writer)
            writer.write(upgrade_request(served.port))
            async with asyncio.timeout(PATIENCE_S):
                assert (await reader.read()).startswith(b"HTTP/1.1 403 ")  # to the end of what it sends
        async with asyncio.timeout(PATIENCE_S):
            while served.server.calls.open_sockets:
                await turns(1)
        for writer in writers:
            writer.close()
    assert [record for record in caplog.records if record.exc_info] == []
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 1  # the doorman's


@pytest.mark.parametrize(
    "asked",
    [
        b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHo st: h\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST /twiml HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"GET /media HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        b"GET /media HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nBroken\r\n\r\n",
    ],
)
async def test_no_answer_names_a_version(asked: bytes) -> None:
    async with serving(NOWHERE) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(asked)
        async with asyncio.timeout(PATIENCE_S):
            answer = (await reader.read()).lower()
        writer.close()
    assert not any(name in answer for name in (b"aiohttp", b"python", b"websockets/"))


class Shares:
    """What aiohttp is given of plain requests in this process, and whether two shares came in one turn of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.are_two_in_a_turn = False
        self._is_one_in_this_turn = False
        take = RequestHandler.data_received

        def counting(handler: RequestHandler, data: bytes) -> None:
            if data:  # aiohttp also calls it itself, without any
                self.sizes.append(len(data))
                self.are_two_in_a_turn |= self._is_one_in_this_turn
                self._is_one_in_this_turn = True
                asyncio.get_running_loop().call_soon(self._end_turn)
            take(handler, data)

        monkeypatch.setattr(RequestHandler, "data_received", counting)

    def _end_turn(self) -> None:
        self._is_one_in_this_turn = False


async def test_a_body_in_the_smallest_chunks_is_read_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer one than a form may be is answered, and what is behind it is left in the socket."""
    monkeypatch.setattr("fastcall.server.http.BODY_TIMEOUT_S", 0.2)
    shares = Shares(monkeypatch)
    head = b"POST /twiml HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(NOWHERE) as served:
        answer, taken = await send_until_closed(served.port, head, b"1\r\nx\r\n" * 40_000, 20 * 1024 * 1024)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert taken < 20 * 1024 * 1024
    assert max(shares.sizes) <= http.SHARE_BYTES
    assert sum(shares.sizes) <= http.MAX_REQUEST_BYTES
    assert not shares.are_two_in_a_turn


async def test_of_a_request_that_does_not_end_so_much_is_read_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the machine takes to read it: nothing but the bound ends the reading."""
    monkeypatch.setattr("fastcall.server.http.BODY_TIMEOUT_S", 2 * PATIENCE_S)
    shares = Shares(monkeypatch)

    async def all_is_read() -> bool:
        return sum(shares.sizes) >= http.MAX_REQUEST_BYTES

    async with serving(NOWHERE) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = b"POST /twiml HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"1\r\nx\r\n" * 40_000)
        await until_so(all_is_read)
        await turns(100)  # in which as much again could be read
        writer.transport.abort()
    assert sum(shares.sizes) == http.MAX_REQUEST_BYTES
    assert len(shares.sizes) >= http.MAX_REQUEST_BYTES // http.SHARE_BYTES
    assert not shares.are_two_in_a_turn


async def test_who_connects_and_goes_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(NOWHERE) as served:
        caplog.clear()
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(upgrade_request(served.port))
            async with asyncio.timeout(PATIENCE_S):
                await reader.readuntil(b"\r\n\r\n")
            writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while served.server.live_calls:
                await turns(1)
        assert served.server.metrics.calls_refused["no_start"] == 5
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
