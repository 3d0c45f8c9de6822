"""gRPC calls over real sockets: against grpcio's own server, and against one that breaks every rule."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import h2.events
import h2.settings
import pytest

from fastcall import _http2
from fastcall.errors import RecognizerError
from h2peer import ANSWER, OK, H2Peer, frame, grpc_message, h2_server
from peers import PATIENCE_S, turns

try:
    _http2.load()
except OSError as missing:
    pytest.skip(str(missing), allow_module_level=True)

from fastcall.google import http2
from fastcall.google.grpc_call import GrpcCall
from fastcall.google.http2 import GrpcChannel
from fastcall.google.route import Route
from fastcall.google.tls import client_tls

DATA = Path(__file__).parent.parent / "data"
METHOD = "/service/Method"


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.unprocessed: bool | None = None
        self._changed = asyncio.Event()

    def _note(self, what: Any) -> None:
        assert not self.ends, f"{what} after the end"
        self.seen.append(what)
        self._changed.set()

    def call_begun(self) -> None:
        self._note("begun")

    def call_message(self, message: bytes) -> None:
        self._note(message)

    def call_writable(self) -> None:
        self._note("writable")

    def call_answered(self) -> None:
        self._note("answered")

    def call_ended(self, code: str, message: str, *, unprocessed: bool) -> None:
        self.unprocessed = unprocessed
        self._note((code, message))

    @property
    def ends(self) -> list[tuple[str, str]]:
        return [what for what in self.seen if isinstance(what, tuple)]

    @property
    def messages(self) -> list[bytes]:
        return [what for what in self.seen if isinstance(what, bytes)]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> tuple[str, str]:
        await self.until(lambda: self.ends)
        return self.ends[0]


class Key:
    """An ``Authorization``."""

    def __init__(self, failure: RecognizerError | None = None, *, is_ready: bool = False) -> None:
        self.is_ready = is_ready
        self.failure = failure
        self.may_be_had = asyncio.Event()
        self.may_be_had.set()

    async def ready(self) -> None:
        if not self.is_ready:
            await self.may_be_had.wait()
            if self.failure is not None:
                raise self.failure
            self.is_ready = True

    def headers(self) -> list[tuple[str, str]]:
        return [("authorization", "Bearer x")]

    def not_accepted(self, sent: Any) -> bool:
        return False


@contextlib.asynccontextmanager
async def channel_to(port: int, **options: Any) -> AsyncIterator[GrpcChannel]:
    channel = GrpcChannel(Route("127.0.0.1", port), **options)
    try:
        yield channel
    finally:
        await channel.aclose()
        assert channel.calls == 0


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def open_call(channel: GrpcChannel) -> tuple[GrpcCall, Listener]:
    listener = Listener()
    return channel.open(METHOD, listener), listener


# --- grpcio's server -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def grpcio_server(
    handler: Callable[[Any, Any], Any], *, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[int]:
    server = grpc.aio.server()
    methods = {"Method": grpc.stream_stream_rpc_method_handler(handler)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("service", methods),))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def echo(requests: Any, context: Any) -> AsyncIterator[bytes]:
    await context.send_initial_metadata((("hello", "there"),))
    async for request in requests:
        yield request
    context.set_trailing_metadata((("bye", "now"),))


class CountingSocket(socket.socket):
    """Counts what is written to it."""

    writes = 0

    def send(self, *arguments: Any) -> int:
        self.writes += 1
        return super().send(*arguments)


class CountingRoute(Route):
    """Keeps the socket of its connection."""

    socket: CountingSocket

    async def connect(self) -> socket.socket:
        self.socket = CountingSocket(fileno=(await super().connect()).detach())
        return self.socket


async def test_messages_that_follow_a_write_soon_go_out_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http2, "WRITE_EVERY_S", 0.1)
    monkeypatch.setattr(http2, "BUSY_SHARE", 0.0)
    async with grpcio_server(echo) as port:
        route = CountingRoute("127.0.0.1", port)
        channel = GrpcChannel(route)
        call, listener = open_call(channel)
        call.write(b"0")
        await listener.until(lambda: listener.messages)
        before = route.socket.writes
        for number in range(1, 6):
            call.write(b"%d" % number)
            await turns(3)
        await listener.until(lambda: len(listener.messages) == 6)
        assert listener.messages == [b"%d" % number for number in range(6)]
        assert route.socket.writes == before + 1
        call.cancel()
        await channel.aclose()


async def test_what_waits_for_its_write_goes_out_when_the_channel_is_closed(monkeypatch: pytest.MonkeyPatch):
    seen: list[Any] = []

    def note(peer: H2Peer, event: Any) -> None:
        seen.append(event)
        if isinstance(event, h2.events.RequestReceived):
            peer.h2.send_headers(event.stream_id, ANSWER)

    monkeypatch.setattr(http2, "WRITE_EVERY_S", 0.5)
    monkeypatch.setattr(http2, "BUSY_SHARE", 0.0)
    async with h2_server(note) as (port, connections):
        channel = GrpcChannel(Route("127.0.0.1", port))
        call, listener = open_call(channel)
        await listener.until(lambda: "answered" in listener.seen)
        call.cancel()
        await channel.aclose()
        await connections[0].lost
    assert [type(event) for event in seen[-2:]] == [h2.events.StreamReset, h2.events.ConnectionTerminated]


async def test_messages_go_there_and_back():
    bodies = [b"", b"one", os.urandom(2400), os.urandom(700_000)]
    async with grpcio_server(echo) as port, channel_to(port) as channel:
        call, listener = open_call(channel)
        for body in bodies:
            call.write(body)
        call.half_close()
        assert not call.writable
        assert await listener.end() == ("OK", "")
        assert listener.messages == bodies
        assert listener.seen.index("begun") < listener.seen.index(b"one")


async def test_a_field_and_the_headers_arrive():
    metadata: dict[str, Any] = {}

    async def look(requests: Any, context: Any) -> AsyncIterator[bytes]:
        metadata.update(context.invocation_metadata())
        async for request in requests:
            yield request

    async with grpcio_server(look) as port:
        options: Any = {"headers": (("user-agent", "me"),), "authorization": Key(is_ready=True)}
        async with channel_to(port, **options) as channel:
            call, listener = open_call(channel)
            call.write(bytes(300), 0x12)
            call.half_close()
            await listener.end()
    assert listener.messages == [b"\x12\xac\x02" + bytes(300)]
    assert metadata["user-agent"] == "me"
    assert metadata["authorization"] == "Bearer x"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_every_status_arrives_with_its_words(code: grpc.StatusCode):
    words = "zu schnell: 5% über\nder Grenze ✗"

    async def refuse(requests: Any, context: Any) -> AsyncIterator[bytes]:
        await context.abort(code, words)
        yield b""

    async with grpcio_server(refuse) as port, channel_to(port) as channel:
        call, listener = open_call(channel)
        call.write(b"config")
        assert await listener.end() == (code.name, words)
        call.write(b"late")
        call.half_close()
        call.cancel()
        assert not call.writable


async def test_cancel_reaches_the_peer():
    ended = asyncio.Event()

    async def wait(requests: Any, context: Any) -> AsyncIterator[bytes]:
        # Its requests end; whether the handler is cancelled before it sees that is grpcio's matter.
        try:
            async for request in requests:
                yield request
        finally:
            ended.set()

    async with grpcio_server(wait) as port, channel_to(port) as channel:
        call, listener = open_call(channel)
        call.write(b"config")
        await listener.until(lambda: listener.messages)
        call.cancel()
        assert await listener.end() == ("CANCELLED", "cancelled")
        async with asyncio.timeout(PATIENCE_S):
            await ended.wait()


async def test_a_deadline_ends_the_call_and_the_peer_knows_it():
    deadlines: list[tuple[float, float]] = []

    async def wait(requests: Any, context: Any) -> AsyncIterator[bytes]:
        before = time.monotonic()
        left = context.time_remaining()  # at some time from then until now
        deadlines.append((before + left, time.monotonic() + left))
        async for request in requests:
            yield request

    async with grpcio_server(wait) as port, channel_to(port) as channel:
        soon, late, none = Listener(), Listener(), Listener()
        opened = time.monotonic()
        calls = [
            channel.open(METHOD, soon, timeout_s=0.3),
            channel.open(METHOD, late, timeout_s=600.0),
            channel.open(METHOD, none, timeout_s=1e6),
        ]
        for call in calls:
            call.write(b"config")
        # The peer keeps the same time, and may be the first to say so.
        assert await soon.end() in (
            ("DEADLINE_EXCEEDED", "the call's deadline has passed"),
            ("DEADLINE_EXCEEDED", "Deadline Exceeded"),
        )
        for call, listener in ((calls[1], late), (calls[2], none)):
            await listener.until(lambda heard=listener: heard.messages)
            call.half_close()
            assert await listener.end() == ("OK", "")
    # Each counts from when the peer heard of the call, however long that took; the longest is sent in whole seconds.
    took = time.monotonic() - opened
    for (earliest, latest), timeout_s in zip(sorted(deadlines), (0.3, 600, 1e6), strict=True):
        assert timeout_s - 1.1 <= latest - opened
        assert earliest - opened <= timeout_s + took


async def test_many_calls_share_one_connection_and_mix_nothing_up():
    async with grpcio_server(echo) as port, channel_to(port) as channel:
        calls = [open_call(channel) for _ in range(80)]
        for turn in range(20):
            for number, (call, _) in enumerate(calls):
                call.write(b"%d %d" % (number, turn) * 50, 0x12)
            await asyncio.sleep(0)
        for call, _ in calls:
            call.half_close()
        for number, (_, listener) in enumerate(calls):
            assert await listener.end() == ("OK", "")
            assert [m.partition(b" ")[0][3:] for m in listener.messages] == [b"%d" % number] * 20
            assert len(listener.messages) == 20


# --- TLS -----------------------------------------------------------------------------------------------


def server_credentials() -> grpc.ServerCredentials:
    pair = ((DATA / "localhost-key.pem").read_bytes(), (DATA / "localhost.pem").read_bytes())
    return grpc.ssl_server_credentials((pair,))


async def test_tls():
    tls = client_tls((DATA / "localhost.pem").read_bytes())
    async with (
        grpcio_server(echo, credentials=server_credentials()) as port,
        channel_to(port, tls=tls, server_name="localhost") as channel,
    ):
        call, listener = open_call(channel)
        call.write(b"secret")
        call.half_close()
        assert await listener.end() == ("OK", "")
        assert listener.messages == [b"secret"]


@pytest.mark.parametrize(("roots", "name"), [(None, "localhost"), ("localhost.pem", "speech.googleapis.com")])
async def test_a_certificate_that_does_not_fit_is_refused(roots: str | None, name: str):
    tls = client_tls((DATA / roots).read_bytes() if roots else None)
    async with (
        grpcio_server(echo, credentials=server_credentials()) as port,
        channel_to(port, tls=tls, server_name=name) as channel,
    ):
        _, listener = open_call(channel)
        code, message = await listener.end()
        assert code == "UNAVAILABLE"
        assert "certificate" in message.lower()
        assert not channel.is_usable


async def test_a_tls_server_that_does_not_speak_http2():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(DATA / "localhost.pem", DATA / "localhost-key.pem")
    tls = client_tls((DATA / "localhost.pem").read_bytes())
    async with (
        h2_server(lambda peer, event: None, tls=context) as (port, _),
        channel_to(port, tls=tls, server_name="localhost") as channel,
    ):
        _, listener = open_call(channel)
        assert await listener.end() == ("UNAVAILABLE", f"127.0.0.1:{port} does not speak HTTP/2")


# --- connections that do not come about, or break --------------------------------------------------------


async def test_nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        async with channel_to(port) as channel:
            call, listener = open_call(channel)
            call.write(b"config")
            code, message = await listener.end()
            assert code == "UNAVAILABLE"
            assert message.startswith(f"no connection to 127.0.0.1:{port}: ")
            _, late = open_call(channel)
            assert await late.end() == ("UNAVAILABLE", "the connection is closed")


@pytest.mark.parametrize(("host", "port"), [("a..b", 443), ("x" * 70, 443), ("127.0.0.1", 99_999)])
async def test_an_address_that_cannot_be_one(host: str, port: int):
    channel = GrpcChannel(Route(host, port))
    _, listener = open_call(channel)
    code, message = await listener.end()
    assert code == "UNAVAILABLE"
    assert message.startswith(f"no connection to {host}:{port}: ")
    assert not channel.is_usable
    await channel.aclose()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_the_authority_of_an_ipv6_address_has_brackets():
    asked: list[bytes] = []

    def note(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            asked.append(dict(event.headers)[b":authority"])
            peer.answer(event.stream_id, end=True)

    async with h2_server(note, host="::1") as (port, _):
        channel = GrpcChannel(Route("::1", port))
        _, listener = open_call(channel)
        assert await listener.end() == ("OK", "")
        await channel.aclose()
        assert asked == [f"[::1]:{port}".encode()]


async def test_a_tls_handshake_that_never_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http2, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with channel_to(mute.getsockname()[1], tls=client_tls()) as channel:
            call, listener = open_call(channel)
            while call.writable:
                call.write(bytes(3000))
            code, message = await listener.end()
            assert (code, message[-12:]) == ("UNAVAILABLE", "within 0.2 s")


async def test_a_server_that_accepts_and_says_nothing(monkeypatch: pytest.MonkeyPatch):
    """Calls go out when it has sent its settings, so that it is never sent more than it takes."""
    monkeypatch.setattr(http2, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with channel_to(mute.getsockname()[1]) as channel:
            _, listener = open_call(channel)
            code, message = await listener.end()
            assert (code, message[-12:]) == ("UNAVAILABLE", "within 0.2 s")
            assert listener.seen == [(code, message)]


async def test_no_more_calls_than_the_peer_takes_go_out_from_the_first_on():
    """The others would wait in silence: they end, and may be made elsewhere."""
    requests: list[int] = []

    def three_at_once(peer: H2Peer, event: Any) -> None:
        if event == "connected":
            peer.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 3})
        elif isinstance(event, h2.events.RequestReceived):
            assert peer.h2.open_inbound_streams <= 3
            requests.append(event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            peer.answer(event.stream_id, end=True)

    async with h2_server(three_at_once) as (port, _), channel_to(port) as channel:
        assert channel.max_calls is None
        calls = [open_call(channel) for _ in range(20)]
        for _, listener in calls[3:]:
            code, message = await listener.end()
            assert (code, listener.unprocessed) == ("UNAVAILABLE", True)
            assert message == f"127.0.0.1:{port} allows at most 3 concurrent calls per connection"
        assert channel.max_calls == 3
        for call, listener in calls[:3]:
            call.half_close()
            assert await listener.end() == ("OK", "")
        call, listener = open_call(channel)  # there is room again
        call.half_close()
        assert await listener.end() == ("OK", "")
        assert len(requests) == 4


async def test_a_peer_that_takes_no_call_for_now_is_asked_with_one():
    """It may take some later (RFC 9113 section 6.5.2); without a bound there would be connections without end."""

    def none_at_first(peer: H2Peer, event: Any) -> None:
        if event == "connected":
            peer.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 0})
        elif isinstance(event, h2.events.RequestReceived):
            peer.answer(event.stream_id, end=True)

    async with h2_server(none_at_first) as (port, connections), channel_to(port) as channel:
        calls = [open_call(channel) for _ in range(2)]
        assert (await calls[1][1].end())[0] == "UNAVAILABLE"
        assert not calls[0][1].ends
        connections[0].h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 5})
        connections[0].flush()
        assert await calls[0][1].end() == ("OK", "")


async def test_authorization_that_fails_is_the_end_of_the_calls():
    async with h2_server(lambda peer, event: None) as (port, connections):
        async with channel_to(port, authorization=Key(RecognizerError("UNAUTHENTICATED", "no key"))) as channel:
            _, listener = open_call(channel)
            assert await listener.end() == ("UNAUTHENTICATED", "no key")
        assert connections == []


async def test_a_call_waits_for_a_token_that_is_renewed_too_late():
    """The one before has run out, and the connection stands."""
    key = Key(is_ready=True)
    async with grpcio_server(echo) as port, channel_to(port, authorization=key) as channel:
        first, heard = open_call(channel)
        first.write(b"config")
        await heard.until(lambda: heard.messages)
        key.is_ready = False
        key.may_be_had.clear()
        (second, late), (given_up, gone) = open_call(channel), open_call(channel)
        second.write(b"one")
        first.write(b"two")
        await heard.until(lambda: b"two" in heard.messages)
        given_up.cancel()
        assert await gone.end() == ("CANCELLED", "cancelled")
        assert late.seen == []
        key.may_be_had.set()
        second.half_close()
        assert await late.end() == ("OK", "")
        assert late.messages == [b"one"]
        key.is_ready, key.failure = False, RecognizerError("UNAVAILABLE", "no token server")
        _, refused = open_call(channel)
        assert await refused.end() == ("UNAVAILABLE", "no token server")
        assert not heard.ends
        first.cancel()
        await heard.end()


async def test_a_listener_that_fails_fails_alone(caplog: pytest.LogCaptureFixture):
    class Broken(Listener):
        def call_message(self, message: bytes) -> None:
            raise ZeroDivisionError("not the channel's")

    async with grpcio_server(echo) as port, channel_to(port) as channel:
        broken = Broken()
        hurt = channel.open(METHOD, broken)
        call, listener = open_call(channel)
        for each in (hurt, call):
            each.write(b"config")
        assert await broken.end() == ("CANCELLED", "cancelled")
        call.half_close()
        assert await listener.end() == ("OK", "")
    assert "ZeroDivisionError: not the channel's" in caplog.text


async def test_a_connection_that_is_cut_ends_all_its_calls():
    def cut(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived) and event.stream_id == 5:
            peer.transport.abort()

    async with h2_server(cut) as (port, _), channel_to(port) as channel:
        listeners = [open_call(channel)[1] for _ in range(3)]
        for listener in listeners:
            code, message = await listener.end()
            assert code == "UNAVAILABLE"
            assert "was lost" in message
        assert not channel.is_usable


async def test_a_peer_that_falls_silent_is_found_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http2, "KEEPALIVE_AFTER_S", 0.1)
    monkeypatch.setattr(http2, "KEEPALIVE_TIMEOUT_S", 0.1)

    def fall_silent(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            peer.data_received = lambda data: None  # type: ignore[method-assign]

    async with h2_server(fall_silent) as (port, _), channel_to(port) as channel:
        _, listener = open_call(channel)
        assert await listener.end() == ("UNAVAILABLE", f"127.0.0.1:{port} stopped responding")


async def test_a_peer_that_answers_pings_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http2, "KEEPALIVE_AFTER_S", 0.02)
    monkeypatch.setattr(http2, "KEEPALIVE_TIMEOUT_S", 1.0)
    pings = asyncio.Semaphore(0)

    def count(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.PingReceived):
            pings.release()

    async with h2_server(count) as (port, _), channel_to(port) as channel:
        call, listener = open_call(channel)
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(3):
                await pings.acquire()
        assert not listener.ends
        call.cancel()
        await listener.end()


# --- peers that misbehave ----------------------------------------------------------------------------------


async def test_goaway_at_once():
    def leave(peer: H2Peer, event: Any) -> None:
        if event == "connected":
            peer.h2.close_connection(last_stream_id=0)

    async with h2_server(leave) as (port, _), channel_to(port) as channel:
        _, listener = open_call(channel)
        code, _ = await listener.end()
        assert code == "UNAVAILABLE"
        assert not channel.is_usable


async def test_goaway_lets_the_calls_below_its_last_end_in_order():
    def drain(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived) and event.stream_id == 3:
            peer.raw(frame(7, (1).to_bytes(4, "big") + bytes(4)))
        if isinstance(event, h2.events.StreamEnded) and event.stream_id == 1:
            peer.answer(1, b"last words", end=True)

    async with h2_server(drain) as (port, _), channel_to(port) as channel:
        (first, heard), (_, refused) = open_call(channel), open_call(channel)
        assert (await refused.end())[0] == "UNAVAILABLE"
        assert refused.unprocessed
        assert not channel.is_usable
        assert channel.calls == 1
        first.write(b"more")
        first.half_close()
        assert await heard.end() == ("OK", "")
        assert not heard.unprocessed
        assert heard.messages == [b"last words"]


async def test_calls_that_have_not_gone_out_when_the_peer_says_goodbye_end_at_once():
    """A goodbye that ends nothing (its last stream is the highest number there is): one call goes on, one had no place
    yet, one is opened in the turn in which the goodbye comes."""

    def one_at_a_time(peer: H2Peer, event: Any) -> None:
        if event == "connected":
            peer.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        elif isinstance(event, h2.events.RequestReceived):
            peer.answer(event.stream_id, b"here")
        elif isinstance(event, h2.events.DataReceived):
            peer.raw(goodbye)

    goodbye = frame(7, (2**31 - 1).to_bytes(4, "big") + bytes(4))
    async with h2_server(one_at_a_time) as (port, connections), channel_to(port) as channel:
        first, heard = open_call(channel)
        await heard.until(lambda: heard.messages)
        second, waiting = open_call(channel)
        second.write(b"config")
        late: asyncio.Future[Listener] = asyncio.get_running_loop().create_future()
        receive = channel.data_received

        def at_goodbye(data: bytes) -> None:
            if goodbye in data:
                late.set_result(open_call(channel)[1])
            receive(data)

        channel.data_received = at_goodbye  # type: ignore[method-assign]
        first.write(b"config")
        assert (await waiting.end())[0] == "UNAVAILABLE"
        async with asyncio.timeout(PATIENCE_S):
            assert await (await late).end() == ("UNAVAILABLE", f"127.0.0.1:{port} goes away")
        assert waiting.unprocessed
        assert late.result().unprocessed
        assert not heard.ends
        connections[0].h2.send_headers(1, OK, end_stream=True)
        connections[0].flush()
        assert await heard.end() == ("OK", "")


async def test_no_window_holds_back_and_credit_lets_go():
    blocked: list[H2Peer] = []

    def mean(peer: H2Peer, event: Any) -> None:
        if event == "connected":
            peer.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        elif isinstance(event, h2.events.RequestReceived):
            blocked.append(peer)
            peer.answer(event.stream_id, b"go on")

    async with h2_server(mean) as (port, connections), channel_to(port) as channel:
        call, listener = open_call(channel)
        await listener.until(lambda: listener.messages)
        sent = 0
        while call.writable:
            call.write(bytes(2400))
            sent += 2405
        assert "writable" not in listener.seen
        # A window of few bytes at a time, to the last.
        peer = connections[0]
        for _ in range(sent // 1000 + 1):
            peer.h2.increment_flow_control_window(1000, 1)
            peer.flush()
        await listener.until(lambda: "writable" in listener.seen)
        assert call.writable


async def test_a_limit_that_the_peer_lowers_holds_for_calls_that_have_not_gone_out():
    def two_at_once(peer: H2Peer, event: Any) -> None:
        if event == "connected":
            peer.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        elif isinstance(event, h2.events.StreamEnded):
            peer.answer(event.stream_id, end=True)

    async with h2_server(two_at_once) as (port, _), channel_to(port) as channel:
        first, heard = open_call(channel)
        first.half_close()
        await heard.end()
        assert channel.max_calls == 2
        calls = [open_call(channel) for _ in range(6)]
        for call, _ in calls:
            call.write(b"config")
            call.half_close()
        ends = [(await listener.end())[0] for _, listener in calls]
        assert ends == ["OK"] * 2 + ["UNAVAILABLE"] * 4
        assert [listener.unprocessed for _, listener in calls] == [False] * 2 + [True] * 4


def large_headers(peer: H2Peer, stream: int) -> None:
    """Over three CONTINUATION frames."""
    peer.h2.send_headers(stream, [*ANSWER, *((f"x-{i}", os.urandom(500).hex()) for i in range(40))])
    peer.h2.send_data(stream, grpc_message(b"here"))
    peer.h2.send_headers(stream, OK, end_stream=True)


def too_large_headers(peer: H2Peer, stream: int) -> None:
    peer.h2.send_headers(stream, [*ANSWER, ("x", "y" * 70_000)])


def unknown_frames(peer: H2Peer, stream: int) -> None:
    peer.raw(frame(0xFA, b"?" * 100) + frame(0xFA, b"?", stream=stream))
    peer.answer(stream, b"here", end=True)


def byte_by_byte(peer: H2Peer, stream: int) -> None:
    peer.answer(stream, b"here", b"and there", end=True)
    for byte in peer.h2.data_to_send():
        peer.transport.write(bytes((byte,)))


def trailers_only(peer: H2Peer, stream: int) -> None:
    peer.h2.send_headers(stream, [*ANSWER, ("grpc-status", "8"), ("grpc-message", "quota")], end_stream=True)


def not_grpc(peer: H2Peer, stream: int) -> None:
    peer.h2.send_headers(stream, [(":status", "200"), ("content-type", "text/html")])
    peer.h2.send_data(stream, b"<html>", end_stream=True)


def not_found(peer: H2Peer, stream: int) -> None:
    peer.h2.send_headers(stream, [(":status", "404")], end_stream=True)


def no_status(peer: H2Peer, stream: int) -> None:
    peer.h2.send_headers(stream, ANSWER)
    peer.h2.end_stream(stream)


def reset(peer: H2Peer, stream: int) -> None:
    peer.h2.reset_stream(stream, 7)


def reset_after_headers(peer: H2Peer, stream: int) -> None:
    peer.h2.send_headers(stream, ANSWER)
    peer.h2.reset_stream(stream, 2)


def reset_after_data(peer: H2Peer, stream: int) -> None:
    peer.answer(stream, b"here")
    peer.h2.reset_stream(stream, 8)


def informational_first(peer: H2Peer, stream: int) -> None:
    peer.h2.send_headers(stream, [(":status", "103"), ("link", "none")])
    peer.answer(stream, b"here", end=True)


def garbage(peer: H2Peer, stream: int) -> None:
    peer.raw(os.urandom(9) + b"\xff" * 5000)


def data_on_a_stream_never_opened(peer: H2Peer, stream: int) -> None:
    peer.raw(frame(0, b"?" * 10, stream=stream + 2))


def ping_flood(peer: H2Peer, stream: int) -> None:
    peer.raw(frame(6, b"12345678") * 20_000)


def settings_that_are_none(peer: H2Peer, stream: int) -> None:
    peer.raw(frame(4, b"12345"))


@pytest.mark.parametrize(
    ("misbehave", "code", "messages"),
    [
        (large_headers, "OK", [b"here"]),
        (too_large_headers, "INTERNAL", []),
        (unknown_frames, "OK", [b"here"]),
        (byte_by_byte, "OK", [b"here", b"and there"]),
        (trailers_only, "RESOURCE_EXHAUSTED", []),
        (not_grpc, "UNKNOWN", []),
        (not_found, "UNIMPLEMENTED", []),
        (no_status, "UNKNOWN", []),
        (reset, "UNAVAILABLE", []),
        (reset_after_headers, "INTERNAL", []),
        (reset_after_data, "CANCELLED", [b"here"]),
        (informational_first, "OK", [b"here"]),
        (garbage, "UNAVAILABLE", []),
        (data_on_a_stream_never_opened, "UNAVAILABLE", []),
        (ping_flood, "UNAVAILABLE", []),
        (settings_that_are_none, "UNAVAILABLE", []),
    ],
)
async def test_misbehaviour(misbehave: Callable[[H2Peer, int], None], code: str, messages: list[bytes]):
    def script(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            misbehave(peer, event.stream_id)

    async with h2_server(script) as (port, connections), channel_to(port) as channel:
        call, listener = open_call(channel)
        call.write(b"config")
        assert (await listener.end())[0] == code
        # What has the right to leave bytes unread: a peer that was cut off. Others heard all that was said.
        if code != "UNAVAILABLE":
            assert channel.is_usable
        assert listener.messages == messages
        assert len(connections) == 1


@pytest.mark.parametrize("misbehave", [garbage, data_on_a_stream_never_opened, ping_flood, settings_that_are_none])
async def test_a_peer_that_breaks_http2_is_named_as_the_cause(misbehave: Callable[[H2Peer, int], None]):
    def script(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            misbehave(peer, event.stream_id)

    async with h2_server(script) as (port, _), channel_to(port) as channel:
        _, message = await open_call(channel)[1].end()
        assert message.startswith(f"the HTTP/2 connection to 127.0.0.1:{port} broke: ")


def a_crowd_of_messages(peer: H2Peer, stream: int) -> None:
    """Of five bytes each: thousands of them come in one read."""
    peer.h2.send_headers(stream, ANSWER)
    peer.h2.send_data(stream, grpc_message(b"") * 3000)
    peer.h2.send_headers(stream, OK, end_stream=True)


class TurnListener(Listener):
    """Counts the messages of each turn of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: list[int] = []
        self._share = 0

    def call_message(self, message: bytes) -> None:
        super().call_message(message)
        if not self._share:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._share += 1

    def _end_turn(self) -> None:
        self.shares.append(self._share)
        self._share = 0


