"""Access tokens, by google-auth's real credentials from a token server on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from fastcall.adapters.google import tokens
from fastcall.adapters.google.tokens import TokenSource
from fastcall.errors import RecognizerError
from peers import PATIENCE_S, turns


class TokenServer(ThreadingHTTPServer):
    """Answers like Google's: a token, each time another one, for ``lifetime_s``; or an error."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lifetime_s: int | str = 3600
        self.error: tuple[int, str] | None = None
        self.given = 0
        self.gave = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()

    def credentials(self) -> Credentials:
        """Such as `gcloud auth application-default login` leaves behind."""
        return Credentials(  # type: ignore[no-untyped-call]
            None,
            refresh_token="refresh",
            token_uri=f"http://127.0.0.1:{self.server_port}/token",
            client_id="client",
            client_secret="not so secret",
        )


class _Handler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.may_answer.wait(PATIENCE_S)
        status, body = 200, {"token_type": "Bearer", "expires_in": self.server.lifetime_s}
        if self.server.error is not None:
            status, body = self.server.error[0], {"error": self.server.error[1]}
        else:
            self.server.given += 1
            self.server.gave.release()
            body["access_token"] = f"token-{self.server.given}"
        answer = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.asynccontextmanager
async def token_server() -> AsyncIterator[TokenServer]:
    server = TokenServer()
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
async def source_of(server: TokenServer) -> AsyncIterator[TokenSource]:
    source = TokenSource(server.credentials())
    try:
        yield source
    finally:
        await source.aclose()


async def test_one_token_serves_all_that_ask():
    async with token_server() as server, source_of(server) as source:
        await asyncio.gather(*(source.ready() for _ in range(20)))
        assert dict(source.headers())["authorization"] == "Bearer token-1"
        await source.ready()
        assert server.given == 1


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
    monkeypatch.setattr(tokens, "RETRY_S", 0.01)
    async with token_server() as server, source_of(server) as source:
        await source.ready()
        assert await asyncio.to_thread(server.gave.acquire, timeout=PATIENCE_S)
        assert await asyncio.to_thread(server.gave.acquire, timeout=PATIENCE_S)


async def test_a_refusal_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(tokens, "RETRY_S", 0.01)
    async with token_server() as server, source_of(server) as source:
        server.error = (400, "invalid_grant")
        with pytest.raises(RecognizerError, match="invalid_grant") as raised:
            await source.ready()
        assert raised.value.code == "UNAUTHENTICATED"
        server.error = None
        assert await asyncio.to_thread(server.gave.acquire, timeout=PATIENCE_S)
        await source.ready()
    assert "not so secret" not in caplog.text
    assert "token-1" not in caplog.text


async def test_an_answer_that_is_none_is_told_and_asked_for_again(monkeypatch: pytest.MonkeyPatch):
    """google-auth makes a ValueError of it, which is none of its own exceptions."""
    monkeypatch.setattr(tokens, "RETRY_S", 0.01)
    async with token_server() as server, source_of(server) as source:
        server.lifetime_s = "an hour"
        with pytest.raises(RecognizerError) as raised:
            await source.ready()
        assert raised.value.code == "UNAVAILABLE"
        server.lifetime_s = 3600
        await source.ready()
        assert source.is_ready


async def test_a_token_server_that_is_not_there():
    async with token_server() as server:
        credentials = server.credentials()
    source = TokenSource(credentials)
    with pytest.raises(RecognizerError) as raised:
        await source.ready()
    assert raised.value.code == "UNAVAILABLE"
    await source.aclose()
