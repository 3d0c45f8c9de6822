"""Who may come in: each attack is turned away, counted, and touches no call beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fastcall.server import comeback
from fastcall.server.rate_limit import BURST, RATE_PER_S
from fastcall.simulator.twilio_client import PhoneAudio
from fastcall.twilio.signature import signature_of
from fastcall.twilio.stream_tokens import PARAMETER, mint_token
from peers import Phone, Served, ask, serve_process, serving, tones

pytestmark = pytest.mark.usefixtures("fast_path")

TOKEN, NEXT_TOKEN = "auth-token-of-the-account", "auth-token-that-replaces-it"
SECRET = "a-stream-secret-of-some-length"
ADMIN = "an-admin-token-of-some-length"
PUBLIC = "https://voice.example.com"
STREAM = "wss://voice.example.com/media"
SIGNED = {"twilio_auth_token": f"{TOKEN},{NEXT_TOKEN}", "public_url": PUBLIC}


def signed(url: str = STREAM, token: str = TOKEN) -> dict[str, Any]:
    return {"additional_headers": {"X-Twilio-Signature": signature_of(token, url)}}


async def says(served: Served, phone: Phone, text: str, parameters: dict[str, str] | None = None) -> None:
    """The call goes through, and the text is recognized."""
    await phone.start(parameters)
    await phone.say(tones(f"[300] {text} [300]"))
    assert await served.hang_up(phone) == [text]


# --- the signature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/media", signed()),
        ("/media/", signed()),
        ("/media", signed(STREAM + "/")),
        ("/media", signed("wss://voice.example.com:443/media")),
        ("/media", signed("wss://voice.example.com:443/media/")),
        ("/media", signed(token=NEXT_TOKEN)),
    ],
)
async def test_a_signed_stream_comes_in(path: str, options: dict[str, Any], prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **SIGNED) as served:
        async with Phone(f"ws://127.0.0.1:{served.port}{path}", "signed", **options) as phone:
            await says(served, phone, "apple")
        assert not served.server.metrics.auth_refusals


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "signature_missing"),
        (signed(token="another"), "signature_wrong"),
        (signed("https://voice.example.com/media"), "signature_wrong"),
        (signed("wss://voice.example.com/other"), "signature_wrong"),
        (signed("wss://127.0.0.1/media"), "signature_wrong"),
        ({"additional_headers": {"X-Twilio-Signature": ""}}, "signature_wrong"),
        ({"additional_headers": [("X-Twilio-Signature", signature_of(TOKEN, STREAM))] * 2}, "signature_missing"),
    ],
)
async def test_an_unsigned_stream_does_not(options: dict[str, Any], reason: str, prompt_emulator: str) -> None:
    async with serving(prompt_emulator, **SIGNED) as served:
        with pytest.raises(InvalidStatus) as refused:
            await Phone(served.url, "unsigned", **options).__aenter__()
        assert refused.value.response.status_code == 403
        assert served.server.metrics.auth_refusals == {reason: 1}
        assert served.server.live_calls == 0


# --- one-time tokens ------------------------------------------------------------------------------------------------


async def test_a_token_opens_one_stream_of_its_call(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, stream_secret=SECRET) as served:
        async with Phone(served.url, "token") as phone:
            token = mint_token(SECRET, phone.call_sid, now=time.time(), nonce="0" * 32)
            await says(served, phone, "apple", {PARAMETER: token})
        for name, parameters, reason in (
            ("token", {PARAMETER: token}, "token_used"),
            ("other", {PARAMETER: token}, "token_forged"),
            ("none", {}, "token_missing"),
        ):
            async with Phone(served.url, name) as phone:
                await phone.start(parameters)
                code, text = await phone.closed()
            assert (code, served.server.metrics.auth_refusals[reason]) == (1008, 1)
            assert reason in (text or "")
        assert len(served.transcripts.of("", "call_started")) == 0
        started = [record["call_sid"] for record in served.transcripts.records if record["event"] == "call_started"]
        assert len(started) == 1


async def test_a_token_that_has_expired_opens_nothing(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, stream_secret=SECRET) as served, Phone(served.url, "late") as phone:
        old = mint_token(SECRET, phone.call_sid, now=time.time() - 1000, nonce="0" * 32)
        await phone.start({PARAMETER: old})
        assert (await phone.closed())[0] == 1008
        assert served.server.metrics.auth_refusals == {"token_expired": 1}


# --- one socket a call ----------------------------------------------------------------------------------------------


async def test_a_second_socket_of_a_living_call_is_closed_and_the_call_goes_on(
    prompt_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comeback, "HOLD_S", 0.1)
    async with serving(prompt_emulator) as served, Phone(served.url, "call") as phone:
        await phone.start()
        await phone.say(tones("[300] apple"))
        async with Phone(served.url, "call") as thief:
            await thief.start()
            code, text = await thief.closed()
        assert (code, served.server.metrics.calls_refused) == (1008, {"second_socket": 1})
        assert "already has a socket" in (text or "")
        await phone.say(tones("arrow [300]"))
        assert await served.hang_up(phone) == ["apple arrow"]
        assert len(served.transcripts.of(phone.call_sid, "call_started")) == 1
        async with Phone(served.url, "call") as again:  # after its end the call may come again
            await again.start()
            await served.transcripts.wait_for(phone.call_sid, "call_started", 2)


async def test_a_dead_socket_gives_its_call_to_the_next(prompt_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comeback, "FALLEN_SILENT_S", 0.0)
    async with serving(prompt_emulator) as served, Phone(served.url, "call") as dead:
        await dead.start()
        await served.transcripts.wait_for(dead.call_sid, "session_started")
        async with Phone(served.url, "call") as phone:
            await phone.start()
            assert (await dead.closed())[0] == 1000
            await phone.say(tones("[300] apple [300]"))
            await served.hang_up(phone)
        assert len(served.transcripts.of(phone.call_sid, "call_started")) == 1
        assert "apple" in served.transcripts.utterances(phone.call_sid)
        assert served.server.snapshot()["calls_live"] == 0


# --- floods ---------------------------------------------------------------------------------------------------------


FRAME = PhoneAudio(b"\xff" * 160).payload(0)


def messages_by_fast_path(served: Served, phone: Phone) -> int:
    """How many of the phone's messages the fast path has taken."""
    runners = [runner for runner in served.server.calls.runners if runner.key.call_sid == phone.call_sid]
    return sum(runner.fast_path.messages for runner in runners if runner.fast_path is not None)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda phone, number: "{}", id="rubbish"),
        pytest.param(lambda phone, number: phone.messages.media(1, "/" * 216), id="the same audio again"),
        pytest.param(lambda phone, number: phone.messages.media(number, FRAME), id="audio"),
        pytest.param(lambda phone, number: "x" * 60_000, id="long rubbish"),
    ],
)
async def test_a_flood_of_messages_is_closed_and_the_call_beside_it_goes_on(
    make: Callable[[Phone, int], str], request: pytest.FixtureRequest, fast_path: str, prompt_emulator: str
) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "good") as good:
        await good.start()
        speaking = asyncio.create_task(good.speak(tones("[300] apple arrow autumn badge [500]")))
        async with Phone(served.url, "flood") as flood:
            await flood.start()
            sent, by_fast_path, began_at = 0, 0, time.monotonic()
            # websockets may abort a transport that asyncio has let go of already.
            with contextlib.suppress(ConnectionClosed, AttributeError):
                while sent < 20_000:
                    await flood.socket.send(make(flood, sent))
                    sent += 1
                    if sent % 100 == 0:
                        await asyncio.sleep(0)
                        by_fast_path = max(by_fast_path, messages_by_fast_path(served, flood))
            assert await flood.closed() == (1008, "far more messages than a call sends")
            if request.node.name.endswith("-audio]") and fast_path == "on":
                assert BURST / 2 < by_fast_path <= BURST + RATE_PER_S * (time.monotonic() - began_at)
            else:
                assert by_fast_path <= 1  # of the same audio the first is new
        await speaking
        assert await served.hang_up(good) == ["apple arrow autumn badge"]
        assert served.server.snapshot()["rejected_messages"]["flood"] == 1


