"""Access tokens, by google-auth's real credentials from a token endpoint on this machine that may fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import threading
import types
from collections.abc import AsyncIterator, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import google.auth._exponential_backoff
import h2.events
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import compute_engine
from google.auth.compute_engine import _metadata
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials
from test_google_uplinks import Talk

from fastcall.errors import RecognizerError
from fastcall.google import access_tokens as tokens
from fastcall.google.access_tokens import TokenSource
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.ports import StreamEnd
from h2peer import OK, H2Peer, h2_server
from peers import CERTIFICATE, KEY, PATIENCE_S, both_uplinks, turns

BAD_GATEWAY = (502, "<html>Bad Gateway</html>")
UNAVAILABLE = (503, '{"error": "temporarily_unavailable"}')
REFUSAL = (400, '{"error": "invalid_grant", "error_description": "Account not found"}')
HANG_UP = (0, "")


def kept_timers(delay_s: float) -> list[Callable[[], None]]:
    """What the running loop, of this test alone, is asked to call after so long."""
    loop: Any = asyncio.get_running_loop()
    call_later, kept = loop.call_later, []

    def keep(delay: float, callback: Callable[..., None], *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        if delay == delay_s:
            kept.append(lambda: callback(*arguments))
        return call_later(delay, callback, *arguments, **options)

    loop.call_later = keep
    return kept


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, and those that google-auth makes by itself within one request."""
    monkeypatch.setattr(tokens, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(google.auth._exponential_backoff, "time", types.SimpleNamespace(sleep=lambda _: None))


class TokenServer(ThreadingHTTPServer):
    """Answers like Google's, and like a metadata server: a token, each time another one; or what ``troubles`` says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lifetime_s: int | str = 3600
        self.troubles: list[tuple[int, str]] = []
        """The next answers; the last one stays if ``troubled`` is set."""
        self.troubled = False
        self.asked = 0
        self.given = 0
        self.gave = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def credentials(self) -> Credentials:
        """Such as `gcloud auth application-default login` leaves behind."""
        return Credentials(  # type: ignore[no-untyped-call]
            None,
            refresh_token="refresh",
            token_uri=f"http://{self.address}/token",
            client_id="client",
            client_secret="not so secret",
        )

    def service_account(self) -> Any:
        """A key such as Google's console gives out."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        info = {
            "type": "service_account",
            "client_email": "calls@project.iam.gserviceaccount.com",
            "token_uri": f"http://{self.address}/token",
            "private_key": key.decode(),
        }
        make: Any = service_account.Credentials.from_service_account_info
        return make(info)

    def answer(self) -> tuple[int, str]:
        self.asked += 1
        if self.troubles:
            return self.troubles[0] if self.troubled else self.troubles.pop(0)
        self.given += 1
        self.gave.release()
        token = f"token-{self.given}"
        answer = {"token_type": "Bearer", "expires_in": self.lifetime_s, "access_token": token}
        return 200, json.dumps({**answer, "email": "calls@project.iam.gserviceaccount.com", "scopes": []})


class _Handler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.may_answer.wait(PATIENCE_S)
        status, body = self.server.answer()
        if (status, body) == HANG_UP:
            return
        answer = body.encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("metadata-flavor", "Google")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.asynccontextmanager
async def token_server(*troubles: tuple[int, str]) -> AsyncIterator[TokenServer]:
    server = TokenServer()
    server.troubles += troubles
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.may_answer.set()
        await asyncio.to_thread(server.shutdown)
        thread.join()
        server.server_close()


@contextlib.asynccontextmanager
async def source_of(server: TokenServer, credentials: Any = None) -> AsyncIterator[TokenSource]:
    source = TokenSource(credentials or server.credentials())
    try:
        yield source
    finally:
        await source.aclose()


async def test_the_loop_goes_on_while_a_token_is_got():
    async with token_server() as server, source_of(server) as source:
        server.may_answer.clear()
        waiting = asyncio.ensure_future(source.ready())
        await turns(100)
        assert not waiting.done()
        server.may_answer.set()
        await waiting


async def test_a_token_is_renewed_before_it_runs_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokens, "RENEW_BEFORE_S", 3600.0)
    monkeypatch.setattr(tokens, "MAX_RETRY_S", 0.01)
    async with token_server() as server, source_of(server) as source:
        await source.ready()
        assert await asyncio.to_thread(server.gave.acquire, timeout=PATIENCE_S)
        assert await asyncio.to_thread(server.gave.acquire, timeout=PATIENCE_S)