async def test_what_one_connection_brings_is_told_in_shares():
    """So many events in a turn of the loop; nothing is lost, and the end comes last."""

    def script(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            a_crowd_of_messages(peer, event.stream_id)

    async with h2_server(script) as (port, _), channel_to(port) as channel:
        listener = TurnListener()
        call = channel.open(METHOD, listener)
        call.write(b"config")
        assert await listener.end() == ("OK", "")
        assert listener.messages == [b""] * 3000
    assert max(listener.shares) <= http2.SHARE_EVENTS


async def test_what_waits_for_its_turn_is_told_before_a_lost_connection():
    def script(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            peer.h2.send_headers(event.stream_id, ANSWER)
            peer.h2.send_data(event.stream_id, grpc_message(b"") * 3000)
            peer.raw(b"")
            peer.transport.close()

    async with h2_server(script) as (port, _), channel_to(port) as channel:
        call, listener = open_call(channel)
        call.write(b"config")
        assert (await listener.end())[0] == "UNAVAILABLE"
        assert listener.messages == [b""] * 3000


async def test_nothing_is_left_behind():
    def greet(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            peer.answer(event.stream_id, b"here")

    before = asyncio.all_tasks()
    async with h2_server(greet) as (port, connections):
        descriptors = len(os.listdir("/dev/fd"))
        for _ in range(20):
            async with channel_to(port) as channel:
                listeners = [open_call(channel)[1] for _ in range(10)]
                for listener in listeners:
                    await listener.until(lambda heard=listener: heard.messages)
            await connections[-1].lost
        assert len(os.listdir("/dev/fd")) == descriptors
    assert asyncio.all_tasks() == before
