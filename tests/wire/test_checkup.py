"""The check's call against small servers by script, each wrong in one thing, and against the real one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from accepting import accepting
from fastcall.audio.tones import VOCABULARY
from fastcall.simulator import check as checkup
from fastcall.simulator import check_report
from fastcall.simulator.check import UTTERANCE_WORDS, CheckOptions, EventReader, run_check
from fastcall.simulator.check_report import Row
from fastcall.simulator.twilio_client import sign_url
from peers import PATIENCE_S, serve_process

SHORT_S = 1.0
ADMIN_TOKEN = "for the operator only"
PUBLIC_URL = "https://voice.example.com"
WORDS = " ".join(VOCABULARY[number * 7 % 100] for number in range(UTTERANCE_WORDS))
SPEECH = range(20, 140)  # frames of 20 ms
UTTERANCE_END = 170


@dataclass
class Script:
    """A server that only plays the part, by counting frames; what it does wrong are its fields."""

    transcripts: Path
    silent: bool = False
    frames_a_partial: int | None = 10
    closes_at: int | None = None
    auth_token: str | None = None
    frames: int = field(default=0, init=False)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        self.transcripts.touch()
        async with serve(self._handle, "127.0.0.1", 0, compression=None, process_request=self._admit) as server:
            yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/media"

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.auth_token is None:
            return None
        wanted = sign_url(self.auth_token, f"ws://{request.headers['Host']}{request.path}")
        return None if request.headers.get("X-Twilio-Signature") == wanted else connection.respond(403, "no\n")

    async def _handle(self, connection: ServerConnection) -> None:
        sid = ""
        frames = 0

        def tell(event: str, **other: Any) -> None:
            record = {"event": event, "call_sid": sid, "utterance_id": None, "text": None, "start_ms": None}
            if not self.silent:
                with self.transcripts.open("a") as file:
                    file.write(json.dumps(record | {"at": time.time()} | other) + "\n")

        with contextlib.suppress(ConnectionClosed):
            async for raw in connection:
                message = json.loads(raw)
                if message["event"] == "start":
                    sid = message["start"]["callSid"]
                    tell("session_started")
                elif message["event"] == "media":
                    frames += 1
                    self._play(frames, tell)
                    if frames == self.closes_at:
                        await connection.close(1011, "too long")
        tell("session_closed")
        tell("call_ended")

    def _play(self, frame: int, tell: Any) -> None:
        every = self.frames_a_partial
        if every and frame in SPEECH and (frame - SPEECH.start) % every == 0:
            tell("partial", utterance_id=1, text=f"word {frame}")
        if frame == UTTERANCE_END:
            tell("final", text=WORDS)
            tell("utterance_end", utterance_id=1, text=WORDS, start_ms=400)


async def check(script: Script, **options: Any) -> dict[str, Row]:
    async with script.running() as url:
        given = {"audio": "tones", "transcripts": str(script.transcripts), "duration_s": SHORT_S} | options
        rows, _ = await run_check(CheckOptions(url, **given))
    return {row.name: row for row in rows}


def no_go(rows: dict[str, Row]) -> set[str]:
    return {name for name, row in rows.items() if row.answer == "no-go"}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real servers' times are judged by no more than can be told apart on a busy machine; the bounds themselves are
    tested in tests/unit/simulator."""
    monkeypatch.setattr(check_report, "SESSION_WITHIN_S", PATIENCE_S)
    monkeypatch.setattr(check_report, "FIRST_RESPONSE_S", PATIENCE_S)
    monkeypatch.setattr(check_report, "MEDIAN_MS", (100.0, 380.0))
    monkeypatch.setattr(check_report, "TOLERANCE_MS", 150.0)


async def test_each_fault_of_a_server_is_no_go_in_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "LAST_WORDS_S", 1.0)
    monkeypatch.setattr(checkup, "UNSIGNED_S", 0.1)
    scripts = [Script(tmp_path / f"{number}.ndjson") for number in range(7)]
    scripts[1].frames_a_partial = None
    scripts[2].frames_a_partial = 20
    scripts[3].closes_at = 200
    scripts[4].auth_token = scripts[5].auth_token = "12345"
    scripts[6].silent = True
    options: list[dict[str, Any]] = [{} for _ in scripts]
    options[0] = {"auth_token": "12345"}
    options[5] = {"auth_token": "12345"}
    unsigned_taken, mute, slow, closes, needs_signature, signed, silent = await asyncio.gather(
        *(check(script, **option) for script, option in zip(scripts, options, strict=True))
    )
    assert no_go(unsigned_taken) == {"unsigned calls refused"}
    assert no_go(mute) == {"partials", "partial cadence"}
    assert no_go(slow) == {"partial cadence"}
    assert no_go(closes) == {"open to the end", "closed cleanly"}
    assert re.search(r"(closed|ended) after \d+\.\d s of 9 s", closes["open to the end"].detail)
    assert "answered" in no_go(needs_signature)
    assert "HTTP 403" in needs_signature["answered"].detail
    assert "signature" in needs_signature["answered"].detail
    assert no_go(signed) == set(), {name: row.detail for name, row in signed.items()}
    assert no_go(silent) >= {"session at once", "partials", "final of each utterance", "closed cleanly"}


