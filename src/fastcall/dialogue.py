"""A simulated caller who listens: says each sentence when the other side has ended, and breaks in where told to.

What it notes is what a telephone can know: when it sent what, when the answer's first audio came, how much of an
answer had been played when ``clear`` came. Nothing of the server's is asked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fastcall.adapters.simulator import CallReport
from fastcall.rules.caller import FRAME_BYTES, FRAME_S, PhoneAudio
from fastcall.rules.playback import Media, Playback

__all__ = ["ListeningCaller", "Said", "Sentence"]

# How long people wait before they answer, and how long before they hang up.
PAUSE_S = 0.4
PATIENCE_S = 6.0
TAIL_S = 2.0


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is to be said: mu-law at 8 kHz."""

    text: str
    mulaw: bytes
    breaks_in_after_s: float | None = None
    """So long into the other's speech; None: when that has ended."""


@dataclass(slots=True)
class Said:
    """What became of one sentence; times by ``time.monotonic()``, seconds."""

    sentence: Sentence
    start_ms: int
    """Call time."""
    began_at: float
    end_ms: int = 0
    ended_at: float = 0.0
    """When the last frame of it was sent."""
    answered_at: float | None = None
    """When the first audio after its end came."""
    cleared_at: float | None = None
    """When ``clear`` came, if it did while this was said or soon after."""
    played_ms: int = 0
    """How much of the other's speech the telephone had played by then."""


class ListeningCaller(PhoneAudio):
    """The audio of a ``TwilioCaller``, dependent on what it hears. One call, one thread; ``listen_to`` comes first."""

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        super().__init__(b"", tail_s=0.0)
        self.frames = None
        self.said: list[Said] = []
        self._left = list(sentences)
        self._voice: PhoneAudio | None = None
        self._offset = 0
        self._playback = Playback()
        self._taken = 0
        self._received_bytes = 0
        self._heard_from: float | None = None
        """When the speech began that the other side is giving, or gave last; None: nothing since our own."""
        self._quiet_since = time.monotonic()
        self._report: CallReport | None = None

    @property
    def is_done(self) -> bool:
        """Everything was said."""
        return not self._left and self._voice is None

    def listen_to(self, report: CallReport) -> None:
        """The messages that the call receives."""
        self._report = report

    def payload(self, frame: int) -> str:
        """The next 20 ms. Frames are asked for once each, in order, when they are due."""
        now = time.monotonic()
        self._listen(now)
        if self._voice is None and self._may_speak(now):
            self._begin(frame, now)
        if self._voice is None:
            self._give_up_late(frame, now)
            return super().payload(frame)
        payload = self._voice.payload(self._offset)
        self._offset += 1
        if self._offset == self._voice.frames:
            self._end(frame, now)
        return payload

    def _listen(self, now: float) -> None:
        assert self._report is not None
        for received in self._report.received[self._taken :]:
            self._taken += 1
            if isinstance(received.message, Media):
                self._hear(len(received.message.mulaw), received.at)
            elif not hasattr(received.message, "name"):
                self._note_clear(received.at)
        if self._playback.waiting_s(now=now) > 0:
            self._quiet_since = now

    def _hear(self, size: int, at: float) -> None:
        if self._heard_from is None:
            self._heard_from = at
            self._received_bytes = 0
        self._received_bytes += size
        self._playback.media(size, now=at)
        last = self.said[-1] if self.said else None
        if last is not None and self._voice is None and last.answered_at is None:
            last.answered_at = at

    def _note_clear(self, at: float) -> None:
        waiting = self._playback.waiting_s(now=at)
        if self.said and self.said[-1].cleared_at is None:
            self.said[-1].cleared_at = at
            self.said[-1].played_ms = round(self._received_bytes / 8 - 1000 * waiting)
        self._playback.clear(now=at)
        self._heard_from = None

    def _may_speak(self, now: float) -> bool:
        if not self._left or self._heard_from is None:
            return False
        after_s = self._left[0].breaks_in_after_s
        if after_s is not None:
            return now - self._heard_from >= after_s
        return now - self._quiet_since >= PAUSE_S

    def _begin(self, frame: int, now: float) -> None:
        sentence = self._left.pop(0)
        self._voice, self._offset = PhoneAudio(sentence.mulaw, tail_s=0.0), 0
        self.said.append(Said(sentence, round(1000 * frame * FRAME_S), now))

    def _end(self, frame: int, now: float) -> None:
        last = self.said[-1]
        last.end_ms, last.ended_at = last.start_ms + len(last.sentence.mulaw) // (FRAME_BYTES // 20), now
        self._voice = None
        self._quiet_since = now
        if self._playback.waiting_s(now=now) == 0:
            self._heard_from = None

    def _give_up_late(self, frame: int, now: float) -> None:
        """Nobody answers, or all is said: hang up."""
        limit_s = TAIL_S if self.is_done and self._heard_from is not None else PATIENCE_S
        if now - self._quiet_since > limit_s:
            self.frames = frame + 1