async def test_what_a_call_may_not_send_is_counted_by_reason(prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "odd") as phone:
        await phone.start()
        other = json.loads(phone.messages.media(1, "/" * 216))
        for message in ("{", json.dumps({**other, "streamSid": "MZother"}), json.dumps({**other, "streamSid": "MZ"})):
            await phone.socket.send(message)
        await phone.start()
        assert (await phone.closed())[0] == 1008
        await served.transcripts.wait_for(phone.call_sid, "call_ended")
        counted = served.server.snapshot()["rejected_messages"]
    # `connected` of the second start is nothing that is refused.
    assert counted == {"not_json": 1, "wrong_stream": 2, "second_start": 1}


# --- readers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/metrics", "/events"])
@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({}, {"Host": "voice.example.com"}, 403),  # a page in a browser whose name points here
        ({}, {"X-Forwarded-For": "192.0.2.1"}, 403),
        ({}, {"Forwarded": "for=192.0.2.1"}, 403),
        ({"public_url": PUBLIC}, {}, 403),
        ({"admin_token": ADMIN}, {}, 403),
        ({"admin_token": ADMIN}, {"Authorization": f"Bearer {ADMIN}x"}, 403),
        ({"admin_token": ADMIN}, {"Authorization": ADMIN}, 403),
    ],
)
async def test_what_is_said_is_not_for_strangers(
    target: str, settings: dict[str, str], headers: dict[str, str], status: int, prompt_emulator: str
) -> None:
    async with serving(prompt_emulator, **settings) as served:
        assert (await ask(served.port, target, headers=headers)).status == status
        assert sum(served.server.metrics.auth_refusals.values()) == 1