# --- an endpoint that fails for a while -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "troubles",
    [
        [BAD_GATEWAY],
        [UNAVAILABLE] * 4,
        [(429, '{"error": "rate_limit_exceeded"}')] * 4,
        [(500, "")],
        [HANG_UP],
        [(200, "no JSON")],
        [(200, '{"expires_in": "an hour", "access_token": "x"}')],
        [(200, "{}")],
        [(403, "<html>a proxy's word</html>")],
        [(404, "")],
    ],
)
@pytest.mark.parametrize("kind", ["user", "service account"])
async def test_a_bad_answer_is_asked_for_again(kind: str, troubles: list[tuple[int, str]]):
    async with token_server(*troubles) as server:
        credentials = server.credentials() if kind == "user" else server.service_account()
        async with source_of(server, credentials) as source:
            await source.ready()
            assert source.is_ready
            assert dict(source.headers())["authorization"] == "Bearer token-1"
            assert (server.asked, server.given) == (len(troubles) + 1, 1)


async def test_a_metadata_server_that_fails_for_a_while(monkeypatch: pytest.MonkeyPatch):
    async with token_server(*[(500, "")] * 12, (404, ""), (503, "")) as server:
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", server.address)
        credentials: Any = compute_engine.Credentials  # type: ignore[attr-defined]
        async with source_of(server, credentials(scopes=["x"], service_account_email="a@b.c")) as source:
            await source.ready()
            assert source.is_ready
            assert server.given >= 1


@pytest.mark.parametrize("troubles", [[], [BAD_GATEWAY] * 3, [HANG_UP, BAD_GATEWAY, UNAVAILABLE]])
async def test_fifty_that_need_one_at_the_same_moment_make_one_request_and_none_fails(troubles: list[tuple[int, str]]):
    async with token_server(*troubles) as server, source_of(server) as source:
        await asyncio.gather(*(source.ready() for _ in range(50)))
        assert (server.asked, server.given) == (len(troubles) + 1, 1)
        await source.ready()
        assert server.given == 1


async def test_a_token_that_is_valid_is_used_while_another_cannot_be_had():
    """Also in its last minutes, in which google-auth calls it expired."""
    timers = kept_timers(tokens.MAX_RETRY_S)
    async with token_server() as server, source_of(server) as source:
        server.lifetime_s = 120
        await source.ready()
        server.troubles, server.troubled = [UNAVAILABLE], True
        asked = server.asked
        renew_unasked = timers[-1]
        renew_unasked()
        async with asyncio.timeout(PATIENCE_S):
            while server.asked < asked + 5:
                assert source.is_ready
                await source.ready()
                await turns(1)
        assert dict(source.headers())["authorization"] == "Bearer token-1"
        server.troubled = False
        assert await asyncio.to_thread(server.gave.acquire, timeout=PATIENCE_S)


async def test_one_that_has_run_out_is_not_begun_with():
    async with token_server() as server:
        now = [0.0]
        source = TokenSource(server.credentials(), now=lambda: now[0])
        await source.ready()
        now[0] = 1e12
        assert not source.is_ready
        await source.aclose()


async def test_what_keeps_a_token_away_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(tokens, "WAIT_S", 0.5)
    async with token_server(BAD_GATEWAY) as server, source_of(server) as source:
        server.troubled = True
        with pytest.raises(RecognizerError) as raised:
            await source.ready()
        assert raised.value.code == "UNAVAILABLE"
        assert raised.value.message == "no access token within 0.5 s: 127.0.0.1/token: HTTP 502: " + BAD_GATEWAY[1]
    assert "HTTP 502" in caplog.text


async def test_a_token_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokens, "WAIT_S", 0.5)
    async with token_server() as server:
        credentials = server.credentials()
    source = TokenSource(credentials)
    with pytest.raises(RecognizerError, match="Connection refused") as raised:
        await source.ready()
    assert raised.value.code == "UNAVAILABLE"
    await source.aclose()


# --- credentials that are refused ---------------------------------------------------------------------------------


async def test_a_refusal_is_told_at_once_and_tried_again_later(caplog: pytest.LogCaptureFixture):
    timers = kept_timers(tokens.REFUSED_S)
    async with token_server(REFUSAL) as server, source_of(server) as source:
        server.troubled = True
        for answer in await asyncio.gather(*(source.ready() for _ in range(50)), return_exceptions=True):
            assert isinstance(answer, RecognizerError)
            assert answer.code == "UNAUTHENTICATED"
            assert answer.message == "127.0.0.1/token: HTTP 400: invalid_grant Account not found"
        assert server.asked == 1
        server.troubles.clear()
        renew_unasked = timers[-1]
        renew_unasked()  # as the timer does, after a while
        await source.ready()
        assert source.is_ready
    assert "not so secret" not in caplog.text
    assert "token-1" not in caplog.text


