"""One call's rules: each state meets each event; what comes out, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from fastcall.events import (
    CallStarted,
    CallStopped,
    Connected,
    DtmfPressed,
    FallbackAsked,
    FallbackSilent,
    MarkPlayed,
    MediaFrame,
    NoWords,
    RecognitionEvent,
    Rejected,
    SessionClosed,
    SessionFailed,
    SessionRotated,
    SessionStarted,
    SocketClosed,
    TranscriptEvent,
)
from fastcall.settings import Settings
from fastcall.turns.call_machine import CallMachine, CloseSession, CloseSocket, NoteSpeech, OpenSession, PushAudio, Warn
from fastcall.turns.turn_policy import ReleaseSpeech

CALL = CallStarted("MZ1", "CA1", "AC1")
FRAME = MediaFrame("MZ1", 155, bytes(160))
EVENTS: list[Any] = [
    Connected("Call", "1.0.0"), CALL, FRAME, MediaFrame("MZ2", 155, bytes(160)), DtmfPressed("1"), MarkPlayed("m"),
    CallStopped(), SocketClosed(1000), Rejected("not_json"),
    RecognitionEvent("interim", "hi", 100, "emulator"), RecognitionEvent("final", "hi", 100, "emulator"),
    SessionStarted("emulator"), SessionFailed("UNAVAILABLE", "down", "Wait.", retrying=True),
    SessionRotated("age"), NoWords(0, 40_000), SessionClosed(),
    FallbackAsked(0, 100, "outage", "whisper"), FallbackSilent(0, 100, "whisper", "INTERNAL: it has ended"),
]  # fmt: skip


def machine(state: str) -> CallMachine:
    made = CallMachine(Settings())
    if state != "waiting":
        made.receive(CALL, now=0.0)
    if state in ("ending", "over"):
        made.receive(CallStopped(), now=1.0)
    if state == "over":
        made.receive(SessionClosed(), now=2.0)
    made.commands()
    assert made.state == state
    return made


def kinds(made: CallMachine) -> list[str]:
    return [c.event if isinstance(c, TranscriptEvent) else type(c).__name__ for c in made.commands()]


@pytest.mark.parametrize("state", ["waiting", "live", "ending", "over"])
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_each_state_takes_each_event(state: str, event: Any) -> None:
    made = machine(state)
    made.receive(event, now=3.0)
    made.commands()
    assert made.state in ("waiting", "live", "ending", "over")
    if state == "over":
        assert made.next_deadline() is None


def test_a_start_opens_the_session() -> None:
    made = CallMachine(Settings())
    made.receive(CALL, now=0.0)
    started = TranscriptEvent("call_started", details={"stream": "", "tracks": ("inbound",)})
    assert made.commands() == [started, OpenSession(CALL), NoteSpeech(False, 0)]
    assert made.call == CALL


def test_a_call_that_moves_says_from_which_stream() -> None:
    made = machine("live")
    made.moved(CallStarted("MZ2", "CA1", "AC1"), heard_at=1.0)
    assert made.commands() == [TranscriptEvent("call_moved", details={"previous_stream_sid": "MZ1"})]


def test_a_second_start_closes_the_socket_with_1008() -> None:
    made = machine("live")
    made.receive(CALL, now=1.0)
    (close,) = [c for c in made.commands() if isinstance(c, CloseSocket)]
    assert close.code == 1008
    assert made.state == "ending"


def test_audio_goes_on_with_the_silence_of_its_gap() -> None:
    made = machine("live")
    made.receive(MediaFrame("MZ1", 155, b"w" * 160, 1), now=1.0)
    made.receive(MediaFrame("", 275, b"x" * 160, 2), now=1.1)
    made.receive(MediaFrame("MZ1", 275, b"y" * 160, 2), now=1.1)
    assert made.commands() == [PushAudio(0, b"w" * 160), PushAudio(800, b"x" * 160)]


def test_of_long_silence_5_s_are_heard_and_call_time_has_all() -> None:
    made = machine("live")
    made.receive(MediaFrame("MZ1", 155, b"w" * 160, 1), now=1.0)
    made.receive(MediaFrame("MZ1", 8175, b"x" * 160, 2), now=9.0)
    made.receive(MediaFrame("MZ1", 20_195, b"y" * 160, 3), now=21.0)
    assert made.commands() == [
        PushAudio(0, b"w" * 160),
        PushAudio(40_000, b"x" * 160, 24_000),
        PushAudio(40_000, b"y" * 160, 56_000),
    ]
    of = made.call_time.of
    assert [of(sample) for sample in (0, 160, 20_159, 20_160, 40_160)] == [0, 160, 20_159, 44_160, 64_160]
    assert of(80_320) == 20_040 * 8


@pytest.mark.parametrize(
    ("passed_s", "silence", "cut"), [(0.02, 0, 0), (0.06, 0, 0), (1.0, 7840, 0), (9.0, 40_000, 31_840)]
)
def test_the_time_between_two_streams_of_a_call_is_silence_in_it(passed_s: float, silence: int, cut: int) -> None:
    made = machine("live")
    made.receive(MediaFrame("MZ1", 90_155, b"w" * 160, 500), now=1.0)
    made.moved(CallStarted("MZ2", "CA1", "AC1"), heard_at=1.0)
    made.receive(MediaFrame("MZ2", 155, b"x" * 160, 1), now=1.0 + passed_s)
    made.receive(MediaFrame("MZ2", 175, b"y" * 160, 2), now=1.02 + passed_s)
    made.receive(MediaFrame("MZ1", 90_175, b"z" * 160, 501), now=1.02 + passed_s)
    audio = [command for command in made.commands() if isinstance(command, PushAudio)]
    assert audio == [PushAudio(0, b"w" * 160), PushAudio(silence, b"x" * 160, cut), PushAudio(0, b"y" * 160)]
    assert made.rejected == {"wrong_stream": 1}
    assert made.call is not None
    assert made.call.stream_sid == "MZ2"


def test_what_was_left_out_of_a_start_is_counted_and_told() -> None:
    made = CallMachine(Settings())
    made.receive(CallStarted("MZ1", "CA1", "AC1", dropped_fields=("a is odd", "b is odd")), now=0.0)
    assert made.rejected == {"dropped_field": 2}
    (warning,) = [c for c in made.commands() if isinstance(c, Warn)]
    assert warning.message == "left out of the start message: a is odd; b is odd"


def test_a_start_that_is_wrong_closes_at_once_with_its_reason() -> None:
    made = CallMachine(Settings())
    made.receive(Rejected("bad_start", "'callSid' is not a text"), now=0.0)
    assert made.commands() == [CloseSocket(1008, "'callSid' is not a text")]
    assert made.state == "over"


def test_a_clock_that_stands_still_is_told_once() -> None:
    made = machine("live")
    for number in range(9):
        made.receive(MediaFrame("MZ1", 155, b"w" * 160, number), now=1.0)
    commands = made.commands()
    assert [type(command).__name__ for command in commands].count("Warn") == 1
    assert [type(command).__name__ for command in commands].count("PushAudio") == 9


@pytest.mark.parametrize(
    ("state", "event", "reason"),
    [
        ("waiting", FRAME, "before_start"),
        ("waiting", DtmfPressed("1"), "before_start"),
        ("live", MediaFrame("MZ2", 155, bytes(160)), "wrong_stream"),
        ("ending", FRAME, "before_start"),
        ("ending", CALL, "second_start"),
        ("live", Rejected("not_json", "x"), "not_json"),
    ],
)
def test_what_is_rejected_is_counted_and_told_once(state: str, event: Any, reason: str) -> None:
    made = machine(state)
    for _ in range(3):
        made.receive(event, now=1.0)
    assert made.rejected == {reason: 3}
    (warning,) = made.commands()
    assert isinstance(warning, Warn)
    assert reason in warning.message


def speak(made: CallMachine, begin: int, frames: list[bool], now: float) -> float:
    for index, voiced in enumerate(frames):
        now += 0.02
        change = made.endpoint_rule.feed(voiced, begin + 160 * (index + 1), now)
        if change:
            made.speech_changed(change, now=now)
    return now


def test_an_utterance_from_its_begin_to_its_end() -> None:
    made = machine("live")
    now = speak(made, 0, [False] * 20 + [True] * 50, 1.0)
    made.receive(RecognitionEvent("interim", "hello world", 70 * 160, "emulator"), now=now)
    now = speak(made, 70 * 160, [False] * 50, now)
    out = made.commands()
    assert [c.event for c in out if isinstance(c, TranscriptEvent)] == ["utterance_begin", "partial"]
    assert [c.speaking for c in out if isinstance(c, NoteSpeech)] == [True, False]
    due = made.next_deadline()
    assert due is not None
    made.handle_deadline(now=due)
    end, released = made.commands()
    assert isinstance(end, TranscriptEvent)
    assert (end.event, end.text, end.end_sample) == ("utterance_end", "hello world", 70 * 160)
    assert end.details == {"turn_end": "hangover"}
    assert released == ReleaseSpeech(is_superseded=False)
    made.receive(RecognitionEvent("final", "hello word", 72 * 160, "emulator"), now=due + 1)
    assert kinds(made) == ["final", "amended"]


def test_the_end_of_a_call_ends_the_utterance_then_the_session_then_the_call() -> None:
    made = machine("live")
    now = speak(made, 0, [False] * 20 + [True] * 50, 1.0)
    made.commands()
    made.receive(CallStopped(), now=now)
    assert kinds(made) == ["NoteSpeech", "CloseSession"]
    made.receive(SocketClosed(1000), now=now)
    made.receive(RecognitionEvent("final", "good bye", 70 * 160, "emulator"), now=now + 0.1)
    assert kinds(made) == ["final", "utterance_end", "ReleaseSpeech"]
    made.receive(SessionClosed(), now=now + 0.2)
    assert kinds(made) == ["session_closed", "call_ended"]
    assert made.state == "over"


def test_a_session_in_trouble_says_so_with_advice_and_tells_of_its_return() -> None:
    made = machine("live")
    made.receive(SessionFailed("UNAVAILABLE", "no route.", "Check the network.", retrying=True), now=1.0)
    event, warning = made.commands()
    assert event == TranscriptEvent("session_failed", text="UNAVAILABLE: no route.")
    assert isinstance(warning, Warn)
    assert warning.message == "recognition is interrupted: UNAVAILABLE: no route. Check the network."
    made.receive(SessionRotated("reconnect"), now=2.0)
    assert made.commands() == [TranscriptEvent("session_rotated", text="reconnect")]


def test_close_session_comes_once() -> None:
    made = machine("live")
    made.receive(CallStopped(), now=1.0)
    made.receive(SocketClosed(1000), now=1.0)
    assert sum(isinstance(c, CloseSession) for c in made.commands()) == 1


def test_an_utterance_waits_for_the_fallback_and_not_for_one_that_is_silent() -> None:
    made = machine("live")
    now = speak(made, 0, [False] * 10 + [True] * 20 + [False] * 50, 1.0)
    (ended,) = [c for c in made.commands() if isinstance(c, NoteSpeech) and not c.speaking]
    assert not ended.is_last
    made.receive(FallbackAsked(0, ended.sample, "outage", "whisper"), now=now)
    (told,) = made.commands()
    assert told == TranscriptEvent("fallback", 1, "outage", 0, ended.sample, "whisper")
    assert made.next_deadline() == now + 2.0
    made.receive(FallbackSilent(0, ended.sample, "whisper", "INTERNAL: it has ended"), now=now + 1)
    told, warning = made.commands()
    assert told == TranscriptEvent("fallback", 1, "failed: INTERNAL: it has ended", 0, ended.sample, "whisper")
    assert isinstance(warning, Warn)
    made.handle_deadline(now=now + 1)
    assert kinds(made) == ["utterance_end", "ReleaseSpeech"]


def test_the_last_utterance_says_that_nothing_follows_it() -> None:
    made = machine("live")
    speak(made, 0, [False] * 10 + [True] * 20, 1.0)
    made.receive(CallStopped(), now=2.0)
    assert [c.is_last for c in made.commands() if isinstance(c, NoteSpeech)] == [False, True]
