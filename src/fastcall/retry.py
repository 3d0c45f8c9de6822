"""When to try again after a failure.

Back-off grows per call; a circuit breaker that all calls of a recognizer share lets one probe through at a time,
so that calls do not storm a provider that is down. Pure: time and jitter are arguments.
"""

from __future__ import annotations

__all__ = ["Backoff", "CircuitBreaker"]

FIRST_BACKOFF_S = 0.2
QUOTA_BACKOFF_S = 2.0
BACKOFF_FACTOR = 2.0
MAX_BACKOFF_S = 8.0


class Backoff:
    """One call's waiting times between attempts: exponential, with jitter. Pure; one thread."""

    def __init__(self) -> None:
        self._next_s = FIRST_BACKOFF_S

    def failed(self, *, jitter: float, quota: bool = False) -> float:
        """An attempt failed.

        :param jitter: in [0, 1)
        :return: seconds to wait before the next one: between half the back-off and all of it
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
    """Shared by all calls of one recognizer: when one of them may try again after a failure. Pure; one thread.

    It opens after consecutive failures; then one attempt at a time probes. Closed, it spreads attempts, because calls
    that failed together would retry together.

    :param threshold: consecutive failures that open it
    :param probe_every_s: interval between attempts while open
    :param attempts_per_s: rate of attempts while closed
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
        """0.0 if an attempt may be made now, and then it is counted; else how long to wait before the next query.

        :param has_slot: the caller has waited for its slot, returned while the breaker was closed
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
        """A stream could not be opened, or failed before it had worked."""
        self._failures += 1
        if self._failures == self._threshold:
            self._next_probe_at = now + self._probe_every_s

    def succeeded(self) -> None:
        """A stream works."""
        self._failures = 0