async def test_who_bears_the_admin_token_may_read(prompt_emulator: str) -> None:
    async with serving(prompt_emulator, admin_token=ADMIN, public_url=PUBLIC) as served:
        answer = await ask(served.port, "/metrics", headers={"Authorization": f"Bearer {ADMIN}", "Host": "anything"})
        assert answer.status == 200


# --- secrets --------------------------------------------------------------------------------------------------------


async def test_no_secret_reaches_a_log_whatever_happens(prompt_emulator: str) -> None:
    variables = {
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_AUTH_TOKEN_SECONDARY": NEXT_TOKEN,
        "FASTCALL_PUBLIC_URL": PUBLIC,
        "FASTCALL_STREAM_SECRET": SECRET,
        "FASTCALL_ADMIN_TOKEN": ADMIN,
        "SPEECH_EMULATOR_HOST": prompt_emulator,
    }
    async with serve_process("--log-format", "json", "--host", "127.0.0.1", **variables) as process:
        url = process.ready[1]
        port = int(url.rpartition(":")[2].partition("/")[0])
        for options in ({}, signed(token="wrong")):
            with pytest.raises(InvalidStatus):
                await Phone(url, "unsigned", **options).__aenter__()
        form = [("CallSid", Phone(url, "all").call_sid), ("From", "+1")]
        signature = signature_of(TOKEN, f"{PUBLIC}/twiml", form)
        assert (await ask(port, "/twiml", method="POST", form=form)).status == 403
        twiml = await ask(port, "/twiml", method="POST", form=form, headers={"X-Twilio-Signature": signature})
        stream = next(ElementTree.fromstring(twiml.body).iter("Stream"))
        parameters = {each.get("name", ""): each.get("value", "") for each in stream}
        async with Phone(url, "all", **signed()) as phone:
            await phone.start(parameters)
            await phone.say(tones("[300] apple [300]"))
            await phone.stop()
            await asyncio.to_thread(process.wait_for, "Streaming session closed")
        async with Phone(url, "all", **signed()) as phone:
            await phone.start(parameters)
            assert (await phone.closed())[0] == 1008
        await ask(port, "/events", headers={"Authorization": f"Bearer {ADMIN}no"})
        metrics = await ask(port, "/metrics", headers={"Authorization": f"Bearer {ADMIN}"})
        assert 'fastcall_auth_refusals_total{reason="token_used"} 1.0' in metrics.body
        await asyncio.to_thread(process.stop)
    said = "\n".join([*process.lines, process.stderr, metrics.body])
    assert "refused: a request" in said
    secrets = [TOKEN, NEXT_TOKEN, SECRET, ADMIN, parameters[PARAMETER], parameters[PARAMETER].rpartition(".")[2]]
    secrets += [signature, signature_of(TOKEN, STREAM)]
    assert [secret for secret in secrets if secret in said] == []
