"""Whether a process still works, judged by the heartbeats that its event loop sends."""

from __future__ import annotations

__all__ = ["Heartbeat"]

# The judge may have been stopped itself, and the beats may be waiting to be read: a late look counts as no more.
MAX_STEP_S = 0.5


class Heartbeat:
    """The heartbeats of one process. Pure; one thread.

    Time passes in looks, which should come several times a second.

    :param late_s: silent for so long, it gets no more work
    :param dead_s: silent for so long, it is to be killed
    """

    def __init__(self, *, late_s: float, dead_s: float) -> None:
        self._late_s = late_s
        self._dead_s = dead_s
        self._looked_at: float | None = None
        self.silent_s = 0.0
        """Seconds without a beat, as far as looks have counted them."""

    @property
    def is_late(self) -> bool:
        """Whether a beat is missing."""
        return self.silent_s >= self._late_s

    @property
    def is_dead(self) -> bool:
        """Whether it has been missing for too long."""
        return self.silent_s >= self._dead_s

    def beat(self) -> None:
        """A beat came."""
        self.silent_s = 0.0

    def poll(self, *, now: float) -> None:
        """Count the time since the last look.

        :param now: monotonic, in seconds
        """
        if self._looked_at is not None:
            self.silent_s += min(max(now - self._looked_at, 0.0), MAX_STEP_S)
        self._looked_at = now
