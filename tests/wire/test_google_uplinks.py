"""Both uplinks against the emulator, plaintext and TLS: every fault of it looks alike through either."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import h2.errors
import h2.events
import pytest
from google.cloud import speech_v1p1beta1 as speech

from fastcall import _http2
from fastcall.audio.tones import synthesize
from fastcall.emulator.faults import parse_faults
from fastcall.emulator.options import Options
from fastcall.emulator.server import Emulator
from fastcall.errors import UsageError
from fastcall.google.pool import PoolRule
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.ports import RecognizerStream, StreamConfig, StreamEnd, StreamResult
from h2peer import OK, H2Peer, h2_server
from peers import (
    CERTIFICATE,
    KEY,
    PATIENCE_S,
    Phone,
    both_uplinks,
    control,
    google_recognizer,
    peer_tls,
    serve_environment,
    serve_process,
    serving,
    start_emulator,
    turns,
)
from waiting import until_called

CONFIG = StreamConfig("en-US", "default")
TWO = "apple arrow [700] badge bamboo [700]"


@pytest.fixture(params=["plaintext", "TLS"])
def is_tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the emulators of this test, and whoever speaks to them, use TLS."""
    monkeypatch.delenv("STT_TLS_ROOTS", raising=False)
    if request.param == "TLS":
        monkeypatch.setenv("STT_TLS_ROOTS", CERTIFICATE)
    return bool(request.param == "TLS")


class Talk:
    """One stream and what it told."""

    def __init__(self, recognizer: GoogleRecognizer) -> None:
        self.results: list[StreamResult] = []
        self.end: StreamEnd | None = None
        self._changed = asyncio.Event()
        self.stream: RecognizerStream = recognizer.open(CONFIG, self)

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        assert self.end is None, "results after the end"
        self.results += results
        self._changed.set()

    def stream_writable(self) -> None:
        self._changed.set()

    def stream_ended(self, end: StreamEnd) -> None:
        assert self.end is None, "two ends"
        self.end = end
        self._changed.set()

    @property
    def finals(self) -> list[str]:
        return [result.text.strip() for result in self.results if result.is_final]

    async def say(self, text: str) -> Talk:
        """In pieces of 100 ms, as fast as the stream takes them; up to its end, if that comes first."""
        pcm = synthesize(text)
        for at in range(0, len(pcm), 1600):
            await self.until(lambda: self.stream.writable or self.end is not None)
            self.stream.write(pcm[at : at + 1600])
        return self

    async def until(self, is_true: Any) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_true():
                self._changed.clear()
                await self._changed.wait()

    async def ended(self) -> StreamEnd:
        self.stream.half_close()
        await self.until(lambda: self.end is not None)
        assert self.end is not None
        return self.end


async def gone(emulator: Emulator) -> None:
    """Wait until the emulator has no connection any more; TLS says goodbye in both directions first."""
    service = emulator.service
    await until_called(service, "disconnected", lambda: not service.connections)
    await turns(5)


@contextlib.asynccontextmanager
async def talking_to(
    is_tls: bool, *faults: dict[str, Any], rule: PoolRule | None = None
) -> AsyncIterator[tuple[GoogleRecognizer, Emulator]]:
    """A recognizer, and the emulator that it speaks to, whose streams have these faults."""
    certificates = {"tls_cert": CERTIFICATE, "tls_key": KEY} if is_tls else {}
    options = Options(port=0, final_delay_s=0, requests_per_minute=0, max_streams=0, **certificates)
    async with Emulator(options, faults=parse_faults(list(faults))) as emulator:
        recognizer = google_recognizer(emulator.target, pool=rule)
        try:
            yield recognizer, emulator
        finally:
            await recognizer.aclose()
            await gone(emulator)


async def whole(recognizer: GoogleRecognizer, text: str = TWO) -> Talk:
    """A stream from its beginning to its end."""
    talk = await Talk(recognizer).say(text)
    await talk.ended()
    return talk


@both_uplinks
async def test_nothing_goes_wrong(uplink: str, is_tls: bool) -> None:
    async with talking_to(is_tls) as (recognizer, emulator):
        assert recognizer.uplink == uplink
        talk = await whole(recognizer)
        assert talk.end == StreamEnd("OK", "")
        assert talk.finals == ["apple arrow", "badge bamboo"]
        assert emulator.state.ended == {"OK": 1}


@both_uplinks
@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAUTHENTICATED"]
)
async def test_a_status(code: str, is_tls: bool) -> None:
    words = "Außer Haus: 100 %\nbis\tmorgen"
    async with talking_to(is_tls, {"fault": "status", "at_s": 1.0, "code": code, "message": words}) as (recognizer, _):
        talk = await whole(recognizer)
        assert talk.end == StreamEnd(code, words)
        assert recognizer.open_streams == 0


