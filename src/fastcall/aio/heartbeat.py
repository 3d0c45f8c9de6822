"""Decides by the heartbeats of its event loop whether a process is alive."""

from __future__ import annotations

__all__ = ["Heartbeat"]

# The observer may have been stopped itself, with beats waiting to be read: a late look counts at most this much.
MAX_STEP_S = 0.5


class Heartbeat:
    """The heartbeats of one process. Pure; one thread.

    Time is counted in looks, which should come several times a second.

    :param late_s: after this silence it gets no more work
    :param dead_s: after this silence it must be killed
    """

    def __init__(self, *, late_s: float, dead_s: float) -> None:
        self._late_s = late_s
        self._dead_s = dead_s
        self._looked_at: float | None = None
        self.silent_s = 0.0
        """Seconds without a beat, as counted by looks."""

    @property
    def is_late(self) -> bool:
        """Whether a beat is missing."""
        return self.silent_s >= self._late_s

    @property
    def is_dead(self) -> bool:
        """Whether it has been missing for too long."""
        return self.silent_s >= self._dead_s

    def beat(self) -> None:
        """A beat arrived."""
        self.silent_s = 0.0

    def poll(self, *, now: float) -> None:
        """Count the time since the last look.

        :param now: monotonic, in seconds
        """
        if self._looked_at is not None:
            self.silent_s += min(max(now - self._looked_at, 0.0), MAX_STEP_S)
        self._looked_at = now
