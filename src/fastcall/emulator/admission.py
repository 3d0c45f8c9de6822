"""The project's quotas, which limit the streams that may open. Pure; time is an argument."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastcall.emulator.options import Options

__all__ = ["Admission", "Refusal"]


class Refusal(Enum):
    CONCURRENT_STREAMS = auto()
    REQUESTS_PER_MINUTE = auto()


class Admission:
    """Counts open streams and the requests of the last 60 s. Not thread-safe."""

    def __init__(self, options: Options) -> None:
        self._max_streams = options.max_streams
        self._per_minute = options.requests_per_minute
        self._recent: deque[float] = deque()
        self.open_streams = 0

    def open(self, *, now: float) -> Refusal | None:
        """Request a stream. None: it is open, and `close` must be called at its end. Refused requests count, too."""
        recent = self._recent
        while recent and recent[0] <= now - 60:
            recent.popleft()
        if self._per_minute and len(recent) >= self._per_minute:
            return Refusal.REQUESTS_PER_MINUTE
        recent.append(now)
        if self._max_streams and self.open_streams >= self._max_streams:
            return Refusal.CONCURRENT_STREAMS
        self.open_streams += 1
        return None

    def close(self) -> None:
        self.open_streams -= 1
