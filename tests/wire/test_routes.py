"""What plain requests are answered: TwiML, readiness, numbers, the live stream."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest

from fastcall.twilio.signature import signature_of
from fastcall.twilio.stream_tokens import PARAMETER
from peers import PATIENCE_S, Answer, Phone, Served, ask, next_record, reading, serving, tones, values_of

TOKEN, SECRET = "auth-token-of-the-account", "a-stream-secret-of-some-length"
PUBLIC = "https://voice.example.com/calls"
GUARDED = {"twilio_auth_token": TOKEN, "stream_secret": SECRET, "public_url": PUBLIC}
FORM = [("CallSid", "CA1"), ("From", "+1 & <x>"), ("To", ""), ("CallerName", "é\"'"), ("Digits", "")]


async def webhook(served: Served, form: list[tuple[str, str]] | None = None, **headers: str) -> Answer:
    form = FORM if form is None else form
    signature = signature_of(TOKEN, f"{PUBLIC}/twiml", form)
    return await ask(
        served.port, "/twiml", method="POST", form=form, headers={"X-Twilio-Signature": signature, **headers}
    )


def stream_of(answer: Answer) -> tuple[str, dict[str, str]]:
    """URL and parameters of the stream in the TwiML."""
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/xml")
    root = ElementTree.fromstring(answer.body.encode())
    assert [child.tag for child in root] == ["Connect"]
    (stream,) = root[0]
    return stream.get("url", ""), {each.get("name", ""): each.get("value", "") for each in stream}


# --- TwiML ----------------------------------------------------------------------------------------------------------


async def test_a_number_needs_one_url_and_nothing_else(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **GUARDED) as served:
        phone = Phone("", "number")
        url, parameters = stream_of(await webhook(served, [*FORM[1:], ("CallSid", phone.call_sid)]))
        assert url == "wss://voice.example.com/calls/media"
        assert parameters["From"] == "+1 & <x>"
        headers = {"X-Twilio-Signature": signature_of(TOKEN, url)}
        async with Phone(f"ws://127.0.0.1:{served.port}/media", "number", additional_headers=headers) as phone:
            assert await served.take_call(phone, "[300] apple arrow [300]", parameters) == ["apple arrow"]
        assert not served.server.metrics.auth_refusals


async def test_by_get_the_query_is_signed(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **GUARDED) as served:
        target = "/twiml?CallSid=CA1&From=%2B1"
        right = {"X-Twilio-Signature": signature_of(TOKEN, PUBLIC + target)}
        wrong = {"X-Twilio-Signature": signature_of(TOKEN, f"{PUBLIC}/twiml")}
        url, parameters = stream_of(await ask(served.port, target, headers=right))
        assert (url, parameters["From"]) == ("wss://voice.example.com/calls/media", "+1")
        assert parameters[PARAMETER]
        assert (await ask(served.port, target, headers=wrong)).status == 403


@pytest.mark.parametrize("form", [FORM, [("CallSid", "CA2")]])
async def test_without_an_auth_token_nobody_is_given_a_token(
    form: list[tuple[str, str]], prompt_emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    unsigned = {"stream_secret": SECRET, "public_url": PUBLIC}
    caplog.set_level("WARNING")
    async with serving(prompt_emulator, **unsigned) as served:
        at_start = [record.getMessage() for record in caplog.records]
        posted = await ask(served.port, "/twiml", method="POST", form=form)
        got = await ask(served.port, "/twiml?CallSid=CA1")
        assert (posted.status, got.status) == (403, 403)
        assert PARAMETER not in posted.body + got.body
        assert served.server.metrics.auth_refusals == {"twiml_unsigned": 2}
    assert len([line for line in at_start if "/twiml is disabled" in line and "--insecure-twiml" in line]) == 1
    assert SECRET not in caplog.text
    async with serving(prompt_emulator, options={"insecure_twiml": True}, **unsigned) as served:
        _, parameters = stream_of(await ask(served.port, "/twiml", method="POST", form=form))
        assert parameters[PARAMETER]
    async with serving(prompt_emulator, public_url=PUBLIC) as served:  # nothing is asked of a stream
        assert PARAMETER not in stream_of(await ask(served.port, "/twiml", method="POST", form=form))[1]


@pytest.mark.parametrize("public", ["https://user:pw@voice.example.com/calls", PUBLIC])
@pytest.mark.parametrize("signed", ["https://user:pw@voice.example.com/calls", PUBLIC])
async def test_a_webhook_with_credentials_in_its_address(public: str, signed: str, prompt_emulator: str) -> None:
    """Twilio's page says that they are dropped before signing; libraries of Twilio's sign them."""
    async with serving(prompt_emulator, **{**GUARDED, "public_url": public}) as served:
        headers = {"X-Twilio-Signature": signature_of(TOKEN, f"{signed}/twiml", FORM)}
        answer = await ask(served.port, "/twiml", method="POST", form=FORM, headers=headers)
        if "pw" in signed and "pw" not in public:
            assert answer.status == 403
        else:
            assert stream_of(answer)[0] == "wss://voice.example.com/calls/media"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_the_webhooks_address_says_reaches_the_agent(method: str, prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **GUARDED) as served:
        phone = Phone("", "tenant")
        own = f"tenant=a%26b&empty=&fastcall_token=x&fastcall_ticket=y&long={'x' * 500}&From=me"
        form = [
            ("CallSid", phone.call_sid),
            ("From", "+1"),
            ("FromCity", "X"),
            ("SipHeader_X-a", "b"),
            ("StirVerstat", "c"),
            ("Direction", "outbound-api"),
            ("AnsweredBy", "machine_start"),
        ]
        if method == "GET":
            target = f"/twiml?{own}&{urlencode(form)}"
            headers = {"X-Twilio-Signature": signature_of(TOKEN, PUBLIC + target)}
            answer = await ask(served.port, target, headers=headers)
        else:
            target = f"/twiml?{own}"
            headers = {"X-Twilio-Signature": signature_of(TOKEN, PUBLIC + target, form)}
            answer = await ask(served.port, target, method="POST", form=form, headers=headers)
        url, parameters = stream_of(answer)
        assert parameters.keys() == {"tenant", "From", "Direction", "AnsweredBy", PARAMETER}
        assert (parameters["tenant"], parameters["From"]) == ("a&b", "+1")
        headers = {"X-Twilio-Signature": signature_of(TOKEN, url)}
        async with Phone(f"ws://127.0.0.1:{served.port}/media", "tenant", additional_headers=headers) as phone:
            await phone.start(parameters)
            assert (await served.transcripts.wait_for(phone.call_sid, "machine_detected"))["reason"] == "twilio"


@pytest.mark.parametrize(
    "form", [FORM[:-1], [*FORM, ("a", "b")], [("CallSid", "CA2"), *FORM[1:]], []], ids=["less", "more", "other", "none"]
)
async def test_a_form_that_was_changed_is_refused(form: list[tuple[str, str]], prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **GUARDED) as served:
        signature = signature_of(TOKEN, f"{PUBLIC}/twiml", [*FORM, ("Digits", "1")])
        answer = await ask(served.port, "/twiml", method="POST", form=form, headers={"X-Twilio-Signature": signature})
        assert answer.status == 403
        assert served.server.metrics.auth_refusals == {"signature_wrong": 1}


async def test_without_a_call_or_an_address_there_is_no_twiml(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **GUARDED) as served:
        assert (await webhook(served, FORM[1:])).status == 400
    async with serving(prompt_emulator) as served:
        answer = await ask(served.port, "/twiml?CallSid=CA1")
        assert answer.status == 503
        assert "FASTCALL_PUBLIC_URL" in answer.body


async def test_when_the_places_are_taken_a_caller_hears_busy_or_goes_elsewhere(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, options={"max_calls": 2}, **GUARDED) as served:
        for call_sid in ("CA1", "CA2", "CA1"):
            stream_of(await webhook(served, [("CallSid", call_sid)]))
        assert '<Reject reason="busy" />' in (await webhook(served, [("CallSid", "CA3")])).body
        assert served.server.metrics.calls_refused == {"busy": 1}
        ready = await ask(served.port, "/readyz")
        assert (ready.status, ready.body) == (503, "nearly all 2 places are taken\n")
    fallback = "https://example.com/voicemail?a=b&c=d"
    async with serving(prompt_emulator, options={"max_calls": 1}, fallback_url=fallback, **GUARDED) as served:
        await webhook(served, [("CallSid", "CA1")])
        root = ElementTree.fromstring((await webhook(served, [("CallSid", "CA3")])).body.encode())
        assert [(each.tag, each.text) for each in root] == [("Redirect", fallback)]


# --- readiness ------------------------------------------------------------------------------------------------------


async def test_ready_is_who_can_take_calls(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        assert (await ask(served.port, "/readyz")).status == 200
    async with serving("127.0.0.1:1") as served:  # nothing listens there
        answer = await ask(served.port, "/readyz")
        assert (answer.status, answer.body) == (503, "the recognizer cannot be reached\n")
        assert (await ask(served.port, "/healthz")).status == 200


async def test_who_drains_is_not_ready_and_lets_calls_end(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **GUARDED) as served:
        phone = Phone("", "promised")
        url, parameters = stream_of(await webhook(served, [("CallSid", phone.call_sid)]))
        headers = {"X-Twilio-Signature": signature_of(TOKEN, url)}
        draining = asyncio.create_task(served.server.drain())
        while (await ask(served.port, "/readyz")).body != "draining\n":
            pass
        assert "busy" in (await webhook(served, [("CallSid", "CA9")])).body
        async with Phone(f"ws://127.0.0.1:{served.port}/media", "promised", additional_headers=headers) as phone:
            await served.take_call(phone, "[300] apple [300]", parameters)
        await draining
        assert served.transcripts.utterances(phone.call_sid) == ["apple"]


# --- numbers --------------------------------------------------------------------------------------------------------


async def test_the_numbers_of_a_call(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, handler="talkers:answer_each") as served:
        async with Phone(served.url, "numbers") as phone:
            await phone.start()
            await phone.speak(tones("[300] apple arrow autumn [700]"))
            await phone.socket.send("no JSON")
            await asyncio.wait_for(phone.socket.recv(), PATIENCE_S)
            live = values_of((await ask(served.port, "/metrics")).body)
            await served.hang_up(phone)
        answer = await ask(served.port, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert (live["fastcall_calls_live"], live["fastcall_calls_ended_total"]) == (1, 0)
    assert live["fastcall_frames_total"] > 50
    after = values_of(answer.body)
    assert (after["fastcall_calls_live"], after["fastcall_calls_started_total"]) == (0, 1)
    assert (after["fastcall_calls_ended_total"], after["fastcall_sockets_waiting"]) == (1, 1)
    assert after["fastcall_frames_total"] == live["fastcall_frames_total"]
    assert after['fastcall_rejected_messages_total{reason="not_json"}'] == 1
    for name in ("audio_age", "batch_wait", "partial_latency", "commit_latency", "first_response"):
        assert after[f"fastcall_{name}_seconds_count"] >= 1, name
        assert after[f'fastcall_{name}_seconds_bucket{{le="+Inf"}}'] == after[f"fastcall_{name}_seconds_count"]
    requests = after["fastcall_audio_age_seconds_count"]
    # 150 ms of audio make a request: the oldest of it waited for the rest.
    assert after["fastcall_batch_wait_seconds_sum"] / requests >= 0.12
    assert after["fastcall_audio_age_seconds_sum"] > 0
    # The hangover is a part of it.
    assert after["fastcall_commit_latency_seconds_sum"] / after["fastcall_commit_latency_seconds_count"] >= 0.5
    assert after["fastcall_first_response_seconds_sum"] >= after["fastcall_commit_latency_seconds_sum"]


# --- the live stream ------------------------------------------------------------------------------------------------


async def test_the_live_stream_is_the_transcript_stream(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, reading(served.port) as reader:
        async with Phone(served.url, "live") as phone:
            await served.take_call(phone, "[300] apple arrow [300]")
        records: list[Any] = []
        while not records or records[-1]["event"] != "call_ended":
            records.append(await next_record(reader))
        stopping = asyncio.create_task(served.server.stop())
        assert await next_record(reader) is None
        await stopping
    assert records == served.transcripts.records
    assert [each["text"] for each in records if each["event"] == "utterance_end"] == ["apple arrow"]


async def test_a_reader_that_does_not_read_delays_nobody(prompt_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastcall.server.broadcast.MAX_WAITING_LINES", 10)
    async with serving(prompt_emulator) as served, reading(served.port), Phone(served.url, "unread") as phone:
        await phone.start()
        await served.transcripts.wait_for(phone.call_sid, "session_started")
        # More than sockets keep: the reader's own 64 KiB, and what the kernel holds for both sides.
        for _ in range(200):
            served.server.frontend.broadcast.write("x" * 100_000 + "\n")
            await asyncio.sleep(0)
        await phone.say(tones("[300] apple arrow [300]"))
        assert await served.hang_up(phone) == ["apple arrow"]
        assert served.server.snapshot()["events_dropped"] > 0


async def test_readers_that_are_gone_before_they_are_answered_leave_no_place_taken(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served:
        for target in ("/events", "/console/batches?call=CA1"):
            for _ in range(40):
                _, writer = await asyncio.open_connection("127.0.0.1", served.port)
                reset_on_close(writer)
                writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                writer.transport.abort()
        async with asyncio.timeout(PATIENCE_S):
            broadcast = served.server.frontend.broadcast
            while broadcast.is_read or broadcast.watched:
                await ask(served.port, "/healthz")


def reset_on_close(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