@both_uplinks
async def test_no_quota(is_tls: bool) -> None:
    async with talking_to(is_tls, {"fault": "quota", "times": 1}) as (recognizer, _):
        talk = await whole(recognizer)
        assert talk.end is not None
        assert talk.end.code == "RESOURCE_EXHAUSTED"
        assert talk.end.message.startswith("Quota exceeded for quota metric")
        assert (await whole(recognizer)).finals == ["apple arrow", "badge bamboo"]


@both_uplinks
async def test_a_reset_ends_all_streams_and_the_next_stream_has_another_connection(uplink: str, is_tls: bool) -> None:
    async with talking_to(is_tls, {"fault": "reset", "stream": 2, "at_s": 0.5}) as (recognizer, emulator):
        first = await Talk(recognizer).say("apple [300]")
        await first.until(lambda: first.results)
        second = await Talk(recognizer).say("arrow [700]")
        for talk in (second, first):
            await talk.until(lambda talk=talk: talk.end is not None)
            assert talk.end is not None
            assert talk.end.code == "UNAVAILABLE"
        next_one = await whole(recognizer)
        while next_one.end != StreamEnd("OK", ""):  # grpcio may not yet know that its connection is gone
            assert next_one.end is not None
            assert (next_one.end.code, uplink) == ("UNAVAILABLE", "grpcio")
            next_one = await whole(recognizer)
        assert next_one.finals == ["apple arrow", "badge bamboo"]
        assert emulator.state.faults.fired == {"reset": 1}


@both_uplinks
async def test_a_goodbye_ends_nothing(is_tls: bool) -> None:
    async with talking_to(is_tls, {"fault": "goaway", "stream": 1}) as (recognizer, emulator):
        first = await Talk(recognizer).say("apple [700]")
        await first.until(lambda: first.finals == ["apple"])
        assert (await whole(recognizer)).end == StreamEnd("OK", "")
        await first.say("arrow [700]")
        assert await first.ended() == StreamEnd("OK", "")
        assert first.finals == ["apple", "arrow"]
        assert emulator.state.faults.fired == {"goaway": 1}


@both_uplinks
async def test_a_stall_that_ends(is_tls: bool) -> None:
    async with talking_to(is_tls, {"fault": "stall", "for_s": 0.4}) as (recognizer, _):
        talk = await whole(recognizer)
        assert (talk.end, talk.finals) == (StreamEnd("OK", ""), ["apple arrow", "badge bamboo"])


@both_uplinks
async def test_a_stall_that_does_not_end_is_given_up(is_tls: bool) -> None:
    async with talking_to(is_tls, {"fault": "stall", "at_s": 0.8}) as (recognizer, emulator):
        talk = await Talk(recognizer).say("apple [300]")
        await talk.until(lambda: talk.results)
        await talk.say("arrow [700] badge [700]")
        assert (talk.end, talk.finals) == (None, [])
        talk.stream.cancel()
        await talk.until(lambda: talk.end is not None)
        assert talk.end is not None
        assert talk.end.code == "CANCELLED"
        admission = emulator.state.admission
        await until_called(admission, "close", lambda: not admission.open_streams)


@both_uplinks
async def test_a_slow_accept(is_tls: bool) -> None:
    async with talking_to(is_tls, {"fault": "slow_accept", "delay_s": 0.3}) as (recognizer, _):
        talk = await whole(recognizer)
        assert (talk.end, talk.finals) == (StreamEnd("OK", ""), ["apple arrow", "badge bamboo"])


@both_uplinks
async def test_connections_that_are_refused(is_tls: bool) -> None:
    """Open streams go on; new ones end with UNAVAILABLE as long as it lasts, and are served when it is over."""
    async with talking_to(is_tls, rule=PoolRule(streams=1)) as (recognizer, emulator):
        first = await Talk(recognizer).say("apple [300]")
        await first.until(lambda: first.results)
        await asyncio.to_thread(control, emulator.target, "/faults/now", {"fault": "refuse_connections", "for_s": 0.5})
        codes = ["OK"]
        async with asyncio.timeout(PATIENCE_S):
            while codes[-1] == "OK" or "UNAVAILABLE" not in codes:
                codes.append((await Talk(recognizer).ended()).code)
            while codes[-1] != "OK":
                codes.append((await Talk(recognizer).ended()).code)
        assert set(codes) == {"OK", "UNAVAILABLE"}
        assert await first.ended() == StreamEnd("OK", "")


