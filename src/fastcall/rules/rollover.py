"""When a stream is replaced: by age, before the provider ends it, and after it broke.

A stream grows old between two ages: from the first on, the next pause of the caller's is taken; at the second it is
replaced whatever is going on. Both are spread by a number of the call's own, so that calls that were opened in one
second are not rotated in one second.

After a failure, back-off grows per call, and a circuit breaker that all calls of a recogniser share lets one
probe through at a time, so that a dead provider is not stormed by every call.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastcall.events import SAMPLES_PER_MS

__all__ = ["Backoff", "CircuitBreaker", "PauseRule", "RotationPlan"]

# How much of the time between the two ages the calls' rotations are spread over.
SPREAD = 0.4

# Nobody has spoken for so long, before that counts as a pause.
PAUSE_S = 1.0
# A recogniser that has had all audio for so long has told of the words in it.
ANSWER_S = 3.0
# Sound that the recogniser makes nothing of for so long was no speech.
NO_SPEECH_S = 10.0
# The detector's end of speech and the end of the final that settles it differ by less.
SETTLED_SLACK_SAMPLES = 100 * SAMPLES_PER_MS
# Speech that ends so long after the last final has a word of its own.
WORD_SAMPLES = 300 * SAMPLES_PER_MS
# Of a pause, so much is heard again: the detector may not yet have noticed that somebody speaks.
PAUSE_MARGIN_SAMPLES = 2000 * SAMPLES_PER_MS

FIRST_BACKOFF_S = 0.2
QUOTA_BACKOFF_S = 2.0
BACKOFF_FACTOR = 2.0
MAX_BACKOFF_S = 8.0


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

    Two witnesses must agree: the voice detector, and a recogniser that has had all audio long enough to tell of words
    in it. Where they do not, audio is kept: heard twice by the provider it costs a moment, forgotten too early it is
    lost.
    """

    def __init__(self) -> None:
        # Since when (by the clock, by the call) nobody speaks; None while somebody does, or if nobody told.
        self._quiet_since: tuple[float, int] | None = None

    def note_speech(self, speaking: bool, sample: int, *, now: float) -> None:
        """The endpointer says: someone speaks since, or nobody speaks since ``sample`` of the call."""
        self._quiet_since = None if speaking else (now, sample)

    def may_hold_speech(self, final_end: int) -> bool:
        """Whether somebody spoke, or may have spoken, after F."""
        return self._quiet_since is None or self._quiet_since[1] > final_end + SETTLED_SLACK_SAMPLES

    def heard_speech(self, final_end: int) -> bool:
        """Whether somebody spoke after F for certain: the detector said when it ended, well after F."""
        return self._quiet_since is not None and self._quiet_since[1] > final_end + WORD_SAMPLES

    def pause_start(self, *, final_end: int, call_end: int, abreast_since: float | None, now: float) -> int | None:
        """The first sample that a new stream must hear; None if there is no pause.

        Everything that may hold speech which no final has settled is heard again; silence is not.

        :param abreast_since: since when the recogniser has had all audio; None if it has not
        """
        if self._quiet_since is None or abreast_since is None:
            return None
        quiet_s, answer_s = now - self._quiet_since[0], now - abreast_since
        if quiet_s < PAUSE_S or answer_s < ANSWER_S:
            return None
        if self.may_hold_speech(final_end) and min(quiet_s, answer_s) < NO_SPEECH_S:
            return final_end
        return max(final_end, call_end - PAUSE_MARGIN_SAMPLES)


class Backoff:
    """One call's waiting times between attempts: exponential, with jitter. Pure; one thread."""

    def __init__(self) -> None:
        self._next_s = FIRST_BACKOFF_S

    def failed(self, *, jitter: float, quota: bool = False) -> float:
        """An attempt failed.

        :param jitter: in [0, 1)
        :return: how long to wait before the next, in seconds: between half the back-off and the whole
        """
        if quota:
            self._next_s = max(self._next_s, QUOTA_BACKOFF_S)
        wait_s = self._next_s * (0.5 + jitter / 2)
        self._next_s = min(self._next_s * BACKOFF_FACTOR, MAX_BACKOFF_S)
        return wait_s

    def succeeded(self) -> None:
        """A stream works."""
        self._next_s = FIRST_BACKOFF_S


class CircuitBreaker:
    """Shared by all calls of one recogniser: when one of them may try again after a failure. Pure; one thread.

    It is open while a number of failures has no success between them; then one attempt at a time probes. Closed, it
    spreads the attempts, because calls that broke together would come back together.

    :param threshold: so many failures without a success between them open it
    :param probe_every_s: while open, one attempt in this time is let through
    :param attempts_per_s: while closed, so many are
    """

    def __init__(self, *, threshold: int = 5, probe_every_s: float = 1.0, attempts_per_s: float = 100.0) -> None:
        self._threshold = threshold
        self._probe_every_s = probe_every_s
        self._slot_s = 1 / attempts_per_s
        self._failures = 0
        self._next_probe_at = 0.0
        self._next_slot_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether attempts are held back."""
        return self._failures >= self._threshold

    def wait_s(self, *, now: float, has_slot: bool = False) -> float:
        """0.0 when an attempt may be made now, and then it counts as made; else how long to wait before asking again.

        :param has_slot: the caller was told to wait while the breaker was closed, and has waited: that was its place
        """
        if self.is_open:
            wait_s = self._next_probe_at - now
            if wait_s <= 0:
                self._next_probe_at = now + self._probe_every_s
        elif has_slot:
            return 0.0
        else:
            wait_s = self._next_slot_at - now
            self._next_slot_at = max(now, self._next_slot_at) + self._slot_s
        return max(0.0, wait_s)

    def failed(self, *, now: float) -> None:
        """A stream could not be opened, or broke before it had worked."""
        self._failures += 1
        if self._failures == self._threshold:
            self._next_probe_at = now + self._probe_every_s

    def succeeded(self) -> None:
        """A stream works."""
        self._failures = 0
