"""Endpointing: where an utterance begins and ends, from ``(voiced, sample)`` of 20 ms frames.

Goals: a cough of one frame begins nothing; an utterance ends one hangover after the last voice, even if
single frames in it were taken for voice; the audio just before the onset (pre-roll) belongs to it.

Invariants: begins and ends alternate; an utterance's start is never before the end of the one before it.
Call time is counted in samples; wall-clock time is an argument and serves one rule only: no audio at all.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fastcall.events import SAMPLES_PER_MS

__all__ = ["Endpointer", "SpeechBegan", "SpeechEnded"]

FRAME_MS = 20
FRAME_SAMPLES = FRAME_MS * SAMPLES_PER_MS

# webrtcvad's noise floor is not settled before; quiet noise counts as voice in each mode.
SETTLE_SAMPLES = 100 * SAMPLES_PER_MS
# An onset may have this many unvoiced frames in it.
ONSET_SLACK_FRAMES = 2
# The share of voiced frames in the hangover window at which speech has ended.
END_VOICED_SHARE = 0.10
NO_AUDIO_S = 1.0


@dataclass(slots=True, frozen=True)
class SpeechBegan:
    """An utterance begins at ``start_sample`` (pre-roll included); voice was heard from ``voice_sample`` on."""

    start_sample: int
    voice_sample: int


@dataclass(slots=True, frozen=True)
class SpeechEnded:
    """The utterance ended; ``end_sample`` is the end of the last voiced frame. The hangover comes after it."""

    end_sample: int
    reason: str
    """``hangover``, ``no_audio``, ``too_long`` or ``stopped``."""


class Endpointer:
    """The rule of one call. Pure; one thread.

    :param start_ms: voiced time that begins an utterance (``VAD_START_MS``)
    :param hangover_ms: length of the window that must be (nearly) unvoiced at the end
    :param preroll_ms: audio before the onset that belongs to the utterance
    :param max_s: an utterance of this length is ended; the next may begin at once
    """

    def __init__(self, *, start_ms: int, hangover_ms: int, preroll_ms: int, max_s: float) -> None:
        self._needed = max(1, start_ms // FRAME_MS)
        self._window: deque[bool] = deque(maxlen=self._needed + ONSET_SLACK_FRAMES)
        hangover_frames = max(1, hangover_ms // FRAME_MS)
        self._hangover: deque[bool] = deque(maxlen=hangover_frames)
        self._allowed = int(hangover_frames * END_VOICED_SHARE)
        self._preroll_samples = preroll_ms * SAMPLES_PER_MS
        self._max_samples = int(max_s * 1000) * SAMPLES_PER_MS
        self._in_speech = False
        self._start_sample = 0
        self._last_voiced_sample = 0
        self._floor_sample = 0
        self._last_audio_at: float | None = None

    @property
    def in_speech(self) -> bool:
        """Whether an utterance is open."""
        return self._in_speech

    @property
    def last_voiced_sample(self) -> int:
        """End of the newest voiced frame of the open utterance."""
        return self._last_voiced_sample

    def feed(self, voiced: bool, end_sample: int, *, now: float) -> SpeechBegan | SpeechEnded | None:
        """One frame of 20 ms that ends at ``end_sample``; frames come in order.

        :return: what it changed, if anything
        """
        self._last_audio_at = now
        if end_sample <= SETTLE_SAMPLES:
            voiced = False
        if not self._in_speech:
            self._window.append(voiced)
            if voiced and sum(self._window) >= self._needed:
                return self._begin(end_sample)
            return None
        self._hangover.append(voiced)
        if voiced:
            self._last_voiced_sample = end_sample
        if end_sample - self._start_sample >= self._max_samples:
            return self._end("too_long")
        if len(self._hangover) == self._hangover.maxlen and sum(self._hangover) <= self._allowed:
            return self._end("hangover")
        return None

    def next_deadline(self) -> float | None:
        """When the utterance ends if no audio comes before."""
        if not self._in_speech or self._last_audio_at is None:
            return None
        return self._last_audio_at + NO_AUDIO_S

    def handle_deadline(self, *, now: float) -> SpeechEnded | None:
        """Ends the utterance if no audio came for 1 s."""
        deadline = self.next_deadline()
        return self._end("no_audio") if deadline is not None and now >= deadline else None

    def stop(self) -> SpeechEnded | None:
        """The audio is over: ends the open utterance."""
        return self._end("stopped") if self._in_speech else None

    def _begin(self, end_sample: int) -> SpeechBegan:
        frames = list(self._window)
        voice_sample = end_sample - (len(frames) - frames.index(True)) * FRAME_SAMPLES
        self._start_sample = max(self._floor_sample, voice_sample - self._preroll_samples, 0)
        self._last_voiced_sample = end_sample
        self._in_speech = True
        self._hangover.clear()
        self._window.clear()
        return SpeechBegan(self._start_sample, max(voice_sample, self._start_sample))

    def _end(self, reason: str) -> SpeechEnded:
        self._in_speech = False
        self._floor_sample = self._last_voiced_sample
        self._window.clear()
        return SpeechEnded(self._last_voiced_sample, reason)