@pytest.mark.parametrize("signed", [False, True])
async def test_fastcall_serve_is_go_by_its_events_and_which_audio_it_needs_is_found_out(
    emulator: str, signed: bool
) -> None:
    variables = {"FASTCALL_ADMIN_TOKEN": ADMIN_TOKEN}
    if signed:
        variables |= {"TWILIO_AUTH_TOKEN": "12345", "FASTCALL_PUBLIC_URL": PUBLIC_URL}
    said: list[str] = []
    async with serve_process("--stt", "emulator", "--stt-endpoint", emulator, **variables) as served:
        url = served.ready[1]
        options = CheckOptions(
            url,
            admin_token=ADMIN_TOKEN,
            auth_token=variables.get("TWILIO_AUTH_TOKEN", ""),
            signed_url=f"{PUBLIC_URL}/media".replace("https", "wss") if signed else None,
            duration_s=SHORT_S,
        )
        rows, _ = await run_check(options, said.append)
    assert "in tones" in said[-1]
    by_name = {row.name: row for row in rows}
    assert no_go(by_name) == set(), rows
    assert by_name["unsigned calls refused"].answer == ("go" if signed else "n/a")


async def test_fastcall_serve_with_slow_partials_is_no_go(emulator: str) -> None:
    variables = {"FASTCALL_ADMIN_TOKEN": ADMIN_TOKEN, "STT_PARTIAL_DEBOUNCE_MS": "500"}
    async with serve_process("--stt", "emulator", "--stt-endpoint", emulator, **variables) as served:
        options = CheckOptions(served.ready[1], audio="tones", admin_token=ADMIN_TOKEN, duration_s=SHORT_S)
        rows, _ = await run_check(options)
    assert no_go({row.name: row for row in rows}) == {"partial cadence"}, rows


class DecidedError(Exception):
    """The check has said which audio it takes: no more of it is needed."""


async def test_a_server_that_makes_other_words_of_tones_or_none_hears_speech(tmp_path: Path) -> None:
    for script in (Script(tmp_path / "other.ndjson"), Script(tmp_path / "none.ndjson", frames_a_partial=None)):
        async with script.running() as url:
            said: list[str] = []

            def end_when_decided(text: str, said: list[str] = said) -> None:
                said.append(text)
                if len(said) == 2:
                    raise DecidedError

            with pytest.raises(DecidedError):
                await run_check(CheckOptions(url, transcripts=str(script.transcripts)), end_when_decided)
            assert re.match(r"a call of \d+ s in speech", said[1])


# --- the reader of /events ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def answering(*lines: bytes, hold: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP server that answers each request with these lines; ``hold``: and does not end the answer."""
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.writelines(lines)
        await writer.drain()
        if hold:
            await asyncio.Event().wait()
        writer.close()

    async with accepting(answer) as port:
        yield f"ws://127.0.0.1:{port}/media", requests


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"


async def read(url: str, **options: Any) -> tuple[bool, EventReader]:
    def run() -> tuple[bool, EventReader]:
        reader = EventReader(CheckOptions(url, **options))
        reader.follow("CA1")
        with reader:
            # Far longer than anyone waits here: it returns with the event, or with the end of all events.
            return reader.wait_for("CA1", "session_started", 10 * PATIENCE_S), reader

    return await asyncio.wait_for(asyncio.to_thread(run), PATIENCE_S)


async def test_events_are_read_as_they_come_and_reading_ends_with_the_check() -> None:
    record = b'{"event":"session_started","call_sid":"CA1"}\n'
    others = record.replace(b"CA1", b"CA2") + b'{"event":"loop_stalled","call_sid":null}\n'
    async with answering(HEAD, b"\n", others, record, hold=True) as (url, requests):
        came, reader = await read(url, admin_token="secret")
    assert came
    assert reader.error is None
    assert [one["event"] for one in reader.of("CA1")] == ["session_started"]
    with pytest.raises(KeyError):
        reader.of("CA2")  # what other calls say is not kept: there may be hundreds, for minutes
    assert requests[0].startswith(b"GET /events HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret\r\n" in requests[0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HEAD, "ended before the call did"),
        (HEAD + b"not json\n", "cannot be read"),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "HTTP 401; set FASTCALL_ADMIN_TOKEN"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "/events answered HTTP 404"),
        (b"nonsense\r\n\r\n", "cannot be read"),
    ],
)
async def test_events_that_cannot_be_read_are_told(answer: bytes, said: str) -> None:
    async with answering(answer) as (url, _):
        came, reader = await read(url)
    assert not came
    assert said in (reader.error or "")
