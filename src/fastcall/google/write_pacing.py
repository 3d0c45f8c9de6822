"""When a connection's next write is due: at once, or together with others.

Most of a request's cost is the kernel's, for the write. While the event loop's thread is busy, one write carries the
requests of some milliseconds; while it is not, a request waits for the end of the loop's turn only.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["WritePacing"]

CHECK_EVERY_S = 1.0


class WritePacing:
    """The writes of one connection. Pure; one thread.

    :param every_s: minimum time between two writes while the thread is busy
    :param busy_share: the share of a core from which on it is
    :param cpu_s: CPU time that the thread has used, in seconds; called once per second
    """

    def __init__(self, *, every_s: float, busy_share: float, cpu_s: Callable[[], float]) -> None:
        self._every_s = every_s
        self._busy_share = busy_share
        self._cpu_s = cpu_s
        self._is_busy = busy_share <= 0
        self._used_s = 0.0
        self._checked_at = self._written_at = float("-inf")

    def written(self, *, now: float) -> None:
        """Something was written."""
        self._written_at = now

    def wait_s(self, *, now: float) -> float:
        """How long to wait with the next write."""
        passed_s = now - self._checked_at
        if passed_s >= CHECK_EVERY_S:
            used_s = self._cpu_s()
            self._is_busy = (used_s - self._used_s) / passed_s >= self._busy_share
            self._used_s, self._checked_at = used_s, now
        return max(0.0, self._written_at + self._every_s - now) if self._is_busy else 0.0
