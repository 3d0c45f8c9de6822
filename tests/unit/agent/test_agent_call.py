"""What a handler sees."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastcall._codec import mulaw_encode
from fastcall.agent.call import MAX_READERS, MAX_WAITING_EVENTS, MAX_WAITING_UTTERANCES, Call
from fastcall.agent.heard_text import Heard
from fastcall.audio.wav import write_wav
from fastcall.errors import BacklogError, UsageError
from fastcall.events import (
    Amendment,
    BargeIn,
    BeepHeard,
    CallStarted,
    DtmfPressed,
    MachineDetected,
    MarkPlayed,
    Partial,
    Utterance,
)
from fastcall.metrics import Metrics
from handsets import Twilio


def make(metrics: Metrics | None = None) -> tuple[Call, Twilio]:
    twilio = Twilio()
    started = CallStarted("MZ1", "CA1", "AC1", custom_parameters={"a": "b"})
    return Call(started, twilio, twilio, metrics=metrics), twilio


async def test_utterances_come_in_order_until_the_end_and_those_without_words_do_not() -> None:
    call, _ = make()
    spoken = [Utterance(1, "hello", 100, 200), Utterance(2, "", 250, 270), Utterance(3, "world", 300, 400)]
    for utterance in spoken:
        call.deliver(utterance)
    call.finish()
    assert [u async for u in call.utterances()] == [spoken[0], spoken[2]]
    assert call.is_over


LATE = [Utterance(1, "", 100, 200), Utterance(1, "hello", 100, 200)]
CORRECTED = [Utterance(1, "hallo", 100, 200), Utterance(1, "hello", 100, 200, is_correction=True)]
RETRACTED = [Utterance(1, "hello", 100, 200), Utterance(1, "", 100, 200, is_correction=True)]


@pytest.mark.parametrize(
    ("delivered", "utterances", "events"),
    [
        pytest.param(LATE, LATE[1:], LATE, id="late words make an ordinary utterance"),
        pytest.param(CORRECTED, CORRECTED, [CORRECTED[0], Amendment(1, "hello")], id="a correction"),
        pytest.param(RETRACTED, RETRACTED[:1], [RETRACTED[0], Amendment(1, "")], id="no words are left"),
    ],
)
async def test_late_words_come_once_to_every_reader(
    delivered: list[Utterance], utterances: list[Utterance], events: list[object]
) -> None:
    call, _ = make()
    reader = call.events()
    for utterance in delivered:
        call.deliver(utterance)
    call.finish()
    assert [u async for u in call.utterances()] == utterances
    assert [event async for event in reader] == events


async def test_a_correction_does_not_end_an_interruption() -> None:
    call, twilio = make()
    call.deliver(BargeIn(2, "", 0))
    call.deliver(CORRECTED[1])
    assert await call.say(bytes(160)) == Heard("", 0, False)
    assert twilio.sent == []


async def test_a_slow_handler_loses_the_oldest_and_it_is_counted() -> None:
    metrics = Metrics()
    call, _ = make(metrics)
    for number in range(MAX_WAITING_UTTERANCES + 2):
        call.deliver(Utterance(number, str(number), 0, 0))
    call.finish()
    assert (await anext(call.utterances())).id == 2
    assert metrics.agent_events_dropped == 2


async def test_events_are_all_there_is_and_a_partial_that_waits_gives_way_to_the_next() -> None:
    call, _ = make()
    events = call.events()
    told = [
        Partial(1, "hel"), Partial(1, "hello"), Utterance(1, "hello", 0, 9), Amendment(1, "hallo"),
        Utterance(2, "", 9, 9),
        BargeIn(3, "heard", 100), DtmfPressed("5"), MarkPlayed("mine"), Partial(3, "x"), Partial(4, "y"),
    ]  # fmt: skip
    for event in told:
        call.deliver(event)
    call.finish()
    assert [event async for event in events] == told[1:]
    assert [event async for event in call.events()] == []


async def test_a_machine_and_its_beep_are_events_and_stay_known() -> None:
    call, _ = make()
    events = call.events()
    assert (call.machine_detected, call.beep_heard) == (None, False)
    for event in (MachineDetected("words"), BeepHeard()):
        call.deliver(event)
    call.finish()
    assert [event async for event in events] == [MachineDetected("words"), BeepHeard()]
    assert (call.machine_detected, call.beep_heard) == ("words", True)


async def test_events_that_nobody_reads_are_bounded() -> None:
    metrics = Metrics()
    call, _ = make(metrics)
    events = call.events()
    for number in range(MAX_WAITING_EVENTS + 1):
        call.deliver(DtmfPressed(str(number % 10)))
    call.finish()
    assert len([event async for event in events]) == MAX_WAITING_EVENTS
    assert metrics.agent_events_dropped == 1
    call, _ = make()
    readers = [call.events() for _ in range(MAX_READERS)]
    with pytest.raises(RuntimeError, match="readers"):
        call.events()
    assert len(readers) == MAX_READERS


async def test_keys_parameters_and_state() -> None:
    call, _ = make()
    for key in "12#":
        call.deliver(DtmfPressed(key))
    call.state["menu"] = 1
    call.finish()
    keys = call.keys()
    assert [key async for key in keys] == ["1", "2", "#"]
    assert (call.parameters["a"], call.state, call.call_sid, call.stream_sid) == ("b", {"menu": 1}, "CA1", "MZ1")
    with pytest.raises(TypeError):
        call.parameters["a"] = "c"  # type: ignore[index]


async def test_audio_marks_and_clear_have_twilios_fields() -> None:
    call, twilio = make()
    call.say(b"\xff\x00")
    call.say(b"")
    call.mark("m")
    heard = call.clear()
    assert [json.dumps(message) for message in twilio.sent] == [
        '{"event": "media", "streamSid": "MZ1", "media": {"payload": "/wA="}}',
        '{"event": "mark", "streamSid": "MZ1", "mark": {"name": "fastcall:1"}}',
        '{"event": "mark", "streamSid": "MZ1", "mark": {"name": "m"}}',
        '{"event": "clear", "streamSid": "MZ1"}',
    ]
    call.player.echoed("fastcall:1")
    assert (await heard).text == ""
    call.hangup()
    assert twilio.closed[0][0] == 1000


async def test_nothing_is_said_at_once_and_as_a_whole() -> None:
    call, twilio = make()
    assert await call.say(b"") == Heard("", 0, True)
    assert twilio.sent == []


@pytest.mark.parametrize(("data", "says"), [(b"ID3\x03\0" + bytes(99), "MP3"), (b"OggS\0" + bytes(99), "Ogg")])
async def test_compressed_audio_is_refused_where_it_is_said(data: bytes, says: str) -> None:
    call, twilio = make()
    with pytest.raises(UsageError, match=says):
        call.say(data)
    assert twilio.sent == []


@pytest.mark.parametrize("name", ["fastcall:7", "x" * 1025])
async def test_a_marks_name_that_cannot_be(name: str) -> None:
    call, _ = make()
    with pytest.raises(ValueError, match="mark's name"):
        call.mark(name)


async def test_pcm_wav_files_and_other_rates_are_what_the_telephone_takes() -> None:
    pcm = struct.pack("<400h", *range(0, 8000, 20))
    wav = b"RIFF" + struct.pack("<I4s4sIHHIIHH4sI", 36 + len(pcm), b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16,
                                b"data", len(pcm)) + pcm  # fmt: skip
    for audio, options in ((pcm, {"encoding": "pcm"}), (wav, {}), (write_wav(mulaw_encode(pcm)), {"encoding": "pcm"})):
        call, twilio = make()
        call.say(audio, **options)  # type: ignore[arg-type]
        assert twilio.audio == mulaw_encode(pcm)
    call, twilio = make()
    call.say(pcm, encoding="pcm", rate_hz=16_000)
    assert len(twilio.audio) == 200
    with pytest.raises(ValueError, match="rate_hz"):
        call.say(pcm, rate_hz=7)


async def test_an_iterator_is_played_as_it_comes() -> None:
    call, twilio = make()
    given = asyncio.Event()

    async def voice() -> AsyncIterator[bytes]:
        for piece in (b"\x01" * 100, b"\x02" * 60):
            yield piece
        given.set()

    speech = call.say(voice(), text="one two", word_ends_ms=[15, 20])
    async with asyncio.timeout(5):
        await given.wait()
    assert twilio.audio == b"\x01" * 100 + b"\x02" * 60
    for mark in twilio.marks:
        call.player.echoed(mark)
    assert await speech == Heard("one two", 20, True)


async def test_the_rest_of_an_answer_that_was_interrupted_is_not_played() -> None:
    """An agent that is still reading its model's sentences does not talk over the caller."""
    call, twilio = make()
    call.say(bytes(160), text="one")
    call.deliver(BargeIn(2, "", 0))
    assert await call.say(bytes(160), text="two") == Heard("", 0, False)
    call.deliver(Utterance(2, "", 0, 1))
    call.say(bytes(160), text="three")
    assert len(twilio.audio) == 320


