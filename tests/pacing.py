"""When texts were let out, by the clock by which that is decided.

When another thread, or a reader of events, gets to run is the machine's matter.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from fastcall._codec import Debouncer


class PacedDebouncer:
    """In the place of a debouncer: does as that, and keeps when it let a text out."""

    def __init__(self, debouncer: Debouncer) -> None:
        self._debouncer = debouncer
        self.told_at: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._debouncer, name)

    def offer(self, text: str, *, now: float) -> str | None:
        return self._note(self._debouncer.offer(text, now=now), now)

    def fire(self, *, now: float) -> str | None:
        return self._note(self._debouncer.fire(now=now), now)

    @property
    def shortest_gap_s(self) -> float:
        """Between two texts."""
        return min(later - earlier for earlier, later in pairwise(self.told_at))

    def _note(self, text: str | None, now: float) -> str | None:
        if text is not None:
            self.told_at.append(now)
        return text
