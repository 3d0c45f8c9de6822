"""When to retry after a failure.

Each call has its own back-off. All calls of a recognizer share a circuit breaker, which lets one probe through at a
time, so that they do not overload a provider that is down. Pure: time and jitter are arguments.
"""

from __future__ import annotations

__all__ = ["Backoff", "CircuitBreaker"]

FIRST_BACKOFF_S = 0.2
QUOTA_BACKOFF_S = 2.0
BACKOFF_FACTOR = 2.0
MAX_BACKOFF_S = 8.0


class Backoff:
    """One call's delays between attempts: exponential, with jitter. Pure; one thread."""

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
        """A stream works: reset the back-off."""
        self._next_s = FIRST_BACKOFF_S


class CircuitBreaker:
    """Shared by all calls of one recognizer: when one of them may try again after a failure. Pure; one thread.

    It opens after a number of consecutive failures; then it lets one probe through at a time. While closed, it spreads
    the attempts, because calls that failed together would otherwise retry together.

    :param threshold: the number of consecutive failures that opens it
    :param probe_every_s: while open, one attempt is allowed per this time
    :param attempts_per_s: attempts allowed per second while closed
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
        """0.0: an attempt is allowed now, and counts as made; otherwise how long to wait before asking again.

        :param has_slot: the caller has already waited for its slot while the breaker was closed
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
        """A stream could not be opened, or failed before it worked."""
        self._failures += 1
        if self._failures == self._threshold:
            self._next_probe_at = now + self._probe_every_s

    def succeeded(self) -> None:
        """A stream works: close the breaker."""
        self._failures = 0
