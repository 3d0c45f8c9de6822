"""Endpointing: determines where utterances begin and end, from ``(voiced, sample)`` of 20 ms frames.

Goals: a cough of one frame begins nothing; an utterance ends one hangover after the last voice, even if single frames
in it seem voiced; the audio just before the onset (pre-roll) belongs to it.

Invariants: begins and ends alternate; an utterance never starts before the end of the previous one. Call time is
counted in samples; clock time is an argument, and only used to detect missing audio.

The compiled ``EndpointRule`` processes every frame; the fast path feeds it directly, and reports changes to the
machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastcall._codec import EndpointRule
from fastcall.events import SAMPLES_PER_MS

__all__ = ["Endpointer", "SpeechBegan", "SpeechEnded"]

FRAME_MS = 20

# webrtcvad's noise floor needs this long to settle; until then quiet noise counts as voice in each mode.
SETTLE_SAMPLES = 100 * SAMPLES_PER_MS
# An onset may have this many unvoiced frames in it.
ONSET_SLACK_FRAMES = 2
# The share of voiced frames in the hangover window at which speech has ended.
END_VOICED_SHARE = 0.10
NO_AUDIO_S = 1.0

# Results of ``EndpointRule.feed``.
BEGAN = 1
_ENDS = {2: "hangover", 3: "too_long", 4: "background"}
LOUD, PAUSED = 5, 6
# Not of the rule: a ``ForegroundGate`` has heard the end of a steady tone.
TONE = 7


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
    """``hangover``; ``background``: the same, but others are heard; ``no_words``, ``no_audio``, ``too_long`` or
    ``stopped``."""


class Endpointer:
    """The rule of one call. Pure; one thread.

    :param start_ms: voiced time that begins an utterance (``VAD_START_MS``)
    :param hangover_ms: length of the window that must be (nearly) unvoiced at the end
    :param preroll_ms: audio before the onset that belongs to the utterance
    :param max_s: an utterance of this length is ended; the next may begin at once
    :param voiced_frames: how many frames in that window may be voiced; by default a tenth
    :param background_ms: how much longer the window is if background voice goes on
    """

    def __init__(
        self,
        *,
        start_ms: int,
        hangover_ms: int,
        preroll_ms: int,
        max_s: float,
        voiced_frames: int | None = None,
        background_ms: int = 0,
    ) -> None:
        onset_frames = max(1, start_ms // FRAME_MS)
        hangover_frames = max(1, hangover_ms // FRAME_MS)
        self.rule = EndpointRule(
            onset_frames=onset_frames,
            onset_window_frames=onset_frames + ONSET_SLACK_FRAMES,
            hangover_frames=hangover_frames,
            hangover_voiced_frames=int(hangover_frames * END_VOICED_SHARE) if voiced_frames is None else voiced_frames,
            settle_samples=SETTLE_SAMPLES,
            preroll_samples=preroll_ms * SAMPLES_PER_MS,
            max_samples=int(max_s * 1000) * SAMPLES_PER_MS,
            background_frames=background_ms // FRAME_MS,
        )
        """The compiled rule. Feed it frames in order, from one place at a time."""

    @property
    def in_speech(self) -> bool:
        """Whether an utterance is open."""
        return self.rule.in_speech

    @property
    def last_voiced_sample(self) -> int:
        """End of the newest voiced frame of the open utterance."""
        return self.rule.last_voiced_sample

    @property
    def last_caller_sample(self) -> int:
        """The same, for the caller's voice."""
        return self.rule.last_caller_sample

    def feed(self, voice: int, end_sample: int, *, now: float) -> SpeechBegan | SpeechEnded | None:
        """One frame of 20 ms that ends at ``end_sample``; frames come in order.

        :param voice: 0: none; 1 (or True): the caller's; 2: background voice
        :return: what it changed, if anything
        """
        change = self.rule.feed(voice, end_sample, now)
        return self.describe(change) if change else None

    def describe(self, change: int) -> SpeechBegan | SpeechEnded:
        """The change for the number that the rule has just returned, 1 to 4."""
        if change == BEGAN:
            return SpeechBegan(self.rule.start_sample, self.rule.voice_sample)
        return SpeechEnded(self.rule.last_voiced_sample, _ENDS[change])

    def next_deadline(self) -> float | None:
        """When the utterance ends if no audio comes before."""
        last_audio_s = self.rule.last_audio_s
        return last_audio_s + NO_AUDIO_S if self.rule.in_speech and last_audio_s is not None else None

    def handle_deadline(self, *, now: float) -> SpeechEnded | None:
        """Ends the utterance if no audio came for 1 s."""
        deadline = self.next_deadline()
        return self.end("no_audio") if deadline is not None and now >= deadline else None

    def end(self, reason: str) -> SpeechEnded | None:
        """Ends the open utterance."""
        if not self.rule.in_speech:
            return None
        self.rule.end()
        return SpeechEnded(self.rule.last_voiced_sample, reason)
