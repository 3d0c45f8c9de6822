"""How a stream may end, on both uplinks: with each status, and in ways that are none. One table says what follows."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import h2.events
import pytest
from google.cloud import speech_v1p1beta1 as speech

from fastcall.google.grpc_status import STATUS_NAMES
from h2peer import ANSWER, OK, H2Peer, grpc_message, h2_server
from peers import CERTIFICATE, KEY, Phone, ask, both_uplinks, serving, tones, way

RESULT = bytes(
    speech.StreamingRecognizeResponse.serialize(
        speech.StreamingRecognizeResponse(
            results=[
                {"alternatives": [{"transcript": "apple"}], "is_final": True, "result_end_time": timedelta(seconds=1)}
            ]
        )
    )
)
End = Callable[[H2Peer, int], None]


def status(number: str, message: str = "why") -> End:
    def end(peer: H2Peer, stream: int) -> None:
        peer.h2.send_headers(stream, [*ANSWER, ("grpc-status", number), ("grpc-message", message)], end_stream=True)

    return end


def html(number: int) -> End:
    def end(peer: H2Peer, stream: int) -> None:
        peer.h2.send_headers(stream, [(":status", str(number)), ("content-type", "text/html")])
        peer.h2.send_data(stream, b"<html>Sign in to the network</html>", end_stream=True)

    return end


def reset(code: int) -> End:
    def end(peer: H2Peer, stream: int) -> None:
        peer.h2.send_headers(stream, ANSWER)
        peer.h2.reset_stream(stream, code)

    return end


def body(data: bytes) -> End:
    def end(peer: H2Peer, stream: int) -> None:
        peer.h2.send_headers(stream, ANSWER)
        peer.h2.send_data(stream, data, end_stream=True)

    return end


def headers_only(peer: H2Peer, stream: int) -> None:
    peer.h2.send_headers(stream, ANSWER, end_stream=True)


def lost(peer: H2Peer, stream: int) -> None:
    peer.transport.abort()


FATAL = {"INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"}
# As in the table: what happens, the status that either uplink calls it by, a word of what the log advises.
TRIED_AGAIN: dict[str, tuple[End, set[str], str]] = {
    **{
        name: (status(str(number)), {name}, "trying again" if name != "RESOURCE_EXHAUSTED" else "quota")
        for number, name in enumerate(STATUS_NAMES)
        if name not in FATAL
    },
    "NOT_FOUND": (status("5"), {"NOT_FOUND"}, "GOOGLE_CLOUD_PROJECT"),
    "FAILED_PRECONDITION": (status("9"), {"FAILED_PRECONDITION"}, "billing"),
    "an unlisted OUT_OF_RANGE": (status("11", "a new limit of 7 parsecs"), {"OUT_OF_RANGE"}, "report this line"),
    "a status that is not known": (status("99"), {"UNKNOWN"}, "broke off"),
    "END_STREAM without trailers": (body(b""), {"UNKNOWN"}, "broke off"),
    "END_STREAM with the headers": (headers_only, {"UNKNOWN"}, "broke off"),
    "END_STREAM within a message": (body(grpc_message(RESULT)[:9]), {"INTERNAL", "UNKNOWN"}, "broke off"),
    "RST_STREAM(NO_ERROR)": (reset(0), {"INTERNAL", "UNKNOWN"}, "broke off"),
    "RST_STREAM(INTERNAL_ERROR)": (reset(2), {"INTERNAL"}, "broke off"),
    "RST_STREAM(ENHANCE_YOUR_CALM)": (reset(11), {"RESOURCE_EXHAUSTED"}, "more slowly"),
    "RST_STREAM(INADEQUATE_SECURITY)": (reset(12), {"PERMISSION_DENIED"}, "proxy"),
    "a connection that is lost": (lost, {"UNAVAILABLE"}, "cannot be reached"),
    "an HTML body": (html(200), {"UNKNOWN", "INTERNAL"}, "trying again"),
    **{f"HTTP {number}": (html(number), {"UNKNOWN", "INTERNAL"}, "proxy") for number in (302, 400, 408, 500)},
    **{f"HTTP {number}": (html(number), {"UNAVAILABLE"}, "cannot be reached") for number in (429, 502, 503, 504)},
}
FINAL: dict[str, tuple[End, set[str], str]] = {
    "INVALID_ARGUMENT": (status("3"), {"INVALID_ARGUMENT"}, "GCP_STT_LANGUAGE"),
    "PERMISSION_DENIED": (status("7"), {"PERMISSION_DENIED"}, "enable the API"),
    "UNIMPLEMENTED": (status("12"), {"UNIMPLEMENTED"}, "check its address"),
    "HTTP 403": (html(403), {"PERMISSION_DENIED"}, "proxy"),
    "HTTP 404": (html(404), {"UNIMPLEMENTED"}, "proxy"),
}


class Recognizer:
    """Ends the first stream as it is told to, and serves the others."""

    def __init__(self, end: End) -> None:
        self.streams = 0
        self._end = end
        self._served: set[tuple[int, int]] = set()

    def __call__(self, peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.streams += 1
            if self.streams == 1:
                self._end(peer, event.stream_id)
            else:
                self._served.add((id(peer), event.stream_id))
                peer.answer(event.stream_id, RESULT)
        elif isinstance(event, h2.events.StreamEnded) and (id(peer), event.stream_id) in self._served:
            peer.h2.send_headers(event.stream_id, OK, end_stream=True)


def peer_tls() -> ssl.SSLContext | None:
    if not way()["stt_tls_roots"]:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    context.set_alpn_protocols(["h2"])
    return context


def advice_in(caplog: pytest.LogCaptureFixture, beginning: str) -> str:
    (line,) = (line for line in caplog.messages if line.startswith(beginning))
    return line


@both_uplinks
@pytest.mark.parametrize("name", TRIED_AGAIN)
async def test_an_end_after_which_another_stream_is_tried(name: str, caplog: pytest.LogCaptureFixture) -> None:
    end, codes, advice = TRIED_AGAIN[name]
    recognizer = Recognizer(end)
    async with (
        h2_server(recognizer, tls=peer_tls()) as (port, _),
        serving(f"127.0.0.1:{port}") as served,
        Phone(served.url, "ends") as phone,
    ):
        await phone.start()
        await phone.say(tones("[100] apple [700]"))
        failed = await served.transcripts.wait_for(phone.call_sid, "session_failed")
        assert (await served.transcripts.wait_for(phone.call_sid, "session_rotated"))["text"] == "reconnect"
        assert (await served.transcripts.wait_for(phone.call_sid, "final"))["text"] == "apple"
        assert len(served.transcripts.of(phone.call_sid, "session_failed")) == 1
    assert failed["text"].partition(":")[0] in codes
    assert advice in advice_in(caplog, "recognition is interrupted: ")


@both_uplinks
@pytest.mark.parametrize("name", FINAL)
async def test_an_end_that_no_other_stream_can_better(name: str, caplog: pytest.LogCaptureFixture) -> None:
    end, codes, advice = FINAL[name]
    recognizer = Recognizer(end)
    async with (
        h2_server(recognizer, tls=peer_tls()) as (port, _),
        serving(f"127.0.0.1:{port}") as served,
        Phone(served.url, "ends") as phone,
    ):
        await phone.start()
        await phone.say(tones("[100] apple [700]"))
        failed = await served.transcripts.wait_for(phone.call_sid, "session_failed")
    assert failed["text"].partition(":")[0] in codes
    assert advice in advice_in(caplog, "recognition failed: ")
    assert recognizer.streams == 1


async def test_speech_without_words_is_told_as_an_event_and_a_number(caplog: pytest.LogCaptureFixture) -> None:
    """It takes 5 s by the clock."""

    def answers_without_words(peer: H2Peer, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            peer.answer(event.stream_id)
        elif isinstance(event, h2.events.DataReceived):
            peer.credit(event)
        elif isinstance(event, h2.events.StreamEnded):
            peer.h2.send_headers(event.stream_id, OK, end_stream=True)

    async with (
        h2_server(answers_without_words, tls=peer_tls()) as (port, _),
        serving(f"127.0.0.1:{port}", stt_replay_speed=5) as served,
        Phone(served.url, "wordless") as phone,
    ):
        await phone.start()
        await phone.say(tones("apple arrow " * 15))
        told = await served.transcripts.wait_for(phone.call_sid, "no_words")
        assert told["end_ms"] - told["start_ms"] >= 5000
        assert "fastcall_no_words_total 1.0" in (await ask(served.port, "/metrics")).body
    assert "GCP_STT_LANGUAGE" in advice_in(caplog, "speech was heard for 5 s")
