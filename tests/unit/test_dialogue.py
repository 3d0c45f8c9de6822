"""The caller who listens: when it speaks, when it breaks in, what it notes."""

from __future__ import annotations

import base64

import pytest

from fastcall.adapters.simulator import CallReport, Received
from fastcall.dialogue import PATIENCE_S, PAUSE_S, TAIL_S, ListeningCaller, Sentence
from fastcall.rules.caller import CallIds
from fastcall.rules.playback import Clear, Mark, Media

VOICE = b"\x10" * 800


class Clock:
    """A telephone whose time the test makes: a frame each 20 ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *sentences: Sentence) -> None:
        self.now = 100.0
        monkeypatch.setattr("fastcall.dialogue.time.monotonic", lambda: self.now)
        self.caller = ListeningCaller(sentences)
        self.report = CallReport(CallIds("CA1", "MZ1"))
        self.caller.listen_to(self.report)
        self.frame = 0

    def hear(self, message: Media | Mark | Clear) -> None:
        self.report.keep(Received(self.now, message))

    def run(self, seconds: float) -> bytes:
        said = b""
        for _ in range(round(seconds / 0.02)):
            said += base64.b64decode(self.caller.payload(self.frame))
            self.frame += 1
            self.now += 0.02
        return said


def test_it_waits_for_the_other_side_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, Sentence("hello", VOICE), Sentence("more", VOICE))
    assert set(clock.run(1.0)) == {0xFF}
    clock.hear(Media(b"\x01" * 4000))
    assert set(clock.run(0.5 + PAUSE_S - 0.02)) == {0xFF}
    assert clock.run(0.2).count(0x10) == 800
    (said,) = clock.caller.said
    assert said.end_ms - said.start_ms == 100
    assert said.answered_at is None
    assert set(clock.run(1.0)) == {0xFF}
    answered_at = clock.now
    clock.hear(Media(b"\x01" * 1600))
    clock.run(0.2 + PAUSE_S + 0.2)
    assert said.answered_at == answered_at
    assert len(clock.caller.said) == 2
    assert clock.caller.is_done


def test_it_breaks_in_and_notes_what_had_been_played(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, Sentence("stop", VOICE, breaks_in_after_s=0.5))
    clock.hear(Media(b"\x01" * 16_000))
    clock.hear(Mark("m"))
    clock.run(0.6)
    (said,) = clock.caller.said
    assert said.began_at == pytest.approx(100.5, abs=0.03)
    clock.hear(Clear())
    clock.run(0.1)
    assert said.cleared_at == pytest.approx(100.6, abs=0.01)
    assert said.played_ms == pytest.approx(600, abs=20)
    clock.hear(Media(b"\x01" * 160))
    clock.run(0.04)
    assert said.answered_at is not None


def test_it_hangs_up_when_all_is_said_or_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, Sentence("hello", VOICE))
    clock.hear(Media(b"\x01" * 160))
    clock.run(1.0)
    assert clock.caller.frames is None
    clock.hear(Media(b"\x01" * 160))
    clock.run(TAIL_S + 0.1)
    assert clock.caller.frames is not None
    clock = Clock(monkeypatch, Sentence("hello", VOICE))
    clock.run(PATIENCE_S - 0.1)
    assert clock.caller.frames is None
    clock.run(0.2)
    assert clock.caller.frames is not None
