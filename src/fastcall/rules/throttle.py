"""Log lines that a stranger can cause, at a pace that a stranger cannot set."""

from __future__ import annotations

__all__ = ["LogThrottle"]


class LogThrottle:
    """Lets one line pass in a while, and counts the others. Pure; one thread."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_at: float | None = None
        self._held_back = 0

    def passes(self, *, now: float) -> int | None:
        """Something happened.

        :return: None if it is only counted; else how many were only counted since the last line
        """
        if self._next_at is not None and now < self._next_at:
            self._held_back += 1
            return None
        self._next_at = now + self._every_s
        held_back, self._held_back = self._held_back, 0
        return held_back