# --- the whole way ------------------------------------------------------------------------------------------------


def accepting(*accepted: str, trouble: str = "token revoked") -> Any:
    """A script for an ``H2Peer``: streams with other tokens are answered UNAUTHENTICATED."""

    def script(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            token = dict(event.headers)[b"authorization"].decode().removeprefix("Bearer ")
            if token in accepted:
                peer.answer(event.stream_id)
            else:
                status = [("grpc-status", "16"), ("grpc-message", trouble)]
                kind = [(":status", "200"), ("content-type", "application/grpc")]
                peer.h2.send_headers(event.stream_id, kind + status, end_stream=True)
        elif isinstance(event, h2.events.StreamEnded):
            with contextlib.suppress(h2.exceptions.StreamClosedError):
                peer.h2.send_headers(event.stream_id, OK, end_stream=True)

    return script


@contextlib.asynccontextmanager
async def recognizer_of(server: TokenServer, script: Any, uplink: str) -> AsyncIterator[GoogleRecognizer]:
    """One that speaks to a peer by TLS, as Google's, with tokens of ``server``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    context.set_alpn_protocols(["h2"])
    async with h2_server(script, tls=context) as (port, _):
        recognizer = GoogleRecognizer.create(
            credentials=server.service_account(),
            endpoint=f"localhost:{port}",
            uplink=uplink,
            tls_roots=CERTIFICATE,
        )
        try:
            yield recognizer
        finally:
            await recognizer.aclose()


async def ends_of(recognizer: GoogleRecognizer, count: int) -> list[StreamEnd]:
    talks = [Talk(recognizer) for _ in range(count)]
    return [await talk.ended() for talk in talks]


@both_uplinks
async def test_streams_that_begin_while_the_token_endpoint_fails_are_served(uplink: str):
    async with (
        token_server(BAD_GATEWAY, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE) as server,
        recognizer_of(server, accepting("token-1"), uplink) as recognizer,
    ):
        assert await ends_of(recognizer, 50) == [StreamEnd("OK")] * 50
        assert server.given == 1


@both_uplinks
async def test_a_token_endpoint_that_stays_away_is_no_fault_of_the_credentials(
    uplink: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tokens, "WAIT_S", 0.5)
    async with token_server(BAD_GATEWAY) as server:
        server.troubled = True
        async with recognizer_of(server, accepting(), uplink) as recognizer:
            (end,) = await ends_of(recognizer, 1)
            assert end.code == "UNAVAILABLE"
            assert "no access token" in end.message
            assert "HTTP 502" in end.message


@both_uplinks
async def test_a_token_that_is_not_accepted_is_replaced_once(uplink: str, caplog: pytest.LogCaptureFixture):
    """It was revoked, or the clock was wrong when it was made. Fifty streams meet it at the same moment."""
    caplog.set_level(logging.WARNING, "fastcall")
    async with token_server() as server, recognizer_of(server, accepting("token-2"), uplink) as recognizer:
        ends = await ends_of(recognizer, 50)
        if uplink == "grpcio":  # the session begins them again
            assert {end.code for end in ends} == {"UNAVAILABLE"}
            assert "the access token was not accepted: token revoked" in ends[0].message
            ends = await ends_of(recognizer, 50)
        assert ends == [StreamEnd("OK")] * 50
        assert server.given == 2
    assert caplog.text.count("rejected the access token") == 1
    assert "token-1" not in caplog.text


@both_uplinks
async def test_a_peer_that_accepts_no_token_is_believed(uplink: str):
    async with token_server() as server, recognizer_of(server, accepting(), uplink) as recognizer:
        ends = await ends_of(recognizer, 5)
        if uplink == "grpcio":
            ends = await ends_of(recognizer, 5)
        assert ends == [StreamEnd("UNAUTHENTICATED", "token revoked")] * 5
        assert server.given == 2


@both_uplinks
async def test_streams_that_wait_for_a_token_end_at_once_when_all_is_closed(uplink: str):
    async with token_server() as server:
        server.may_answer.clear()
        async with recognizer_of(server, accepting(), uplink) as recognizer:
            given_up, left = Talk(recognizer), Talk(recognizer)
            await turns(20)
            given_up.stream.cancel()
            await turns(20)
            assert given_up.end is not None
            assert left.end is None
            await recognizer.aclose()
            assert left.end is not None
            assert given_up.end.code == left.end.code == "CANCELLED"
        assert server.given == 0
