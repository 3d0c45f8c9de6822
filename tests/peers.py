"""The other sides that tests need: recognizers as processes and by script, a server in this loop, a caller."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from fastcall.audio.tones import VOCABULARY, synthesize
from fastcall.events import TranscriptEvent
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.ports import RecognizerStream, StreamConfig, StreamEnd, StreamListener, StreamResult
from fastcall.retry import CircuitBreaker
from fastcall.server.app import ServeOptions, Server
from fastcall.settings import Settings
from fastcall.simulator.twilio_client import CallerMessages, CallIds, PhoneAudio
from forkserver import Popen

PATIENCE_S = 60.0
"""How long a test waits for an event that should come: far longer than it takes, so that only a defect is slow."""

MAX_LAG_MS = 60_000
"""A server whose loop waits for the processor refuses calls; those that tests start share it with the other tests."""

FAST_PATH = os.environ.get("FASTCALL_FAST_PATH", "on")
"""``on`` or ``off``: whether the servers that tests start have the fast path. Nothing may come of it."""


async def turns(count: int) -> None:
    """Let the loop turn so often: for what says nothing when it is done. What does say so is waited for."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- processes -------------------------------------------------------------------------------------------------


class Process:
    """A child that says on stdout when it is ready, and keeps what it says. ``stop`` is owed.

    :param popen: `subprocess.Popen`, for tests of how processes start and whose children they are
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        ready: str,
        environ: dict[str, str] | None = None,
        popen: type[subprocess.Popen[Any]] = Popen,
    ) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._child = popen(
            [sys.executable, "-m", "fastcall", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )
        self.stderr = ""
        self._readers = [threading.Thread(target=self._read_out), threading.Thread(target=self._read_error)]
        for reader in self._readers:
            reader.start()
        self.ready = self.wait_for(ready)

    @property
    def pid(self) -> int:
        return self._child.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line on stdout that matches, now or later."""
        found: list[re.Match[str]] = []

        def is_there() -> bool:
            found[:] = [match for line in self.lines if (match := re.search(pattern, line))]
            return bool(found)

        self._wait_until(is_there, f"no line like {pattern!r}")
        return found[0]

    def wait_for_words(self, words: str, call_sid: str) -> None:
        """Until the call's utterances, each as it was last amended, are these words. If the caller is held up, a second
        utterance begins in the middle of them; it has no words if all of them are given to the first."""
        told = re.compile(rf"(?:Final|Amended): (.*) call={call_sid} utt=(\d+)")

        def are_there() -> bool:
            texts = {match[2]: match[1] for line in self.lines if (match := told.search(line))}
            return " ".join(filter(None, texts.values())) == words

        self._wait_until(are_there, f"call {call_sid} has not said {words!r}")

    def _wait_until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: is_so() or self._child.poll() is not None, PATIENCE_S)
        if not is_so():
            self.stop()
            raise AssertionError(f"{otherwise}; stdout: {self.lines}; stderr: {self.stderr}")

    def send_signal(self, number: int) -> None:
        self._child.send_signal(number)

    def wait(self) -> int:
        """The exit status; all that it said has been read then."""
        status = self._child.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return status

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self._child.poll() is None:
            self._child.terminate()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self.wait()
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    def _read_out(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _read_error(self) -> None:
        assert self._child.stderr is not None
        self.stderr = self._child.stderr.read()


CERTIFICATE, KEY = (str(Path(__file__).parent / "data" / name) for name in ("localhost.pem", "localhost-key.pem"))


both_paths = pytest.mark.usefixtures("fast_path")
"""A test whose servers have the fast path, and in another run of it have not."""

both_uplinks = pytest.mark.parametrize("uplink", ["native", "grpcio"], indirect=True)
"""A test that is run on each; the others run on that of the run, by default native where libnghttp2 is."""


def way() -> dict[str, Any]:
    """How recognizers are reached in this run, as settings: ``STT_UPLINK``, and TLS where ``STT_TLS_ROOTS`` is set.

    ``make test-uplinks`` sets them for whole suites, the fixture ``uplink`` for one test; processes inherit them.
    """
    return {
        "stt_uplink": os.environ.get("STT_UPLINK", "auto"),
        "stt_tls_roots": os.environ.get("STT_TLS_ROOTS") or None,
    }


def peer_tls() -> ssl.SSLContext | None:
    """What a peer needs that is reached in the way of this run."""
    if not way()["stt_tls_roots"]:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    context.set_alpn_protocols(["h2"])
    return context


def google_recognizer(address: str, **options: Any) -> GoogleRecognizer:
    """One for the emulator at ``address``, on the uplink of this run. ``aclose`` is owed."""
    chosen = way()
    return GoogleRecognizer(
        emulator_host=address, uplink=chosen["stt_uplink"], tls_roots=chosen["stt_tls_roots"], **options
    )


def start_emulator(*arguments: str, port: int = 0, popen: type[subprocess.Popen[Any]] = Popen) -> Process:
    """``fastcall emulator`` with the tones engine and no limit on how often; ``ready[1]`` is its address."""
    tls = ["--tls-cert", CERTIFICATE, "--tls-key", KEY] if way()["stt_tls_roots"] else []
    return Process(
        ["emulator", "--engine", "tones", "--port", str(port), "--requests-per-minute", "0", *tls, *arguments],
        ready=r"emulator listening on (\S+)",
        popen=popen,
    )


def control(address: str, target: str, body: Any = None) -> Any:
    """A control call to the emulator at ``address``; what it answers. Blocks; another thread's."""
    roots = way()["stt_tls_roots"]
    if roots:
        trust = ssl.create_default_context(cafile=roots)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(address, timeout=PATIENCE_S, context=trust)
    else:
        connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        if body is None:
            connection.request("GET", target)
        else:
            connection.request("POST", target, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise AssertionError(f"{target}: {answer.status} {answer.read()!r}")
        return json.loads(answer.read())
    finally:
        connection.close()


SERVE_READY = r"listening on (wss?://\S+/media)"


def serve_environment(**variables: str) -> dict[str, str]:
    """This process's, without what would choose a recognizer; English, which all models have."""
    names = ("SPEECH_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "TWILIO_AUTH_TOKEN")
    kept = {k: value for k, value in os.environ.items() if k not in names and not k.startswith("FASTCALL_")}
    hidden = {"CLOUDSDK_CONFIG": "/nowhere", "NO_GCE_CHECK": "true"}  # this machine's own credentials
    return {**kept, **hidden, "GCP_STT_LANGUAGE": "en-US", **variables}


@contextlib.asynccontextmanager
async def serve_process(
    *arguments: str, popen: type[subprocess.Popen[Any]] = Popen, **variables: str
) -> AsyncIterator[Process]:
    process = await asyncio.to_thread(
        Process,
        ["serve", "--port", "0", "--fast-path", FAST_PATH, "--max-lag-ms", str(MAX_LAG_MS), *arguments],
        ready=SERVE_READY,
        environ=serve_environment(**variables),
        popen=popen,
    )
    try:
        yield process
    finally:
        await asyncio.to_thread(process.stop)


# --- a server in this loop ---------------------------------------------------------------------------------------


class ParsedFrames:
    """Counts the frames that websockets parses in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        parse = Frame.parse

        def counting(*args: Any, **options: Any) -> Any:
            found = yield from parse(*args, **options)
            self.count += 1
            return found

        monkeypatch.setattr(Frame, "parse", counting)


class Transcripts:
    """The transcript stream of a server, as it comes."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    def write(self, line: str) -> None:
        self.records.append(json.loads(line))
        self._news.set()

    def of(self, sid: str, *events: str) -> list[dict[str, Any]]:
        """The records of a call, or of one stream, by its id."""
        mine = (record for record in self.records if sid in (record["call_sid"], record["stream_sid"]))
        return [record for record in mine if not events or record["event"] in events]

    async def wait_for(self, sid: str, event: str, count: int = 1) -> dict[str, Any]:
        """The ``count``-th such event of the call, or of the stream, now or later."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := self.of(sid, event)) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    def milestones(self, sid: str) -> list[str]:
        """The events that each call, or stream, has in the same order."""
        kept = ("call_started", "session_started", "utterance_end", "session_closed", "call_ended")
        return [record["event"] for record in self.of(sid, *kept)]

    def utterances(self, sid: str) -> list[str]:
        """The text that each utterance of the call, or of the stream, has in the end, in order of time."""
        texts: dict[int, str] = {}
        starts: dict[int, int] = {}
        for record in self.of(sid, "utterance_begin", "utterance_end", "amended"):
            if record["event"] == "utterance_begin":
                starts[record["utterance_id"]] = record["start_ms"]
            else:
                texts[record["utterance_id"]] = record["text"]
        return [texts[utterance_id] for utterance_id in sorted(texts, key=lambda each: starts[each])]


@dataclass
class Served:
    """A running server: where, and what it says."""

    server: Server
    port: int
    transcripts: Transcripts

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/media"

    async def take_call(
        self, phone: Phone, text: str, parameters: dict[str, str] | None = None, *, at_pace: bool = False
    ) -> list[str]:
        """A whole call, to its last event: ``phone`` says ``text``, in the tones language, and hangs up.

        :param at_pace: at the pace of speech, not all at once
        :return: the text of each utterance
        """
        await phone.start(parameters)
        await (phone.speak if at_pace else phone.say)(tones(text))
        return await self.hang_up(phone)

    async def hang_up(self, phone: Phone) -> list[str]:
        """``phone`` hangs up; when the call's last event is there, the text of each of its utterances."""
        await phone.stop()
        await self.transcripts.wait_for(phone.call_sid, "call_ended")
        return self.transcripts.utterances(phone.call_sid)


def are_said(heard: Sequence[str], sentences: Sequence[str]) -> bool:
    """Whether the utterances of a call are these sentences, each an utterance of its own or, if the caller was held up
    in the middle of it, several. One of those has no words if all of them are given to another."""
    left = [text for text in heard if text]
    for sentence in sentences:
        said = ""
        while left and said != sentence:
            said = f"{said} {left.pop(0)}".strip()
        if said != sentence:
            return False
    return not left


@contextlib.asynccontextmanager
async def serving(
    recognizer: str | None,
    *,
    handler: str | None = None,
    fallback: str | None = None,
    stt: str = "auto",
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """A server on this loop that uses the recognizer at ``recognizer``."""
    transcripts = Transcripts()
    server = Server(
        Settings(speech_emulator_host=recognizer, **{"language": "en-US", **way(), **settings}),
        ServeOptions(
            **{"port": 0, "handler": handler, "fallback": fallback, "stt": stt, "max_lag_ms": MAX_LAG_MS},
            fast_path=FAST_PATH == "on",
            **(options or {}),
        ),
        on_transcript=transcripts.write,
    )
    port = await server.start()
    try:
        yield Served(server, port, transcripts)
    finally:
        await server.stop()


# --- a caller ----------------------------------------------------------------------------------------------------


def tones(text: str | Iterable[str], **options: Any) -> bytes:
    """The text in the tones language, as mu-law."""
    return synthesize(text, encoding="mulaw", **options)


def words_of_call(number: int, count: int, *, start: int = 0) -> list[str]:
    """Words that differ from call to call."""
    return [VOCABULARY[(number * 7 + (start + index) * (3 + number % 11)) % 100] for index in range(count)]


class Phone:
    """A caller whose every message the test decides. ``async with Phone(url) as phone``."""

    def __init__(self, url: str, name: str = "phone", *, ids: CallIds | None = None, **connect_options: Any) -> None:
        self.ids = ids or CallIds.derive(name, 0)
        self._options = {"compression": None, "ping_interval": None, "max_size": None, "proxy": None, **connect_options}
        self.messages = CallerMessages(self.ids)
        self._url = url
        self.frame = 0
        self.socket: ClientConnection

    async def __aenter__(self) -> Phone:
        self.socket = await connect(self._url, **self._options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()

    @property
    def call_sid(self) -> str:
        return self.ids.call_sid

    @property
    def stream_sid(self) -> str:
        return self.ids.stream_sid

    async def start(self, parameters: dict[str, str] | None = None, *, tracks: Sequence[str] = ("inbound",)) -> None:
        await self.socket.send(self.messages.connected())
        await self.socket.send(self.messages.start(parameters or {}, tracks))

    def media(self, mulaw: bytes, outbound: bytes = b"") -> list[str]:
        """The messages that carry ``mulaw``, in pieces of 20 ms, and ``outbound`` beside it on the other track."""
        audio, other = PhoneAudio(mulaw, tail_s=0.0), PhoneAudio(outbound, tail_s=0.0)
        made = []
        for frame in range(audio.frames or 0):
            made.append(self.messages.media(self.frame, audio.payload(frame)))
            if frame < (other.frames or 0):
                made.append(self.messages.media(self.frame, other.payload(frame), "outbound"))
            self.frame += 1
        return made

    async def say(self, mulaw: bytes) -> None:
        """All at once; as after a stall of the network."""
        for message in self.media(mulaw):
            await self.socket.send(message)

    async def speak(self, mulaw: bytes) -> None:
        """At the pace of speech."""
        loop = asyncio.get_running_loop()
        begins_at = loop.time()
        for number, message in enumerate(self.media(mulaw)):
            await asyncio.sleep(begins_at + 0.02 * number - loop.time())
            await self.socket.send(message)

    async def stop(self) -> None:
        await self.socket.send(self.messages.stop())

    async def closed(self) -> tuple[int | None, str | None]:
        """Code and reason with which the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason


@contextlib.asynccontextmanager
async def phones(url: str, *stream_sids: str, name: str = "streams") -> AsyncIterator[list[Phone]]:
    """A socket for each stream, by default for an old one and a new one; all are of one call."""
    call_sid = CallIds.derive(name, 0).call_sid
    async with contextlib.AsyncExitStack() as stack:
        yield [
            # What is not read must not keep the close from being read.
            await stack.enter_async_context(Phone(url, ids=CallIds(call_sid, sid), max_queue=None))
            for sid in stream_sids or ("MZold", "MZnew")
        ]


def media_message_of(stream_sid: str, payload: str, timestamp_ms: int = 155) -> str:
    """A media message with any payload."""
    media = {"track": "inbound", "chunk": "1", "timestamp": str(timestamp_ms), "payload": payload}
    return json.dumps({"event": "media", "sequenceNumber": "2", "media": media, "streamSid": stream_sid})


def client_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A WebSocket frame of a client, masked with zeros (RFC 6455 section 5.2)."""
    head = bytes([opcode | (0x80 if fin else 0)])
    length = len(payload)
    if length < 126:
        return head + bytes([0x80 | length]) + bytes(4) + payload
    if length < 1 << 16:
        return head + bytes([0x80 | 126]) + length.to_bytes(2, "big") + bytes(4) + payload
    return head + bytes([0x80 | 127]) + length.to_bytes(8, "big") + bytes(4) + payload


def server_frame(text: str) -> bytes:
    """A WebSocket text frame as a server sends it."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def messages_of(frames: bytes) -> list[str]:
    """The text messages in a server's frames, as websockets reads them; a client that finds an error in them closes."""
    client = ClientProtocol(parse_uri("ws://localhost"), state=State.OPEN, max_size=None)
    client.receive_data(frames)
    assert client.state is State.OPEN
    events = client.events_received()
    assert all(isinstance(event, Frame) and event.opcode is Opcode.TEXT and event.fin for event in events)
    return [bytes(event.data).decode() for event in events if isinstance(event, Frame)]


def upgrade_request(port: int, path: str = "/media") -> bytes:
    """The request that opens a WebSocket, as bytes."""
    key = base64.b64encode(b"0123456789abcdef").decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


@dataclass
class Answer:
    """What a plain request was answered."""

    status: int
    headers: dict[str, str]
    body: str


def request(
    port: int,
    target: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    form: Iterable[tuple[str, str]] | None = None,
) -> Answer:
    """Send one plain request and read its answer. Blocks; another thread's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    body = urllib.parse.urlencode(list(form)) if form is not None else None
    kind = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
    try:
        connection.request(method, target, body, {**kind, **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text)
    finally:
        connection.close()


async def ask(port: int, target: str, **options: Any) -> Answer:
    """``request`` from this loop."""
    return await asyncio.to_thread(lambda: request(port, target, **options))


@contextlib.asynccontextmanager
async def reading(port: int, **headers: str) -> AsyncIterator[asyncio.StreamReader]:
    """The body of /events, chunked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **headers}.items()]
    writer.write(f"GET /events HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    assert b"application/x-ndjson" in head
    yield reader
    writer.close()


async def next_record(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next line; None at the stream's end."""
    async with asyncio.timeout(PATIENCE_S):
        size = int(await reader.readline(), 16)
        chunk = await reader.readexactly(size)
        await reader.readline()
    record: dict[str, Any] | None = json.loads(chunk) if size else None
    return record


def values_of(metrics: str) -> dict[str, float]:
    """Each sample of a page of metrics."""
    rows = (line.rpartition(" ") for line in metrics.splitlines() if line[:1] != "#")
    return {name: float(value) for name, _, value in rows}


# --- a recognizer by script --------------------------------------------------------------------------------------


@dataclass
class ScriptedStream:
    """A stream that a test plays the provider of. Fulfils ``RecognizerStream``."""

    config: StreamConfig
    listener: StreamListener
    written: list[bytes] = field(default_factory=list)
    half_closed: bool = False
    ended: bool = False
    writable: bool = True

    def write(self, pcm: bytes) -> None:
        self.written.append(pcm)

    def half_close(self) -> None:
        self.half_closed = True

    def cancel(self) -> None:
        asyncio.get_running_loop().call_soon(self.end, StreamEnd("CANCELLED"))

    @property
    def samples(self) -> int:
        return sum(map(len, self.written)) // 2

    def results(self, *results: StreamResult) -> None:
        self.listener.stream_results(results)

    def end(self, end: StreamEnd) -> None:
        if not self.ended:
            self.ended = True
            self.listener.stream_ended(end)


class ScriptedRecognizer:
    """Keeps the streams that are opened; ``on_open`` may act on each. Fulfils ``Recognizer``."""

    source = "emulator"

    def __init__(self, on_open: Callable[[ScriptedStream], None] | None = None) -> None:
        self.streams: list[ScriptedStream] = []
        self.breaker = CircuitBreaker()
        self._on_open = on_open

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        stream = ScriptedStream(config, listener)
        self.streams.append(stream)
        if self._on_open is not None:
            asyncio.get_running_loop().call_soon(self._on_open, stream)
        return stream

    def model_for(self, config: StreamConfig) -> StreamConfig:
        return config

    def model_refused(self, config: StreamConfig) -> None:
        pass

    async def aclose(self) -> None:
        for stream in self.streams:
            stream.end(StreamEnd("CANCELLED"))


@dataclass
class FallbackRequest:
    """What a fallback was asked, for a test to answer."""

    pcm: bytes
    language: str
    urgent: bool
    answer: asyncio.Future[str]

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 16_000


class ScriptedFallback:
    """Keeps what it is asked. Fulfils ``Fallback``."""

    source = "whisper"

    def __init__(self) -> None:
        self.requests: list[FallbackRequest] = []

    async def recognize(self, pcm: bytes, language: str, *, urgent: bool = True) -> str:
        request = FallbackRequest(pcm, language, urgent, asyncio.get_running_loop().create_future())
        self.requests.append(request)
        return await request.answer

    async def aclose(self) -> None:
        pass


def names(events: Iterable[TranscriptEvent]) -> list[str]:
    """What the events are."""
    return [event.event for event in events]