@both_uplinks
async def test_finals_that_never_come_late_ones_and_doubled_ones(is_tls: bool) -> None:
    faults = (
        {"fault": "no_final", "final": 1, "stream": 1},
        {"fault": "late_final", "final": 1, "stream": 2},
        {"fault": "duplicate", "stream": 3},
    )
    async with talking_to(is_tls, *faults) as (recognizer, emulator):
        assert (await whole(recognizer)).finals == ["badge bamboo"]
        late = await whole(recognizer, "apple arrow [1500] badge [100]")
        assert late.finals == ["apple arrow", "badge"]
        doubled = await whole(recognizer)
        assert doubled.finals == ["apple arrow"] * 2 + ["badge bamboo"] * 2
        assert set(emulator.state.faults.fired) == {"no_final", "late_final", "duplicate"}


@both_uplinks
async def test_what_is_heard_is_the_same_to_the_sample(uplink: str, is_tls: bool) -> None:
    """As Google's own client hears it, whose results do not depend on the way."""
    async with talking_to(is_tls) as (recognizer, _):
        other = GoogleRecognizer(
            emulator_host=recognizer.address, uplink="grpcio", tls_roots=CERTIFICATE if is_tls else None
        )
        try:
            talks = [await whole(each, "apple [300] arrow [700] badge [50]") for each in (recognizer, other)]
        finally:
            await other.aclose()
        finals = [[result for result in talk.results if result.is_final] for talk in talks]
        assert finals[0] == finals[1] != []


