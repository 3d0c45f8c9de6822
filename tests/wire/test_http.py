"""Plain requests on the wire: paths, methods, bodies, and requests that are broken."""

from __future__ import annotations

import asyncio

import pytest

from peers import PATIENCE_S, ask, serving

GUARDED = {"twilio_auth_token": "auth-token-of-the-account", "public_url": "https://voice.example.com"}


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/healthz/", 200),
        ("POST", "/healthz", 405),
        ("DELETE", "/twiml", 405),
        ("GET", "/nothing", 404),
        ("GET", "//healthz", 404),
        ("GET", "/%2e%2e/healthz", 404),
        ("POST", "/media", 405),
        ("GET", "/media", 426),
        ("OPTIONS", "*", 404),
    ],
)
async def test_paths_and_methods(method: str, target: str, status: int, prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        answer = await ask(served.port, target, method=method)
        assert answer.status == status
        assert answer.headers["connection"].lower() == "close"
        if status == 405:
            assert answer.headers["allow"]


async def raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    return answer


POST = b"POST /twiml HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (POST + b"Content-Length: 5\r\n\r\nab", 408),
        (POST + b"Content-Length: 100000\r\n\r\n" + b"a" * 100_000, 413),
        (POST + b"Content-Length: 2\r\n\r\n\xff\xfe", 400),
        (POST + b"Content-Length: 2000\r\n\r\n" + b"a=&" * 666 + b"aa", 400),
        (POST + b"Content-Length: x\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nBad Name: x\r\n\r\n", 400),
    ],
    ids=["slow body", "long body", "no text", "many fields", "no length", "no request", "no header"],
)
async def test_a_broken_request_gets_its_answer(
    data: bytes, status: int, prompt_emulator: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fastcall.server.http.BODY_TIMEOUT_S", 0.2)
    async with serving(prompt_emulator, **GUARDED) as served:
        answer = await raw(served.port, data)
        assert answer.split(b" ", 2)[1] == str(status).encode()
        assert (await ask(served.port, "/healthz")).status == 200
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_a_second_request_on_a_connection_is_not_answered(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        answer = await raw(served.port, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" * 50)
    assert answer.count(b"HTTP/1.1 200") == 1
