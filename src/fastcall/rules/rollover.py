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

# The caller is silent and the recogniser has nothing pending: for so long, before that counts as a pause.
PAUSE_S = 1.0
PAUSE_MARGIN_SAMPLES = 500 * SAMPLES_PER_MS
# Sound that the recogniser makes nothing of for so long after it ended was no speech.
NO_SPEECH_S = 10.0

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
    """When nobody speaks and nothing is pending, and from where a stream that is opened then must hear. Pure."""

    def __init__(self) -> None:
        # Since when (by the clock, by the call) nobody speaks; None while somebody does, or if nobody told.
        self._quiet_since: tuple[float, int] | None = None

    def note_speech(self, speaking: bool, sample: int, *, now: float) -> None:
        """The endpointer says: someone speaks since, or nobody speaks since ``sample`` of the call."""
        self._quiet_since = None if speaking else (now, sample)

    def pause_start(self, *, final_end: int, call_end: int, now: float) -> int | None:
        """The first sample that a new stream must hear; None if there is no pause.

        Everything that may hold speech which no final has settled is heard again; silence is not.
        """
        if self._quiet_since is None:
            return None
        quiet_s, quiet_from = now - self._quiet_since[0], self._quiet_since[1]
        if quiet_s < PAUSE_S:
            return None
        if final_end < quiet_from - PAUSE_MARGIN_SAMPLES and quiet_s < NO_SPEECH_S:
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
    """Shared by all calls of one recogniser. Pure; one thread.

    :param threshold: so many failures without a success between them open it
    :param probe_every_s: while open, one attempt in this time is let through
    """

    def __init__(self, *, threshold: int = 5, probe_every_s: float = 1.0) -> None:
        self._threshold = threshold
        self._probe_every_s = probe_every_s
        self._failures = 0
        self._next_probe_at = 0.0
        self._probe_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether attempts are held back."""
        return self._failures >= self._threshold

    def wait_s(self, *, now: float) -> float:
        """0.0 when an attempt may be made now (and then it counts as made), else how long to wait."""
        if self.is_open and self._probe_since is not None and now - self._probe_since >= self._probe_every_s:
            self.succeeded()  # the probe has lived as long as it takes to fail
        if not self.is_open:
            return 0.0
        if now >= self._next_probe_at:
            self._next_probe_at = now + self._probe_every_s
            self._probe_since = now
            return 0.0
        return self._next_probe_at - now

    def failed(self, *, now: float) -> None:
        """A stream could not be opened, or broke."""
        self._failures += 1
        self._probe_since = None
        if self._failures == self._threshold:
            self._next_probe_at = now + self._probe_every_s

    def succeeded(self) -> None:
        """A stream gave a result."""
        self._failures = 0
        self._probe_since = None
