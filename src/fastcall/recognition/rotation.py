"""Decides when a stream is replaced because of its age, before the provider ends it.

There are two ages: from the first on, the stream is replaced at the caller's next pause; at the second, in any case.
Both are spread by a per-call number, so that calls opened in the same second are not rotated in the same second.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastcall.events import SAMPLES_PER_MS

__all__ = ["PauseRule", "RotationPlan"]

# The share of the time between the two ages over which rotations are spread.
SPREAD = 0.4

# Silence of this length counts as a pause.
PAUSE_S = 1.0
# A recognizer that has had all audio for so long has returned the words in it.
ANSWER_S = 3.0
# Sound without results for so long was not speech.
NO_SPEECH_S = 10.0
# The detector's end of speech and the end of the final that settles it differ by less.
SETTLED_SLACK_SAMPLES = 100 * SAMPLES_PER_MS
# Speech that ends so long after the last final contains another word.
WORD_SAMPLES = 300 * SAMPLES_PER_MS
# Part of a pause that is replayed: the detector may not have noticed new speech yet.
PAUSE_MARGIN_SAMPLES = 2000 * SAMPLES_PER_MS


@dataclass(slots=True, frozen=True)
class RotationPlan:
    """The two ages of one stream, in seconds of the clock that ``now`` comes from."""

    in_a_pause_from: float
    at_the_latest: float

    @classmethod
    def of(cls, *, after_s: float, by_s: float, now: float, spread: float) -> RotationPlan:
        """For a stream opened ``now``; ``spread`` in [0, 1) is per call."""
        width = (by_s - after_s) * SPREAD
        return cls(now + after_s + spread * width, now + by_s - (1 - spread) * width)

    def is_due(self, *, now: float, in_pause: bool) -> bool:
        """Whether to replace the stream now."""
        return now >= (self.in_a_pause_from if in_pause else self.at_the_latest)

    def next_deadline(self, *, now: float) -> float:
        """When ``is_due`` may change by time alone."""
        return self.at_the_latest if now >= self.in_a_pause_from else self.in_a_pause_from


class PauseRule:
    """Detects when nobody speaks and nothing is pending, and where a stream opened then must begin. Pure.

    The voice detector must agree with a recognizer that has had all audio long enough to return its words. If they do
    not, audio is kept: recognizing it twice costs little, dropping it too early loses words.
    """

    def __init__(self) -> None:
        # Since when (by the clock, by the call) nobody speaks; None while somebody does, or if unknown.
        self._quiet_since: tuple[float, int] | None = None

    def note_speech(self, speaking: bool, sample: int, *, now: float) -> None:
        """From the endpointer: speech began, or ended, at ``sample`` of the call."""
        self._quiet_since = None if speaking else (now, sample)

    def may_hold_speech(self, settled_end: int) -> bool:
        """Whether somebody spoke, or may have spoken, after the settled end."""
        return self._quiet_since is None or self._quiet_since[1] > settled_end + SETTLED_SLACK_SAMPLES

    def heard_speech(self, settled_end: int) -> bool:
        """Whether somebody certainly spoke after the settled end: speech ended well after it."""
        return self._quiet_since is not None and self._quiet_since[1] > settled_end + WORD_SAMPLES

    def pause_start(self, *, settled_end: int, call_end: int, caught_up_since: float | None, now: float) -> int | None:
        """The first sample that a new stream must get; None if there is no pause.

        Audio that may contain speech without a final is replayed; silence is not.

        :param caught_up_since: since when the recognizer has had all audio; None if it has not
        """
        if self._quiet_since is None or caught_up_since is None:
            return None
        quiet_s, answer_s = now - self._quiet_since[0], now - caught_up_since
        if quiet_s < PAUSE_S or answer_s < ANSWER_S:
            return None
        if self.may_hold_speech(settled_end) and min(quiet_s, answer_s) < NO_SPEECH_S:
            return settled_end
        return max(settled_end, call_end - PAUSE_MARGIN_SAMPLES)