def answering_first_with(body: bytes) -> Any:
    """A script for an ``H2Peer``: the first stream is answered with ``body``, others with a result."""

    def script(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            peer.answer(event.stream_id, body if event.stream_id == 1 else _RESULT)
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id != 1:
            peer.h2.send_headers(event.stream_id, OK, end_stream=True)

    return script


_RESULT = bytes(
    speech.StreamingRecognizeResponse.serialize(
        speech.StreamingRecognizeResponse(results=[{"alternatives": [{"transcript": "apple"}], "is_final": True}])
    )
)
_ERROR = bytes(
    speech.StreamingRecognizeResponse.serialize(
        speech.StreamingRecognizeResponse(error={"code": 3, "message": "no such model"})
    )
)


@both_uplinks
@pytest.mark.parametrize(
    ("body", "code", "words"), [(b"\xff\xff", "INTERNAL", ""), (_ERROR, "INVALID_ARGUMENT", "no such model")]
)
async def test_a_response_that_is_none_or_bears_an_error_ends_its_stream_only(
    body: bytes, code: str, words: str
) -> None:
    async with h2_server(answering_first_with(body), tls=peer_tls()) as (port, connections):
        recognizer = google_recognizer(f"127.0.0.1:{port}")
        talks = [Talk(recognizer), Talk(recognizer)]
        ends = [asyncio.create_task(talk.until(lambda talk=talk: talk.end is not None)) for talk in talks]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        # Which of them is the first on the wire is the uplink's matter.
        first, second = sorted(talks, key=lambda talk: talk.end is None)
        assert first.end is not None
        assert first.end.code == code
        assert words in first.end.message
        await second.until(lambda: second.results)
        assert await second.ended() == StreamEnd("OK", "")
        assert second.finals == ["apple"]
        await asyncio.gather(*ends)
        assert len(connections) == 1
        await recognizer.aclose()


@pytest.mark.parametrize("uplink", ["native"], indirect=True)
async def test_a_stream_that_a_connection_refuses_is_made_on_another() -> None:
    """The fullest that has room would be the same again."""

    def script(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            if peer is connections[0] and event.stream_id > 1:
                peer.h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            else:
                peer.answer(event.stream_id, _RESULT)
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id == 1:
            peer.h2.send_headers(event.stream_id, OK, end_stream=True)

    async with h2_server(script, tls=peer_tls()) as (port, connections):
        recognizer = google_recognizer(f"127.0.0.1:{port}")
        first = Talk(recognizer)
        await first.until(lambda: first.results)
        second = Talk(recognizer)
        assert await second.ended() == StreamEnd("OK", "")
        assert second.finals == ["apple"]
        assert (len(connections), recognizer.connections) == (2, 2)
        assert await first.ended() == StreamEnd("OK", "")
        await recognizer.aclose()


# --- TLS ----------------------------------------------------------------------------------------------------------


async def test_a_call_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_TLS_ROOTS", CERTIFICATE)
    emulator = await asyncio.to_thread(start_emulator, "--final-delay-s", "0", "--stream-limit-s", "3")
    try:
        async with serving(emulator.ready[1], stt_rotate_by_s=300) as served, Phone(served.url, "tls") as phone:
            await served.take_call(
                phone, "[300] apple arrow [900] autumn badge [900] bamboo basket [900]", at_pace=True
            )
            assert served.transcripts.of(phone.call_sid, "session_rotated")
            assert served.transcripts.of(phone.call_sid, "session_failed") == []
            assert served.transcripts.utterances(phone.call_sid) == ["apple arrow", "autumn badge", "bamboo basket"]
    finally:
        await asyncio.to_thread(emulator.stop)


@both_uplinks
async def test_a_certificate_that_nobody_vouches_for_is_refused(uplink: str, tmp_path: Path) -> None:
    certificates: dict[str, Any] = {"tls_cert": CERTIFICATE, "tls_key": KEY}
    stranger = tmp_path / "stranger.pem"
    make = [*("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")]
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate that does not fit")
    command = [*make, "-subj", "/CN=stranger", "-keyout", str(tmp_path / "key"), "-out", str(stranger)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    async with Emulator(Options(port=0, **certificates)) as emulator:
        recognizer = GoogleRecognizer(emulator_host=emulator.target, uplink=uplink, tls_roots=str(stranger))
        try:
            end = (await whole(recognizer)).end
        finally:
            await recognizer.aclose()
            await gone(emulator)
        assert end is not None
        assert end.code == "UNAVAILABLE"
        assert emulator.state.ended == {}


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe"])
@both_uplinks
def test_roots_that_cannot_be_read(uplink: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^STT_TLS_ROOTS=.*roots\.pem: cannot read PEM certificates from it"):
        GoogleRecognizer(emulator_host="127.0.0.1:1", uplink=uplink, tls_roots=str(path))


# --- which one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uplink", "address", "words"),
    [
        ("pigeon", "127.0.0.1:1", "the uplink 'pigeon': use auto, native, grpcio"),
        ("grpcio", "localhost", "the recognizer's endpoint 'localhost' has no port: use HOST:PORT"),
        ("grpcio", "localhost:http", "the recognizer's endpoint 'localhost:http' has no port: use HOST:PORT"),
        ("native", "localhost:²", "the recognizer's endpoint 'localhost:²' has no port: use HOST:PORT"),
    ],
)
def test_what_cannot_be_is_named(uplink: str, address: str, words: str) -> None:
    with pytest.raises(UsageError, match="^" + words):
        GoogleRecognizer(emulator_host=address, uplink=uplink)


async def test_without_the_library_grpcio_serves_and_one_line_says_so(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing() -> None:
        raise OSError("it is not here")

    monkeypatch.setattr(_http2, "load", missing)
    caplog.set_level(logging.INFO, "fastcall")
    async with serving(prompt_emulator, stt_uplink="auto") as served, Phone(served.url, "without") as phone:
        assert await served.take_call(phone, "[300] apple arrow [900]", at_pace=True) == ["apple arrow"]
    lines = [record.getMessage() for record in caplog.records if "it is not here" in record.getMessage()]
    assert lines == ["it is not here: streams use grpcio, at several times the cost (--uplink grpcio silences this)"]
    with pytest.raises(UsageError, match=r"^the native uplink: it is not here; install it"):
        GoogleRecognizer(emulator_host=prompt_emulator, uplink="native")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="how a library is hidden differs")
@pytest.mark.parametrize("uplink", ["auto", "grpcio", "native"])
async def test_a_machine_without_the_library(uplink: str, prompt_emulator: str, tmp_path: Path) -> None:
    """One in its place that cannot be loaded."""
    (tmp_path / "libnghttp2.so.14").write_bytes(b"no library")
    hidden = {"LD_LIBRARY_PATH": str(tmp_path), "STT_UPLINK": uplink}
    if uplink == "native":
        command = [sys.executable, "-m", "fastcall", "serve", "--port", "0", "--stt-endpoint", prompt_emulator]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            env=serve_environment(**hidden),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 2
        assert "libnghttp2" in done.stderr
        assert "--uplink grpcio" in done.stderr
        return
    async with serve_process("--stt-endpoint", prompt_emulator, **hidden) as server:
        server.wait_for(r"listening on .* over the grpcio uplink")
        told = [line for line in server.lines if "streams use grpcio" in line]
        assert len(told) == (1 if uplink == "auto" else 0)


async def test_the_option_overrides_the_setting_in_workers_too(prompt_emulator: str) -> None:
    arguments = ("--stt-endpoint", prompt_emulator, "--uplink", "grpcio", "--workers", "2")
    async with serve_process(*arguments, STT_UPLINK="native") as server:
        server.wait_for(r"listening on .* over the grpcio uplink")
