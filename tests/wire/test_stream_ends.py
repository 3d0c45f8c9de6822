"""How a stream may end, on both uplinks: with each status, and in ways that are none. One table says what follows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import h2.events
import pytest
from google.cloud import speech_v1p1beta1 as speech

from fastcall.google.grpc_status import STATUS_NAMES
from fastcall.recognition import machine
from h2peer import ANSWER, OK, H2Peer, grpc_message, h2_server
from peers import Phone, Served, ask, both_uplinks, peer_tls, serving, tones

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
LATER_S = 0.2


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


def later(end: End) -> End:
    def end_later(peer: H2Peer, stream: int) -> None:
        asyncio.get_running_loop().call_later(LATER_S, lambda: (end(peer, stream), peer.flush()))

    return end_later


def lost(peer: H2Peer, stream: int) -> None:
    peer.transport.abort()


FATAL = {"INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"}
# As in the table: what happens, the status that either uplink calls it by, a word of what the log advises.
TRIED_AGAIN: dict[str, tuple[End, set[str], str]] = {
    **{
        name: (status(str(number)), {name}, "etrying" if name != "RESOURCE_EXHAUSTED" else "quota")
        for number, name in enumerate(STATUS_NAMES)
        if name not in FATAL
    },
    "NOT_FOUND": (status("5"), {"NOT_FOUND"}, "GOOGLE_CLOUD_PROJECT"),
    "FAILED_PRECONDITION": (status("9"), {"FAILED_PRECONDITION"}, "billing"),
    "an unlisted OUT_OF_RANGE": (status("11", "a new limit of 7 parsecs"), {"OUT_OF_RANGE"}, "report this line"),
    "audio at another pace": (
        status("11", "Audio data is being streamed too fast."),
        {"OUT_OF_RANGE"},
        "too slowly or",
    ),
    "a limit that is met at once": (
        status("11", "Exceeded maximum allowed stream duration of 305 seconds."),
        {"OUT_OF_RANGE"},
        "A limit of the recognizer",
    ),
    "a message that is too large": (
        status("8", "Received message larger than max (4194305 vs. 4194304)"),
        {"RESOURCE_EXHAUSTED"},
        "ended the stream",
    ),
    "a status that is not known": (status("99"), {"UNKNOWN"}, "ended the stream"),
    "END_STREAM without trailers": (body(b""), {"UNKNOWN"}, "ended the stream"),
    "END_STREAM with the headers": (headers_only, {"UNKNOWN"}, "ended the stream"),
    "END_STREAM within a message": (body(grpc_message(RESULT)[:9]), {"INTERNAL", "UNKNOWN"}, "ended the stream"),
    "RST_STREAM(NO_ERROR)": (reset(0), {"INTERNAL", "UNKNOWN"}, "ended the stream"),
    "RST_STREAM(INTERNAL_ERROR)": (reset(2), {"INTERNAL"}, "ended the stream"),
    "RST_STREAM(ENHANCE_YOUR_CALM)": (reset(11), {"RESOURCE_EXHAUSTED"}, "more slowly"),
    "RST_STREAM(INADEQUATE_SECURITY)": (reset(12), {"PERMISSION_DENIED"}, "proxy"),
    "a connection that is lost": (lost, {"UNAVAILABLE"}, "cannot be reached"),
    "an HTML body": (html(200), {"UNKNOWN", "INTERNAL"}, "retrying"),
    **{f"HTTP {number}": (html(number), {"UNKNOWN", "INTERNAL"}, "proxy") for number in (302, 400, 408, 500)},
    **{f"HTTP {number}": (html(number), {"UNAVAILABLE"}, "cannot be reached") for number in (429, 502, 503, 504)},
}
FINAL: dict[str, tuple[End, set[str], str]] = {
    "INVALID_ARGUMENT": (status("3"), {"INVALID_ARGUMENT"}, "GCP_STT_LANGUAGE"),
    "PERMISSION_DENIED": (status("7"), {"PERMISSION_DENIED"}, "enable the API"),
    "UNIMPLEMENTED": (status("12"), {"UNIMPLEMENTED"}, "check its address"),
    "UNAUTHENTICATED": (status("16"), {"UNAUTHENTICATED"}, "GOOGLE_APPLICATION_CREDENTIALS"),
    "a resource that is none": (
        status("3", "Invalid resource field value in the request."),
        {"INVALID_ARGUMENT"},
        "GOOGLE_CLOUD_PROJECT",
    ),
    "HTTP 401": (html(401), {"UNAUTHENTICATED"}, "GOOGLE_APPLICATION_CREDENTIALS"),
    "HTTP 403": (html(403), {"PERMISSION_DENIED"}, "proxy"),
    "HTTP 404": (html(404), {"UNIMPLEMENTED"}, "proxy"),
}

# Nothing is wrong then: the call goes on at once, for a reason that the transcript stream has. What is logged.
NO_FAILURE: dict[str, tuple[End, str, list[str]]] = {
    "a limit": (later(status("11", "Exceeded maximum allowed stream duration of 305 seconds.")), "limit", []),
    "a limit of version 2": (later(status("10", "Max duration of 5 minutes reached for stream.")), "limit", []),
    "a location without the model": (
        status("3", 'The model "phone_call" does not exist in the location eu.'),
        "model",
        ["or GCP_STT_LOCATION to a location that has the model."],
    ),
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


def advice_in(caplog: pytest.LogCaptureFixture, beginning: str) -> str:
    (line,) = (line for line in caplog.messages if line.startswith(beginning))
    return line


@contextlib.asynccontextmanager
async def a_word_said_to(recognizer: Recognizer) -> AsyncIterator[tuple[Served, Phone]]:
    """A server, and a call in which a word was said."""
    async with (
        h2_server(recognizer, tls=peer_tls()) as (port, _),
        serving(f"127.0.0.1:{port}") as served,
        Phone(served.url, "ends") as phone,
    ):
        await phone.start()
        await phone.say(tones("[100] apple [700]"))
        yield served, phone


@both_uplinks
@pytest.mark.parametrize("name", TRIED_AGAIN)
async def test_an_end_after_which_another_stream_is_tried(name: str, caplog: pytest.LogCaptureFixture) -> None:
    end, codes, advice = TRIED_AGAIN[name]
    recognizer = Recognizer(end)
    async with a_word_said_to(recognizer) as (served, phone):
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
    async with a_word_said_to(recognizer) as (served, phone):
        failed = await served.transcripts.wait_for(phone.call_sid, "session_failed")
    assert failed["text"].partition(":")[0] in codes
    assert advice in advice_in(caplog, "recognition failed: ")
    assert recognizer.streams == 1


@both_uplinks
@pytest.mark.parametrize("name", NO_FAILURE)
async def test_an_end_that_is_no_failure(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(machine, "PAUSE_S", LATER_S / 2)  # a limit that comes sooner is taken for a failure
    end, cause, advice = NO_FAILURE[name]
    recognizer = Recognizer(end)
    async with a_word_said_to(recognizer) as (served, phone):
        assert (await served.transcripts.wait_for(phone.call_sid, "session_rotated"))["text"] == cause
        assert (await served.transcripts.wait_for(phone.call_sid, "final"))["text"] == "apple"
        assert served.transcripts.of(phone.call_sid, "session_failed") == []
    assert recognizer.streams == 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    said = [line.removesuffix(f" call={phone.call_sid}") for line in warnings]
    assert [line[-len(ending) :] for line, ending in zip(said, advice, strict=True)] == advice


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
    assert "GCP_STT_LANGUAGE" in advice_in(caplog, "the recognizer returned no words for 5 s")
