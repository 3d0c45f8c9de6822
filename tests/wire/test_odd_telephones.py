"""Telephones that are not quite Twilio's: odd fields, other formats, bad clocks, audio that stops and comes back."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

import talkers
from fastcall._codec import alaw_decode, alaw_encode, mulaw_decode, mulaw_encode
from fastcall.server import call_runner as runner
from peers import Phone, both_paths, serving, tones
from waiting import until_so

WORDS = "[200] apple arrow [300]"


def changed(message: str, change: Callable[[dict[str, Any]], object]) -> str:
    fields = json.loads(message)
    change(fields)
    return json.dumps(fields)


async def start(phone: Phone, change: Callable[[dict[str, Any]], object] = lambda start: None) -> None:
    await phone.socket.send(phone.messages.connected())
    await phone.socket.send(changed(phone.messages.start({"name": "Jane"}), lambda fields: change(fields["start"])))


ODD_STARTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a parameter that is null": lambda start: start["customParameters"].update(odd=None),
    "a parameter that is a number": lambda start: start["customParameters"].update(odd=7),
    "a parameter that is true": lambda start: start["customParameters"].update(odd=True),
    "a parameter that is too long": lambda start: start["customParameters"].update(odd="x" * 600),
    "parameters that are a list": lambda start: start.update(customParameters=[1]),
    "an account that is a number": lambda start: start.update(accountSid=7),
    "tracks that are a text": lambda start: start.update(tracks="inbound"),
}


@pytest.mark.parametrize("what", ODD_STARTS)
async def test_an_odd_field_that_nobody_needs_is_left_out_and_the_call_goes_on(
    what: str, prompt_emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "odd") as phone:
        await start(phone, ODD_STARTS[what])
        await phone.say(tones(WORDS))
        await served.hang_up(phone)
        assert served.server.snapshot()["rejected_messages"] == {"dropped_field": 1}
    assert served.transcripts.utterances(phone.call_sid) == ["apple arrow"]
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert line.startswith("left out of the start message: ")


@pytest.mark.parametrize("name", ["accountSid", "tracks", "customParameters", "mediaFormat"])
async def test_null_is_the_same_as_missing(name: str, prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "null") as phone:
        await start(phone, lambda start: start.update({name: None}))
        await served.transcripts.wait_for(phone.call_sid, "session_started")
        assert served.server.snapshot()["rejected_messages"] == {}


WRONG_STARTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no call": (lambda start: start.pop("callSid"), "'callSid' is not a string of 1 to 128 characters"),
    "the outbound track alone": (
        lambda start: start.update(tracks=["outbound"]),
        "the stream carries outbound only; the caller's audio is the inbound track",
    ),
    "a format that is not served": (
        lambda start: start.update(mediaFormat={"encoding": "OPUS", "sampleRate": 16000, "channels": 1}),
        "'mediaFormat' is OPUS at 16000 Hz, channels 1; supported are PCMU (audio/x-mulaw) and PCMA at 8000 Hz, ",
    ),
}


@pytest.mark.parametrize("what", WRONG_STARTS)
async def test_a_start_that_cannot_be_served_is_closed_at_once_with_the_reason(what: str, prompt_emulator: str) -> None:
    change, reason = WRONG_STARTS[what]
    async with serving(prompt_emulator, start_timeout_s=3600) as served, Phone(served.url, "wrong") as phone:
        await start(phone, change)
        code, found = await phone.closed()
    assert code == 1008
    assert found is not None
    assert found.startswith(reason[:120])


@both_paths
async def test_messages_need_not_name_their_stream_once_start_has(prompt_emulator: str) -> None:
    def unnamed(message: str) -> str:
        return changed(message, lambda fields: fields.pop("streamSid"))

    async with serving(prompt_emulator) as served, Phone(served.url, "signalwire") as phone:
        await start(phone)
        for message in phone.media(tones(WORDS)):
            await phone.socket.send(unnamed(message))
        await phone.socket.send(unnamed(phone.messages.stop()))
        await served.transcripts.wait_for(phone.call_sid, "call_ended")
        assert served.server.snapshot()["rejected_messages"] == {}
    assert served.transcripts.utterances(phone.call_sid) == ["apple arrow"]


async def test_a_subprotocol_may_be_asked_for(prompt_emulator: str) -> None:
    headers = {"Sec-WebSocket-Protocol": "audio.example.org, other"}
    async with serving(prompt_emulator) as served, Phone(served.url, "sub", additional_headers=headers) as phone:
        await phone.start()
        await served.transcripts.wait_for(phone.call_sid, "session_started")


def at_16_khz(pcm: bytes) -> bytes:
    samples = array("h", pcm)
    pairs = zip(samples, [*samples[1:], 0], strict=True)
    return array("h", [each for a, b in pairs for each in (a, (a + b) // 2)]).tobytes()


FORMATS: dict[str, tuple[dict[str, Any], Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "PCMA": (
        {"encoding": "PCMA", "sampleRate": 8000, "channels": 1},
        lambda mulaw: alaw_encode(mulaw_decode(mulaw)),
        lambda payload: mulaw_encode(alaw_decode(payload)),
    ),
    "L16": ({"encoding": "audio/L16", "sampleRate": 8000, "channels": 1}, mulaw_decode, mulaw_encode),
    "L16 at 16 kHz": (
        {"encoding": "L16", "sampleRate": "16000", "channels": 1},
        lambda mulaw: at_16_khz(mulaw_decode(mulaw)),
        lambda payload: mulaw_encode(array("h", payload)[1::2]),
    ),
}


@pytest.mark.parametrize("name", FORMATS)
async def test_the_format_that_start_names_is_obeyed_both_ways(name: str, prompt_emulator: str) -> None:
    media_format, encode, decode = FORMATS[name]
    async with (
        serving(prompt_emulator, handler="talkers:talk_on", barge_in=False) as served,
        Phone(served.url, "format", max_queue=None) as phone,
    ):
        await start(phone, lambda start: start.update(mediaFormat=media_format))
        answer = json.loads(await phone.socket.recv())
        audio = tones(WORDS)
        for at in range(0, len(audio) - 159, 160):
            payload = base64.b64encode(encode(audio[at : at + 160])).decode()
            (message,) = phone.media(b"\xff" * 160)
            await phone.socket.send(message.replace(json.loads(message)["media"]["payload"], payload))
        await served.transcripts.wait_for(phone.call_sid, "utterance_end")
        assert await served.hang_up(phone) == ["apple arrow"]
    heard = decode(base64.b64decode(answer["media"]["payload"]))
    expected = talkers.SPEECH[: len(heard)]
    assert len(heard) > 800
    if name == "PCMA":
        expected = mulaw_encode(alaw_decode(alaw_encode(mulaw_decode(expected))))
    assert mulaw_decode(heard) == mulaw_decode(expected)


CLOCKS: dict[str, Callable[[int, int], int | None]] = {
    "jitter of 12 ms": lambda at_ms, number: at_ms + (12, -12, 5, -9, 11, 0, -12, 12)[number % 8],
    "frozen": lambda at_ms, number: 155,
    "missing": lambda at_ms, number: None,
    "whole seconds": lambda at_ms, number: at_ms // 1000 * 1000,
}


@both_paths
@pytest.mark.parametrize("name", CLOCKS)
async def test_whatever_the_clock_no_audio_is_lost_and_none_is_made(
    name: str, prompt_emulator: str, caplog: pytest.LogCaptureFixture
) -> None:
    def clocked(message: str, number: int) -> str:
        at_ms = CLOCKS[name](155 + 20 * number, number)
        as_text = None if at_ms is None else str(at_ms)
        return changed(message, lambda fields: fields["media"].update(timestamp=as_text)).replace(" ", "")

    async with serving(prompt_emulator) as served, Phone(served.url, "clock") as phone:
        await start(phone)
        for number, message in enumerate(phone.media(tones("[200] apple arrow autumn bottle [700]"))):
            await phone.socket.send(clocked(message, number))
        await served.hang_up(phone)
        numbers = served.server.snapshot()
    assert served.transcripts.utterances(phone.call_sid) == ["apple arrow autumn bottle"]
    assert (numbers["gaps"], numbers["duplicate_frames"], numbers["rejected_messages"]) == (0, 0, {})
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == (0 if name.startswith("jitter") else 1)


@both_paths
@pytest.mark.parametrize("gap_s", [3, 8, 90])
async def test_words_after_a_long_gap_are_reported_at_their_time(gap_s: int, prompt_emulator: str) -> None:
    async with serving(prompt_emulator) as served, Phone(served.url, "gap") as phone:
        await start(phone)
        await phone.say(tones("[500] apple [700]"))
        phone.frame += 50 * gap_s
        await phone.say(tones("[500] arrow [700]"))
        await served.transcripts.wait_for(phone.call_sid, "utterance_end", 2)
        await served.hang_up(phone)
        numbers = served.server.snapshot()
    assert served.transcripts.utterances(phone.call_sid) == ["apple", "arrow"]
    first, second = served.transcripts.of(phone.call_sid, "utterance_begin")
    spoken_ms = len(tones("[500] apple [700]")) // 8 // 20 * 20
    assert abs(second["start_ms"] - first["start_ms"] - spoken_ms - 1000 * gap_s) <= 60
    ends = [record["end_ms"] for record in served.transcripts.of(phone.call_sid, "utterance_end")]
    assert abs(ends[1] - ends[0] - spoken_ms - 1000 * gap_s) <= 60
    assert abs(numbers["gap_samples"] - 8000 * gap_s) <= 40 * 8


@both_paths
async def test_when_audio_stops_right_after_a_word_the_word_is_of_its_own_utterance(prompt_emulator: str) -> None:
    """The word is far shorter than a batch, and no audio comes that would fill it."""
    async with serving(prompt_emulator, stt_batch_ms=900) as served, Phone(served.url, "stops") as phone:

        async def is_told() -> bool:
            return served.transcripts.utterances(phone.call_sid) == ["apple"]

        await start(phone)
        await phone.say(tones("[300] apple [60]"))
        await until_so(is_told)  # at its commit or, on a slow machine, by an amendment
        phone.frame += 50
        await phone.say(tones("[100] arrow [700]"))
        assert await served.hang_up(phone) == ["apple", "arrow"]


@both_paths
async def test_gaps_without_end_are_a_flood(prompt_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CLOSE_TIMEOUT_S", 0.1)  # nobody waits for words in two minutes of silence
    async with serving(prompt_emulator) as served, Phone(served.url, "gaps") as phone:
        await start(phone)
        with contextlib.suppress(ConnectionClosed):
            for _ in range(200):
                phone.frame += 250
                await phone.say(b"\xff" * 160)
        code, reason = await phone.closed()
        assert (code, reason) == (1008, "far more messages than a call sends")
        assert served.server.snapshot()["gap_samples"] < 6 * 60 * 8000
