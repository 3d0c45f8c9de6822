"""The console's paths: who gets what, with which headers, and how a page places a call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus

import fastcall
from fastcall.simulator.twilio_client import CallerMessages, CallIds
from fastcall.twilio.stream_tokens import PARAMETER, TICKET, console_tickets, mint_token
from peers import PATIENCE_S, Phone, ask, next_record, serving, tones
from workers import serving_workers

FILES = Path(fastcall.__file__).parent / "data" / "console"
NAMES = sorted(path.name for path in FILES.iterdir())
ADMIN, SECRET, TOKEN = "an-admin-token-of-some-length", "a-stream-secret-of-some-length", "auth-token-of-the-account"
BEARER = {"Authorization": f"Bearer {ADMIN}"}
PUBLIC = "https://voice.example.com/calls"
GUARDED = {"twilio_auth_token": TOKEN, "public_url": PUBLIC, "admin_token": ADMIN}


# --- files ----------------------------------------------------------------------------------------------------------


async def test_each_file_is_served_as_what_it_is_and_runs_nothing_else(prompt_emulator: str) -> None:
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    async with serving(prompt_emulator) as served:
        for name in ("", *NAMES):
            answer = await ask(served.port, f"/console/{name}")
            path = FILES / (name or "index.html")
            assert (answer.status, answer.body) == (200, path.read_text(encoding="utf-8"))
            assert answer.headers["content-type"] == f"{kinds[path.suffix]}; charset=utf-8"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-cache"
            policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
            assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            tagged = {"If-None-Match": answer.headers["etag"]}
            again = await ask(served.port, f"/console/{name}", headers=tagged)
            assert (again.status, again.body) == (304, "")
            assert "content-security-policy" in again.headers
            head = await ask(served.port, f"/console/{name}", method="HEAD")
            assert (head.status, head.body, head.headers["etag"]) == (200, "", answer.headers["etag"])


async def test_the_page_moves_to_its_own_folder_wherever_a_proxy_has_put_it(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        answer = await ask(served.port, "/console")
        assert (answer.status, answer.headers["location"]) == (308, "console/")


@pytest.mark.parametrize(
    "target",
    [
        "/console/../fastcall/console.py",
        "/console/../booking.wav",
        "/console/%2e%2e/booking.wav",
        "/console/..%2fbooking.wav",
        "/console/..\\booking.wav",
        "/console//index.html",
        "/console/./index.html",
        "/console//etc/passwd",
        "/console/index.html/",
        "/console/INDEX.HTML",
        "/console/index.html%00.js",
        "/consoles",
        "/console/nothing.js",
        "//console/",
    ],
)
async def test_there_is_nothing_but_the_files(target: str, prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        assert (await ask(served.port, target)).status == 404


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("POST", "/console/", "GET, HEAD"),
        ("PUT", "/console/app.js", "GET, HEAD"),
        ("DELETE", "/console/calls", "GET, POST"),
        ("OPTIONS", "/console/calls", "GET, POST"),
        ("POST", "/console/batches?call=CA1", "GET"),
    ],
)
async def test_methods(method: str, target: str, allow: str, prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        answer = await ask(served.port, target, method=method)
        assert (answer.status, answer.headers["allow"]) == (405, allow)


class Page(HTMLParser):
    """What a page loads, and what of it a strict policy would not run."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = dict(attrs)
        self._within = tag
        names = ("src", "href") if tag != "a" else ()
        self.loaded += [value for name in names if (value := fields.get(name))]
        self.inline += [name for name in fields if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)


def test_the_page_needs_nobody_else_and_nothing_inline() -> None:
    page = Page()
    page.feed((FILES / "index.html").read_text(encoding="utf-8"))
    assert page.inline == []
    assert {"app.js", "console.css", "favicon.svg"} == set(page.loaded)
    for path in FILES.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        imported = re.findall(r"from \"\./([^\"]+)\"", text)
        assert set(imported) <= set(NAMES), path.name
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text) == []
    addresses = re.findall(
        r"https?://[^\s\"')]+", "".join(path.read_text(encoding="utf-8") for path in FILES.iterdir())
    )
    assert {address for address in addresses if "w3.org" not in address and "twilio.com/docs" not in address} == set()


