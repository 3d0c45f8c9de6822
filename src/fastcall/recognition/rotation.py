"""When a stream is replaced by age, before the provider ends it.

A stream grows old between two ages: from the first on, the next pause of the caller's is taken; at the second it is
replaced whatever is going on. Both are spread by a number of the call's own, so that calls that were opened in one
second are not rotated in one second.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastcall.events import SAMPLES_PER_MS

__all__ = ["PauseRule", "RotationPlan"]

# How much of the time between the two ages the calls' rotations are spread over.
SPREAD = 0.4

# Nobody has spoken for so long, before that counts as a pause.
PAUSE_S = 1.0
# A recognizer that has had all audio for so long has told of the words in it.
ANSWER_S = 3.0
# Sound that the recognizer makes nothing of for so long was no speech.
NO_SPEECH_S = 10.0
# The detector's end of speech and the end of the final that settles it differ by less.
SETTLED_SLACK_SAMPLES = 100 * SAMPLES_PER_MS
# Speech that ends so long after the last final has a word of its own.
WORD_SAMPLES = 300 * SAMPLES_PER_MS
# Of a pause, so much is heard again: the detector may not yet have noticed that somebody speaks.
PAUSE_MARGIN_SAMPLES = 2000 * SAMPLES_PER_MS


@dataclass(slots=True, frozen=True)
class RotationPlan:
    """The two ages of one stream, in seconds of the clock that ``now`` comes from."""

    in_a_pause_from: float
    at_the_latest: float

    @classmethod
    def of(cls, *, after_s: float, by_s: float, now: float, spread: float) -> RotationPlan:
        """For a stream opened ``now``; ``spread`` in [0, 1) is the call's own."""
        width = (by_s - after_s) * SPREAD
        return cls(now + after_s + spread * width, now + by_s - (1 - spread) * width)

    def is_due(self, *, now: float, in_pause: bool) -> bool:
        """Whether to replace the stream now."""
        return now >= (self.in_a_pause_from if in_pause else self.at_the_latest)

    def next_deadline(self, *, now: float) -> float:
        """When ``is_due`` may change by time alone."""
        return self.at_the_latest if now >= self.in_a_pause_from else self.in_a_pause_from


class PauseRule:
    """When nobody speaks and nothing is pending, and from where a stream that is opened then must hear. Pure.

    Two witnesses must agree: the voice detector, and a recognizer that has had all audio long enough to tell of words
    in it. Where they do not, audio is kept: heard twice by the provider it costs a moment, forgotten too early it is
    lost.
    """

    def __init__(self) -> None:
        # Since when (by the clock, by the call) nobody speaks; None while somebody does, or if nobody told.
        self._quiet_since: tuple[float, int] | None = None

    def note_speech(self, speaking: bool, sample: int, *, now: float) -> None:
        """The endpointer says: someone speaks since, or nobody speaks since ``sample`` of the call."""
        self._quiet_since = None if speaking else (now, sample)

    def may_hold_speech(self, settled_end: int) -> bool:
        """Whether somebody spoke, or may have spoken, after the settled end."""
        return self._quiet_since is None or self._quiet_since[1] > settled_end + SETTLED_SLACK_SAMPLES

    def heard_speech(self, settled_end: int) -> bool:
        """Whether somebody certainly spoke after the settled end: the detector said when it ended, well after that."""
        return self._quiet_since is not None and self._quiet_since[1] > settled_end + WORD_SAMPLES

    def pause_start(self, *, settled_end: int, call_end: int, caught_up_since: float | None, now: float) -> int | None:
        """The first sample that a new stream must hear; None if there is no pause.

        Everything that may hold speech which no final has settled is heard again; silence is not.

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
