"""A simulated caller who listens: waits for the other side before each sentence, or interrupts as scripted.

It records what a telephone can know: what it sent when, when a reply's first audio arrived, how much of a reply had
been played when ``clear`` arrived. It queries nothing from the server. Pure; time is an argument in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastcall.simulator.playback import Playback
from fastcall.simulator.twilio_client import FRAME_S, PhoneAudio

__all__ = ["Conversation", "Said", "Sentence", "Sound"]

# How long people wait before they reply, and how long before they hang up.
PAUSE_S = 0.4
PATIENCE_S = 6.0
TAIL_S = 2.0

BYTES_PER_MS = 8
SILENCE = PhoneAudio(b"", tail_s=0.0)


@dataclass(frozen=True, slots=True)
class Sound:
    """What a caller makes while the other side speaks, and wants no answer to: a cough, an "mhm"."""

    after_s: float
    """Relative to the begin of the other side's speech."""
    mulaw: bytes


@dataclass(frozen=True, slots=True)
class Sentence:
    """The speech: mu-law at 8 kHz."""

    text: str
    mulaw: bytes
    breaks_in_after_s: float | None = None
    """When to start, relative to the other side's speech; None: when that has ended."""
    sounds: tuple[Sound, ...] = ()
    """Made before it, in order."""


@dataclass(slots=True)
class Said:
    """The result of one sentence."""

    sentence: Sentence
    start_ms: int
    """Call time."""
    began_at: float
    end_ms: int = 0
    ended_at: float = 0.0
    """When its last frame was sent."""
    answered_at: float | None = None
    """When the first audio after its end arrived."""
    cleared_at: float | None = None
    """When ``clear`` arrived, if it did during this sentence or soon after."""
    played_ms: int = 0
    """How much of the other side's speech had been played by then."""


class Conversation:
    """The caller's part of one call. One thread.

    :param speaks_first: do not wait for a greeting
    """

    def __init__(self, sentences: Sequence[Sentence], *, now: float, speaks_first: bool = False) -> None:
        self.said: list[Said] = []
        self._left = list(sentences)
        self._voice: PhoneAudio | None = None
        self._offset = 0
        self._sounds: list[Sound] = list(self._left[0].sounds) if self._left else []
        """Still to be made before the next sentence."""
        self._is_sound = False
        self._playback = Playback()
        self._received_bytes = 0
        self._quiet_since = now
        self._heard_from: float | None = now if speaks_first else None
        """When the other side's current or last speech began; None: none since our own."""

    @property
    def is_done(self) -> bool:
        """Whether everything was said."""
        return not self._left and self._voice is None

    def media(self, mulaw_bytes: int, *, now: float) -> None:
        """The other side's audio."""
        if self._heard_from is None:
            self._heard_from = now
            self._received_bytes = 0
        self._received_bytes += mulaw_bytes
        self._playback.media(mulaw_bytes, now=now)
        last = self.said[-1] if self.said else None
        if last is not None and self._voice is None and last.answered_at is None and not self._is_talked_over:
            last.answered_at = now

    def clear(self, *, now: float) -> None:
        """The other side clears audio not yet played."""
        waiting_s = self._playback.waiting_s(now=now)
        if self.said and self.said[-1].cleared_at is None:
            self.said[-1].cleared_at = now
            self.said[-1].played_ms = round(self._received_bytes / BYTES_PER_MS - 1000 * waiting_s)
        self._playback.clear(now=now)
        self._heard_from = None

    def frame(self, frame: int, *, now: float) -> str | None:
        """The base64 of the next 20 ms; call it once per frame, in order, when due.

        :return: None: nobody replies, or everything is said and answered: hang up
        """
        if self._playback.waiting_s(now=now) > 0:
            self._quiet_since = now
        if self._voice is None and self._may_speak(now):
            self._begin(frame, now)
        elif self._voice is None and self._sounds and self._is_due(self._sounds[0], now):
            self._voice, self._offset = PhoneAudio(self._sounds.pop(0).mulaw, tail_s=0.0), 0
            self._is_sound = True
        if self._voice is None:
            limit_s = TAIL_S if self.is_done and self._heard_from is not None else PATIENCE_S
            return None if now - self._quiet_since > limit_s else SILENCE.payload(frame)
        payload = self._voice.payload(self._offset)
        self._offset += 1
        if self._offset == self._voice.frames and self._is_sound:
            self._voice, self._is_sound = None, False
        elif self._offset == self._voice.frames:
            self._end(now)
        return payload

    @property
    def _is_talked_over(self) -> bool:
        """Whether we interrupted and the other side has not noticed yet: its audio is no reply."""
        last = self.said[-1] if self.said else None
        return last is not None and last.sentence.breaks_in_after_s is not None and last.cleared_at is None

    def _is_due(self, sound: Sound, now: float) -> bool:
        is_heard = self._heard_from is not None and self._playback.waiting_s(now=now) > 0
        return is_heard and self._heard_from is not None and now - self._heard_from >= sound.after_s

    def _may_speak(self, now: float) -> bool:
        if not self._left or self._heard_from is None or self._is_talked_over:
            return False
        after_s = self._left[0].breaks_in_after_s
        if after_s is not None:
            return now - self._heard_from >= after_s
        return now - self._quiet_since >= PAUSE_S

    def _begin(self, frame: int, now: float) -> None:
        sentence = self._left.pop(0)
        self._sounds = list(self._left[0].sounds) if self._left else []
        self._voice, self._offset = PhoneAudio(sentence.mulaw, tail_s=0.0), 0
        self.said.append(Said(sentence, round(1000 * frame * FRAME_S), now))

    def _end(self, now: float) -> None:
        last = self.said[-1]
        last.end_ms, last.ended_at = last.start_ms + len(last.sentence.mulaw) // BYTES_PER_MS, now
        self._voice = None
        self._quiet_since = now
        if self._playback.waiting_s(now=now) == 0:
            self._heard_from = None
