"""Maps call time to the clock: when a sample of the call was spoken, as far as the receiver can know."""

from __future__ import annotations

from fastcall.events import SAMPLE_RATE_HZ

__all__ = ["CallClock"]

# Clocks drift apart by less; without this, the audio of a long call would seem to get older, or younger.
DRIFT = 1e-4


class CallClock:
    """Maps call time to the clock that ``now`` comes from. Pure; one a call, one thread.

    The earliest audio sets the mapping: anything later was delayed. So the age of a sample includes the network's
    jitter and every delay since, but not the constant part of the network's latency.
    """

    __slots__ = ("_began_at", "_looked_at")

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._looked_at = 0.0

    def heard(self, end_sample: int, *, now: float) -> None:
        """The call's audio up to ``end_sample`` has arrived."""
        began_at = now - end_sample / SAMPLE_RATE_HZ
        if self._began_at is not None:
            began_at = min(began_at, self._began_at + DRIFT * (now - self._looked_at))
        self._began_at = began_at
        self._looked_at = now

    def skipped(self, samples: int) -> None:
        """Time passed without audio: audio after it is not late."""
        if self._began_at is not None:
            self._began_at += samples / SAMPLE_RATE_HZ

    def age_s(self, sample: int, *, now: float) -> float:
        """How long ago ``sample`` was spoken, in seconds; 0 before any audio."""
        if self._began_at is None:
            return 0.0
        return max(0.0, now - self._began_at - sample / SAMPLE_RATE_HZ)
