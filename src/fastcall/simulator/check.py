"""The call of ``fastcall check``: places it, reads the server's transcript stream, combines both."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastcall.audio.tones import VOCABULARY, synthesize
from fastcall.audio.wav import read_audio, read_wav
from fastcall.errors import UsageError
from fastcall.simulator import CallReport, TwilioCaller
from fastcall.simulator.check_report import CallFacts, CheckPlan, Row, judge
from fastcall.simulator.playback import Media
from fastcall.simulator.twilio_client import FRAME_S, SILENCE_BYTE, PhoneAudio
from fastcall.wer import words

__all__ = ["CheckOptions", "EventReader", "run_check"]

LEAD_MS = 400
PAUSE_MS = 3000
UTTERANCE_WORDS = 24
WORD_MS = 100
TAIL_S = 3.0
LONG_S, QUICK_S = 105.0, 20.0
PROBE_WORDS = ("apple", "bamboo", "cedar", "dragon")
LAST_WORDS_S = 8.0
CONNECT_S = 5.0
UNSIGNED_S = 2.0


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The command line of ``fastcall check``."""

    url: str
    audio: str = "auto"
    """``tones``, ``speech``, ``auto`` (which of the two the recognizer understands) or a file."""
    quick: bool = False
    transcripts: str | None = None
    """Read the transcript stream from this file instead of ``/events``."""
    events_url: str | None = None
    admin_token: str = ""
    auth_token: str = ""
    signed_url: str | None = None
    debounce_ms: float = 180.0
    duration_s: float | None = None
    """Minimum duration of the call; the default is 105 s, quick 20 s."""


# --- the transcript stream ------------------------------------------------------------------------------------


