"""What a handler sees."""

from __future__ import annotations

import json

from fastcall.drivers.call import MAX_WAITING_UTTERANCES, Call, Utterance
from fastcall.events import CallStarted, TranscriptEvent


class Socket:
    def __init__(self) -> None:
        self.sent: list[dict[str, object]] = []
        self.closed: list[tuple[int, str]] = []

    def send_soon(self, message: str) -> None:
        self.sent.append(json.loads(message))

    def close_soon(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


def make() -> tuple[Call, Socket]:
    socket = Socket()
    return Call(CallStarted("MZ1", "CA1", "AC1", custom_parameters={"a": "b"}), socket), socket


async def test_utterances_come_in_order_until_the_end() -> None:
    call, _ = make()
    call.deliver(TranscriptEvent("utterance_end", 1, "hello", 800, 1600))
    call.deliver(TranscriptEvent("utterance_end", 2, "world", 2400, 3200))
    call.finish()
    assert [u async for u in call.utterances()] == [Utterance(1, "hello", 100, 200), Utterance(2, "world", 300, 400)]


async def test_a_slow_handler_loses_the_oldest_and_it_is_counted() -> None:
    call, _ = make()
    for number in range(MAX_WAITING_UTTERANCES + 2):
        call.deliver(TranscriptEvent("utterance_end", number, str(number), 0, 0))
    call.finish()
    heard = [u.id async for u in call.utterances()]
    assert heard[0] == 2
    assert call.dropped_utterances == 2


async def test_audio_marks_and_clear_have_twilios_fields() -> None:
    call, socket = make()
    call.say(b"\xff\x00")
    call.say(b"")
    call.mark("m")
    call.clear()
    assert socket.sent == [
        {"event": "media", "streamSid": "MZ1", "media": {"payload": "/wA="}},
        {"event": "mark", "streamSid": "MZ1", "mark": {"name": "m"}},
        {"event": "clear", "streamSid": "MZ1"},
    ]
    call.hangup()
    assert socket.closed[0][0] == 1000
    assert call.parameters["a"] == "b"