async def test_what_the_caller_must_hear_is_played_also_after_an_interruption() -> None:
    """Such as the message for a machine whose greeting has interrupted ours."""
    call, twilio = make()
    call.deliver(BargeIn(1, "heard", 100))
    speech = call.say(bytes(1600), interruptible=False)
    assert twilio.events == ["media", "mark"]
    assert not speech.is_done


async def test_when_it_is_over_nothing_is_said_and_nobody_waits() -> None:
    call, twilio = make()
    call.finish()
    assert (await call.say(b"\xff" * 160, text="too late")).text == ""
    assert twilio.sent == []
    call.mark("m")
    assert (await call.clear()).ms == 0
    assert twilio.sent == []


async def test_what_is_no_audio_is_refused() -> None:
    call, _ = make()
    for audio in ([b"a list"], "text", None):
        with pytest.raises(TypeError, match="pass bytes"):
            call.say(audio)  # type: ignore[arg-type]


async def test_too_much_is_refused() -> None:
    call, _ = make()
    with pytest.raises(BacklogError):
        call.say(bytes(2_400_001))


async def test_what_the_caller_must_hear_is_dropped_only_by_clear() -> None:
    call, _ = make()
    notice = call.say(b"\x01" * 800, text="by law", interruptible=False)
    assert not notice.is_interruptible
    assert not call.player.is_interruptible
    call.player.interrupt()
    assert not notice.is_done
    call.clear()
    assert not (await notice).is_whole
    assert call.say(b"\x01" * 800).is_interruptible
    call.finish()


@pytest.mark.parametrize(
    ("kind", "parameters", "says"),
    [
        ("choice", {"choices": "small"}, "is one text"),
        (None, {"choices": ["small"]}, "give a kind"),
        (None, {"length": 4}, "give a kind"),
        ("number", {}, "unknown: use one of digits"),
    ],
)
async def test_an_expectation_that_cannot_be_is_refused(kind: Any, parameters: dict[str, Any], says: str) -> None:
    call, _ = make()
    with pytest.raises(ValueError, match=says):
        call.expect(kind, **parameters)