class EventReader:
    """Reads a transcript stream in its own thread, from ``/events`` or a file. A context manager.

    It keeps the records of followed calls only; there may be hundreds of others.

    :param on_record: called with each record of any call, in the reader's thread

    ``error`` says why it cannot be read, and is None as long as it can.
    """

    def __init__(self, options: CheckOptions, on_record: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._options = options
        self._on_record = on_record
        self._records: dict[str, list[dict[str, Any]]] = {}
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._read, name="fastcall-events", daemon=True)
        self.error: str | None = None

    def __enter__(self) -> EventReader:
        self._thread.start()
        self._ready.wait(CONNECT_S + 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(CONNECT_S)

    def follow(self, call_sid: str) -> None:
        """Keep the call's records from now on."""
        with self._news:
            self._records.setdefault(call_sid, [])

    def of(self, call_sid: str) -> list[dict[str, Any]]:
        """The records so far of a followed call."""
        with self._news:
            return list(self._records[call_sid])

    def wait_for(self, call_sid: str, event: str, timeout_s: float) -> bool:
        """Whether such an event of a followed call arrived, now or within the time. After an error none will."""

        def came() -> bool:
            return any(record["event"] == event for record in self._records[call_sid])

        with self._news:
            self._news.wait_for(lambda: came() or self.error is not None, timeout_s)
            return came()

    def _read(self) -> None:
        try:
            lines = self._file_lines() if self._options.transcripts else self._http_lines()
            for line in lines:
                self._take(line)
            if not self._stopping.is_set():
                self.error = "the transcript stream ended before the call did"
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not self._stopping.is_set():
                self.error = f"the transcript stream cannot be read: {error}"
        finally:
            self._ready.set()
            with self._news:
                self._news.notify_all()

    def _take(self, line: bytes) -> None:
        record = json.loads(line)
        if not isinstance(record, dict) or "event" not in record:
            return
        if self._on_record is not None:
            self._on_record(record)
        with self._news:
            kept = self._records.get(record.get("call_sid") or "")
            if kept is not None:
                kept.append(record)
                self._news.notify_all()

    def _http_lines(self) -> Iterator[bytes]:
        parts = urlsplit(self._options.events_url or _events_url(self._options.url))
        where, timeout_s = parts.hostname or "", CONNECT_S
        connection = (
            http.client.HTTPSConnection(where, parts.port, timeout=timeout_s, context=ssl.create_default_context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(where, parts.port, timeout=timeout_s)
        )
        token = self._options.admin_token
        with contextlib.closing(connection):
            connection.request("GET", parts.path, headers={"Authorization": f"Bearer {token}"} if token else {})
            # http.client hands the socket to an endless response; it is needed to stop the reader.
            self._socket = connection.sock
            with connection.getresponse() as response:
                if response.status != http.HTTPStatus.OK:
                    hint = "; set FASTCALL_ADMIN_TOKEN as at the server" if response.status in (401, 403) else ""
                    raise ValueError(f"{parts.geturl()} answered HTTP {response.status}{hint}")
                self._socket.settimeout(None)
                self._ready.set()
                while line := response.readline():
                    if line.strip():
                        yield line

    def _file_lines(self) -> Iterator[bytes]:
        """Follow the file from its current end."""
        with Path(self._options.transcripts or "").open("rb") as file:
            file.seek(0, 2)
            self._ready.set()
            begun = b""
            while not self._stopping.is_set():
                begun += file.read()
                whole, newline, begun = begun.rpartition(b"\n")
                if newline:
                    yield from whole.splitlines()
                self._stopping.wait(0.02)


def _events_url(url: str) -> str:
    parts = urlsplit(url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}/events"


# --- what is said ---------------------------------------------------------------------------------------------


def _tones_audio(call_s: float) -> tuple[bytes, tuple[str, ...], tuple[float, ...]]:
    """Utterances of 2.4 s, a word every 100 ms, until the call is long enough."""
    mulaw = bytearray(bytes([SILENCE_BYTE]) * 8 * LEAD_MS)
    texts: list[str] = []
    ends: list[float] = []
    number = 0
    while not texts or len(mulaw) / 8000 < call_s - TAIL_S:
        said = [VOCABULARY[(number * 29 + index * 7) % 100] for index in range(UTTERANCE_WORDS)]
        mulaw += synthesize(said, word_ms=WORD_MS, gap_ms=0, encoding="mulaw")
        texts.append(" ".join(said))
        ends.append(len(mulaw) / 8000)
        mulaw += bytes([SILENCE_BYTE]) * 8 * PAUSE_MS
        number += 1
    return bytes(mulaw), tuple(texts), tuple(ends)


def _speech_audio(call_s: float) -> tuple[bytes, tuple[str, ...], tuple[float, ...]]:
    """The bundled conversation, as often as it fits; its words are not checked: no recognizer is perfect."""
    data = resources.files("fastcall") / "data"
    once = read_wav((data / "booking.wav").read_bytes())
    rows = [row.split("\t") for row in (data / "booking.tsv").read_text(encoding="utf-8").splitlines()]
    ends_ms = [int(row[1]) for row in rows if row[0].isdigit()]
    mulaw, ends = b"", []
    while not mulaw or len(mulaw) / 8000 < call_s - TAIL_S:
        ends += [len(mulaw) / 8000 + end / 1000 for end in ends_ms]
        mulaw += once + bytes([SILENCE_BYTE]) * 8 * PAUSE_MS
    return mulaw, ("",) * len(ends), tuple(ends)


def _plan(options: CheckOptions, kind: str) -> tuple[PhoneAudio, CheckPlan]:
    call_s = options.duration_s or (QUICK_S if options.quick else LONG_S)
    if kind in ("tones", "speech"):
        mulaw, texts, ends = (_tones_audio if kind == "tones" else _speech_audio)(call_s)
    else:
        try:
            once = read_audio(Path(kind).read_bytes(), kind)
        except OSError as error:
            raise UsageError(f"cannot read {kind}: {error.strerror}") from error
        mulaw = once * max(1, -(-round(8000 * (call_s - TAIL_S)) // len(once)))
        texts, ends = ("",), (len(mulaw) / 8000,)
    audio = PhoneAudio(mulaw, tail_s=TAIL_S)
    assert audio.frames is not None
    host = urlsplit(options.url).hostname or ""
    plan = CheckPlan(
        texts,
        ends,
        audio.frames * FRAME_S,
        steady=kind == "tones",
        debounce_ms=options.debounce_ms,
        expects_refusal=bool(options.auth_token) or host not in ("127.0.0.1", "::1", "localhost"),
    )
    return audio, plan


# --- the check ------------------------------------------------------------------------------------------------


async def run_check(
    options: CheckOptions, said: Callable[[str], None] = lambda text: None
) -> tuple[list[Row], CallFacts]:
    """Place the call.

    :param said: called with progress messages
    """
    with EventReader(options) as reader:
        kind = options.audio
        if kind == "auto":
            said("a short call, to learn whether the recognizer understands tones or needs speech")
            kind = await _probe(options, reader)
        audio, plan = _plan(options, kind)
        unsigned = await _call_unsigned(options) if plan.expects_refusal else None
        said(f"a call of {plan.call_s:.0f} s in {kind}: {len(plan.utterances)} utterances")
        report = await _placed(options, audio, reader)
        ended_at = time.monotonic()
        if report.first_frame_at is not None:
            await asyncio.to_thread(reader.wait_for, report.ids.call_sid, "call_ended", LAST_WORDS_S)
        facts = _facts(report, reader, ended_at)
        facts.unsigned = unsigned
    return judge(plan, facts), facts


def _caller(options: CheckOptions, audio: PhoneAudio, *, signed: bool = True) -> TwilioCaller:
    return TwilioCaller(
        options.url,
        audio,
        auth_token=options.auth_token if signed else None,
        signed_url=options.signed_url,
    )


async def _placed(options: CheckOptions, audio: PhoneAudio, reader: EventReader) -> CallReport:
    """A call whose records are kept."""
    caller = _caller(options, audio)
    reader.follow(caller.report.ids.call_sid)
    return await caller.run()


async def _probe(options: CheckOptions, reader: EventReader) -> str:
    """Four words in tones, to see whether they are recognized."""
    mulaw = bytes([SILENCE_BYTE]) * 8 * LEAD_MS + synthesize(PROBE_WORDS, encoding="mulaw")
    report = await _placed(options, PhoneAudio(mulaw, tail_s=2.0), reader)
    if report.first_frame_at is None:
        return "tones"  # the main call will report the error
    sid = report.ids.call_sid
    await asyncio.to_thread(reader.wait_for, sid, "call_ended", LAST_WORDS_S)
    heard = [
        word for r in reader.of(sid) if r["event"] in ("partial", "utterance_end") for word in words(r["text"] or "")
    ]
    return "tones" if set(PROBE_WORDS) <= set(heard) else "speech"


async def _call_unsigned(options: CheckOptions) -> str | None:
    """Place a call without a signature: None if it is refused, else the result."""
    silence = PhoneAudio(b"", tail_s=UNSIGNED_S)
    report = await _caller(options, silence, signed=False).run()
    if report.first_frame_at is None or (report.error is not None and report.close_code == 1008):
        return None
    return "accepted"


def _facts(report: CallReport, reader: EventReader, ended_at: float) -> CallFacts:
    facts = CallFacts(error=report.error, twilio_code=report.twilio_code, close_code=report.close_code)
    facts.events_error = reader.error
    facts.violations = [f"{violation.code}: {violation.detail}" for violation in report.violations]
    facts.discarded = report.frames_discarded
    if report.first_frame_at is None:
        return facts
    began_at = report.first_frame_at
    unix_began_at = time.time() - time.monotonic() + began_at
    facts.ended_s = ended_at - began_at
    facts.audio_at_s = [one.at - began_at for one in report.received if isinstance(one.message, Media)]
    facts.events = [{**record, "at": record["at"] - unix_began_at} for record in reader.of(report.ids.call_sid)]
    return facts
