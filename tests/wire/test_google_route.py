"""The way to the recognizer: addresses that answer nothing, and proxies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio
import h2.events
import pytest
import uvloop
from test_google_uplinks import Talk
from test_http2_channel import open_call

from accepting import accepting, connected, join
from fastcall.errors import UsageError
from fastcall.google import route
from fastcall.google.http2 import GrpcChannel
from fastcall.google.route import Route
from fastcall.google.tls import client_tls, read_roots
from fastcall.ports import StreamEnd
from fastcall.recognition.probe import Probe
from h2peer import OK, H2Peer, h2_server
from peers import (
    CERTIFICATE,
    KEY,
    Phone,
    ask,
    both_uplinks,
    google_recognizer,
    serving,
)
from supervising import ScriptedWorker, supervising

HOST = "speech.test"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this machine."""
    for name in ("grpc_proxy", "https_proxy", "HTTPS_PROXY", "http_proxy", "no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)


def greet(peer: H2Peer, event: Any) -> None:
    if isinstance(event, h2.events.RequestReceived):
        peer.answer(event.stream_id)
    elif isinstance(event, h2.events.StreamEnded):
        peer.h2.send_headers(event.stream_id, OK, end_stream=True)


# --- addresses ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """An address that swallows what comes: a listener whose queue is full, and that accepts nobody."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind((host, port))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """What any name has, in this order."""

    async def resolve(host: str, port: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    real: Any = grpc.aio.insecure_channel
    target = "ipv4:" + ",".join(f"{host}:{port}" for host, port in addresses)
    monkeypatch.setattr(route, "resolve", resolve)
    monkeypatch.setattr(grpc.aio, "insecure_channel", lambda _, **options: real(target, **options))


@both_uplinks
async def test_a_first_address_that_swallows_everything_costs_no_stream(
    uplink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STT_TLS_ROOTS", raising=False)
    async with h2_server(greet) as (port, connections):
        with black_hole("127.0.0.2", port):
            resolve_to(monkeypatch, ("127.0.0.2", port), ("127.0.0.1", port))
            recognizer = google_recognizer(f"{HOST}:{port}")
            # Both before any attempt could have been given up (10 s; the probe's bound is 2 s).
            assert await Talk(recognizer).ended() == StreamEnd("OK")
            assert await Probe(recognizer.reach).is_reachable()
            assert len(connections) == 2
            await recognizer.aclose()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
async def test_the_server_s_loop_races_too(new_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop's own create_connection has no such thing."""

    async def connect(port: int) -> Any:
        with await Route(HOST, port).connect() as sock:
            return sock.getpeername()

    def run(port: int) -> Any:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(connect(port))

    async with h2_server(greet) as (port, _):
        with black_hole("127.0.0.2", port):
            resolve_to(monkeypatch, ("127.0.0.2", port), ("127.0.0.1", port))
            assert await asyncio.to_thread(run, port) == ("127.0.0.1", port)


async def test_an_address_that_refuses_is_passed_at_once_and_all_that_do_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.2", 0))
        refusing = unused.getsockname()
        async with h2_server(greet) as (port, _):
            resolve_to(monkeypatch, refusing, ("127.0.0.1", port))
            (await Route(HOST, port).connect()).close()
        resolve_to(monkeypatch, refusing, refusing)
        with pytest.raises(OSError, match="Connect call failed"):
            await Route(HOST, 1).connect()


# --- proxies --------------------------------------------------------------------------------------------------------


class ProxyServer:
    """An HTTP proxy that knows one target, whatever it is asked for.

    :param answer: what it answers in place of a tunnel
    :param waits: whether it waits for the target's first words, and sends them together with its answer
    """

    def __init__(self, target: str, *, answer: bytes = b"", waits: bool = False) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._answer = answer
        self._waits = waits
        self.heads: list[bytes] = []
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        if self._answer:
            writer.write(self._answer)
            writer.close()
            return
        async with connected(*self._target) as (back, forth):
            first = await back.read(65_536) if self._waits else b""
            writer.write(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n" + first)
            await asyncio.gather(join(reader, forth), join(back, writer))


@contextlib.asynccontextmanager
async def proxy_to(target: str, **options: Any) -> AsyncIterator[ProxyServer]:
    proxy = ProxyServer(target, **options)
    async with accepting(proxy.serve) as port:
        proxy.address = f"127.0.0.1:{port}"
        yield proxy


@both_uplinks
@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY"])
async def test_streams_and_the_probe_go_by_the_proxy(
    uplink: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STT_TLS_ROOTS", raising=False)
    async with h2_server(greet) as (port, _), proxy_to(f"127.0.0.1:{port}", waits=True) as proxy:
        monkeypatch.setenv(variable, f"http://user:p%40ss@{proxy.address}")
        recognizer = google_recognizer(f"{HOST}:443")
        assert await Talk(recognizer).ended() == StreamEnd("OK")
        assert await Probe(recognizer.reach).is_reachable()
        await recognizer.aclose()
        assert len(proxy.heads) == 2
        for head in proxy.heads:
            assert head.startswith(b"CONNECT speech.test:443 HTTP/1.1\r\n")
            assert b"proxy-authorization: basic dxnlcjpwqhnz\r\n" in head.lower()


@both_uplinks
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "refused the tunnel: 407 Proxy Authentication Required",
        ),
        (b"HTTP/1.1 200", "did not respond like an HTTP proxy"),
        (b"x" * 20_000, "did not respond like an HTTP proxy"),
        (b"220 mail\r\n\r\n", "is not an HTTP proxy"),
    ],
)
async def test_a_proxy_that_makes_no_tunnel_is_named(
    uplink: str, answer: bytes, words: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("STT_TLS_ROOTS", raising=False)
    async with h2_server(greet) as (port, _), proxy_to(f"127.0.0.1:{port}", answer=answer) as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:pass@{proxy.address}")
        recognizer = google_recognizer(f"{HOST}:443")
        end = await Talk(recognizer).ended()
        assert end.code == "UNAVAILABLE"
        if uplink == "native":
            assert end.message == f"no connection to speech.test:443: the proxy {proxy.address} {words}"
        assert not await Probe(recognizer.reach).is_reachable()
        await recognizer.aclose()
        assert "pass" not in end.message + caplog.text


async def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(OSError, match=r"^the proxy 127\.0\.0\.1:\d+ cannot be reached: "):
            await Route.to(f"{HOST}:443").reach()


@both_uplinks
async def test_what_needs_no_proxy_gets_none(uplink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own addresses, and what no_proxy names: written as other programs take it, in capitals."""
    monkeypatch.delenv("STT_TLS_ROOTS", raising=False)
    async with h2_server(greet) as (port, connections), proxy_to(f"127.0.0.1:{port}") as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        monkeypatch.setenv("NO_PROXY", ".test")
        for host in ("127.0.0.1", HOST):
            resolve_to(monkeypatch, ("127.0.0.1", port))
            recognizer = google_recognizer(f"{host}:{port}")
            assert await Talk(recognizer).ended() == StreamEnd("OK")
            await recognizer.aclose()
        assert (len(connections), proxy.heads) == (2, [])


async def test_tls_goes_through_the_tunnel_to_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    context.set_alpn_protocols(["h2"])
    async with h2_server(greet, tls=context) as (port, _), proxy_to(f"127.0.0.1:{port}") as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        roots = client_tls(read_roots(CERTIFICATE))
        channel = GrpcChannel(Route.to(f"{HOST}:443"), tls=roots, server_name="localhost")
        call, listener = open_call(channel)
        call.half_close()
        assert await listener.end() == ("OK", "")
        await channel.aclose()
        assert len(proxy.heads) == 1


@both_uplinks
async def test_a_server_behind_a_proxy_is_ready_and_takes_calls(
    uplink: str, prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STT_TLS_ROOTS", raising=False)
    async with proxy_to(prompt_emulator) as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:secret@{proxy.address}")
        async with serving(f"{HOST}:50051") as served, Phone(served.url, f"by {uplink}") as phone:
            assert (await ask(served.port, "/readyz")).status == 200
            assert await served.take_call(phone, "[300] apple arrow [600]", at_pace=True) == ["apple arrow"]
        assert len(proxy.heads) >= 2


async def test_a_supervisor_asks_by_the_proxy_too(prompt_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STT_TLS_ROOTS", raising=False)
    async with proxy_to(prompt_emulator) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        async with supervising(ScriptedWorker(), ScriptedWorker(), speech_emulator_host=f"{HOST}:50051") as supervisor:
            assert await supervisor.unready_reasons() == []
        assert len(proxy.heads) == 1


def test_a_proxy_of_another_kind_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://u:secret@h:1")
    with pytest.raises(UsageError, match=r"^https_proxy must be http://HOST:PORT"):
        google_recognizer(f"{HOST}:1")