# --- who may --------------------------------------------------------------------------------------------------------

READ = ("/console/calls", "/events", "/metrics", "/console/batches?call=CA1")


@pytest.mark.parametrize(
    "headers",
    [{"Host": "voice.example.com"}, {"X-Forwarded-For": "203.0.113.9"}, {"Host": "127.0.0.1.example.com:80"}],
    ids=["rebound", "proxied", "alike"],
)
async def test_without_a_token_it_is_for_this_machine(headers: dict[str, str], prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        assert (await ask(served.port, "/console/calls")).status == 200
        for target in ("/console/", "/console/app.js", *READ):
            assert (await ask(served.port, target, headers=headers)).status == 403, target
        assert (await ask(served.port, "/console/calls", method="POST", headers=headers)).status == 403


async def test_with_a_public_address_and_no_token_it_is_for_nobody(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, public_url=PUBLIC, twilio_auth_token=TOKEN) as served:
        for target in ("/console/", "/console/calls"):
            assert (await ask(served.port, target)).status == 403


async def test_with_a_token_the_files_are_for_all_and_what_they_show_for_who_bears_it(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **GUARDED) as served:
        elsewhere = {"Host": "voice.example.com", "X-Forwarded-For": "203.0.113.9"}
        assert (await ask(served.port, "/console/", headers=elsewhere)).status == 200
        for target in ("/console/calls", "/console/batches?call=CA1"):
            for wrong in ({}, {"Authorization": "Bearer x"}, {"Authorization": ADMIN}):
                refused = await ask(served.port, target, headers={**elsewhere, **wrong})
                assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Bearer realm="fastcall"')
        answer = await ask(served.port, "/console/calls", headers={**elsewhere, **BEARER})
        assert (answer.status, json.loads(answer.body)) == (200, {"live": []})
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://example.com"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
async def test_the_pages_of_others_get_nothing(headers: dict[str, str], prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        for target in READ:
            assert (await ask(served.port, target, headers=headers)).status == 403, target
        assert (await ask(served.port, "/console/calls", method="POST", headers=headers)).status == 403
        assert served.server.metrics.auth_refusals == {"foreign_page": len(READ) + 1}
        own = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{served.port}"}
        assert (await ask(served.port, "/console/calls", method="POST", headers=own)).status == 201


# --- calls ----------------------------------------------------------------------------------------------------------


async def ask_for_call(port: int, **headers: str) -> dict[str, Any]:
    answer = await ask(port, "/console/calls", method="POST", headers=headers)
    assert answer.status == 201
    call: dict[str, Any] = json.loads(answer.body)
    return call


class PagePhone(Phone):
    """A caller in a page: the ids and the ticket are the server's, the upgrade bears an origin."""

    def __init__(self, port: int, call: dict[str, Any], **options: Any) -> None:
        ticket = call["parameters"].get(TICKET)
        query = f"?{urlencode({TICKET: ticket, 'call': call['call_sid']})}" if ticket else ""
        origin = f"http://127.0.0.1:{port}"
        super().__init__(f"ws://127.0.0.1:{port}{call['path']}{query}", origin=origin, **options)
        self.ids = CallIds(call["call_sid"], call["stream_sid"])
        self.messages = CallerMessages(self.ids)


async def is_refused(port: int, call: dict[str, Any]) -> bool:
    try:
        await PagePhone(port, call).__aenter__()
    except InvalidStatus as error:
        return error.response.status_code == 403
    return False


@pytest.mark.parametrize(
    "settings",
    [{}, {"stream_secret": SECRET}, {"admin_token": ADMIN}, GUARDED, {**GUARDED, "stream_secret": SECRET}],
    ids=["open", "tokens", "admin", "signed", "signed and tokens"],
)
async def test_a_page_places_a_call_however_the_server_is_guarded(
    settings: dict[str, str], prompt_emulator: str
) -> None:
    async with serving(prompt_emulator, **settings) as served:
        call = await ask_for_call(served.port, **BEARER)
        async with PagePhone(served.port, call) as phone:
            await phone.start(call["parameters"])
            await phone.say(tones("[300] apple arrow [300]"))
            await served.transcripts.wait_for(phone.call_sid, "utterance_begin")
            live = json.loads((await ask(served.port, "/console/calls", headers=BEARER)).body)
            await served.hang_up(phone)
        assert [(each["call_sid"], each["stream_sid"]) for each in live["live"]] == [
            (call["call_sid"], call["stream_sid"])
        ]
        assert served.transcripts.utterances(call["call_sid"]) == ["apple arrow"]


async def test_a_ticket_is_for_one_stream_of_one_call(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **GUARDED) as served:
        one, other = await ask_for_call(served.port, **BEARER), await ask_for_call(served.port, **BEARER)
        ticket = one["parameters"][TICKET]
        for stolen in ({**other["parameters"], TICKET: ticket}, {TICKET: ticket[:-1] + "x"}, {TICKET: "1.2.3.4"}):
            assert await is_refused(served.port, {**other, "parameters": stolen})
        # The socket is let in for one call, and another's start comes over it.
        async with PagePhone(served.port, one) as phone:
            await Phone.start(swap(phone, other), other["parameters"])
            assert (await phone.closed())[0] == 1008
        async with PagePhone(served.port, one) as phone:
            await phone.start({})
            assert (await phone.closed())[0] == 1008
        async with PagePhone(served.port, one) as phone:
            await phone.start(one["parameters"])
            await served.transcripts.wait_for(phone.call_sid, "call_started")
            await served.hang_up(phone)
        async with PagePhone(served.port, one) as phone:
            await phone.start(one["parameters"])
            code, text = await phone.closed()
        assert (code, "token_used" in (text or "")) == (1008, True)
        refusals = {"ticket": 3, "ticket_of_another": 2, "token_used": 1}
        assert served.server.metrics.auth_refusals == refusals


def swap(phone: PagePhone, call: dict[str, Any]) -> PagePhone:
    phone.messages = CallerMessages(CallIds(call["call_sid"], call["stream_sid"]))
    return phone


async def test_a_stream_token_is_no_ticket_and_an_old_ticket_is_none(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **GUARDED, stream_secret=SECRET) as served:
        call = await ask_for_call(served.port, **BEARER)
        token = mint_token(SECRET, call["call_sid"], now=time.time(), nonce="0" * 32)
        assert await is_refused(served.port, {**call, "parameters": {TICKET: token, PARAMETER: token}})
        tickets = console_tickets(SECRET, GUARDED["admin_token"])
        assert tickets is not None
        old = tickets.mint(call["call_sid"], now=time.time() - 60, nonce="1" * 32, lifetime_s=30)
        assert await is_refused(served.port, {**call, "parameters": {TICKET: old}})


async def test_when_there_is_no_room_a_page_gets_no_call(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, options={"max_calls": 1}) as served:
        await ask_for_call(served.port)
        answer = await ask(served.port, "/console/calls", method="POST")
        assert answer.status == 503
        assert "no capacity" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("origin", "host", "settings", "options", "is_let_in"),
    [
        (None, None, {}, {}, True),
        ("http://{}", None, {}, {}, True),
        ("https://example.com", None, {}, {}, False),
        ("http://localhost:1", None, {}, {}, False),
        ("null", None, {}, {}, False),
        ("http://example.com", "example.com", {}, {}, False),
        ("https://example.com", None, {"stream_secret": SECRET}, {}, True),
        ("https://example.com", None, {}, {"insecure": True}, True),
    ],
    ids=["twilio", "own", "foreign", "other port", "none", "rebound", "tokens", "insecure"],
)
async def test_the_pages_of_others_place_no_calls(
    origin: str | None,
    host: str | None,
    settings: dict[str, str],
    options: dict[str, Any],
    is_let_in: bool,
    prompt_emulator: str,
) -> None:
    """To a WebSocket every page in a browser may connect, and a server that asks for nothing trusts this machine."""
    async with serving(prompt_emulator, options=options, **settings) as served:
        headers = {"Host": host} if host else {}
        own = origin.format(f"127.0.0.1:{served.port}") if origin else None
        phone = Phone(served.url, "page", origin=own, additional_headers=headers)
        with contextlib.nullcontext() if is_let_in else pytest.raises(InvalidStatus, match="403"):
            async with phone:
                await (await phone.socket.ping())
        assert served.server.metrics.auth_refusals == ({} if is_let_in else {"foreign_page": 1})


# --- batches --------------------------------------------------------------------------------------------------------


async def read_batches(port: int, call_sid: str, work: Any) -> list[dict[str, Any]]:
    """The batches of a call that are told while ``work`` is done, and of the next one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /console/batches?call={call_sid} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    records = []
    task = asyncio.create_task(work)
    while not task.done() or not records or records[-1]["end_ms"] < 1200:
        record = await next_record(reader)
        assert record is not None
        records.append(record)
    await task
    writer.close()
    return records


def check_batches(records: list[dict[str, Any]], call_sid: str) -> None:
    assert {(record["event"], record["call_sid"]) for record in records} == {("batch", call_sid)}
    spans = [(record["start_ms"], record["end_ms"]) for record in records]
    lengths = [end - start for start, end in spans]
    assert min(lengths) > 0
    # What an utterance ends with goes out at once.
    assert sum(length < 150 for length in lengths) <= 2
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]


async def test_who_watches_a_call_is_told_of_its_batches_and_of_no_others(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        async with Phone(served.url, "watched") as phone, Phone(served.url, "other") as other:
            await other.start()

            async def speak() -> None:
                await phone.start()  # the watch may be older than the call
                await asyncio.gather(*(each.speak(tones("[300] apple arrow [900]")) for each in (phone, other)))

            check_batches(await read_batches(served.port, phone.call_sid, speak()), phone.call_sid)
            while served.server.frontend.broadcast.watched:  # until the reader is gone
                await phone.speak(bytes([0xFF]) * 160)
        assert served.transcripts.of(phone.call_sid, "batch") == []


async def test_a_reader_without_a_call_is_told_so(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        for query in ("", "?call=", f"?call={'x' * 200}"):
            assert (await ask(served.port, f"/console/batches{query}")).status == 400


async def test_with_workers_a_page_places_calls_watches_them_and_uses_a_ticket_once(prompt_emulator: str) -> None:
    async with serving_workers(prompt_emulator, FASTCALL_STREAM_SECRET=SECRET) as it:
        port = int(re.search(r":(\d+)/", it.url)[1])  # type: ignore[index]
        call = await ask_for_call(port)
        async with PagePhone(port, call) as phone:
            await phone.start(call["parameters"])
            work = phone.speak(tones("[300] apple arrow [900]"))
            check_batches(await read_batches(port, phone.call_sid, work), phone.call_sid)
            (live,) = json.loads((await ask(port, "/console/calls")).body)["live"]
            assert (live["call_sid"], live["stream_sid"]) == (phone.call_sid, call["stream_sid"])
            await phone.stop()
            await asyncio.to_thread(it.process.wait_for, "Streaming session closed")
        for _ in range(2):  # one for each worker: the second to come is revoked by the parent
            async with PagePhone(port, call) as phone:
                await phone.start(call["parameters"])
                assert (await phone.closed())[0] == 1008
