"""Limits the rate of log lines that strangers can cause."""

from __future__ import annotations

import re
from collections import OrderedDict

__all__ = ["LineLimits", "LogThrottle", "kind_of"]

# Per kind of line: a burst, then one in so many seconds; for a call, and for the whole process.
CALL_BURST, CALL_EVERY_S = 10, 10.0
PROCESS_BURST, PROCESS_EVERY_S = 50, 1.0
MAX_KINDS = 4096
MAX_KIND_CHARS = 60

_VALUE = re.compile(r"[\d:=(,;'\"]")


def kind_of(message: str) -> str:
    """The kind of a line: its words before the first value."""
    found = _VALUE.search(message, 0, MAX_KIND_CHARS)
    return message[: found.start() if found else MAX_KIND_CHARS]


class LogThrottle:
    """Passes one line per interval, and counts the others. Pure; one thread."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_at: float | None = None
        self._held_back = 0

    def passes(self, *, now: float) -> int | None:
        """Something happened.

        :return: None to suppress the line; else how many were suppressed since the last one
        """
        if self._next_at is not None and now < self._next_at:
            self._held_back += 1
            return None
        self._next_at = now + self._every_s
        held_back, self._held_back = self._held_back, 0
        return held_back


class LineLimits:
    """Decides which log lines pass: limits similar lines per call, and for all calls together. Pure; one thread at a
    time."""

    def __init__(self) -> None:
        # (kind, call) or (kind, ""), and when its allowance, which refills with time, will be full again.
        self._whole_at: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._held_back: dict[str, int] = {}
        self.held_back_in_all = 0
        """Lines suppressed."""

    def passes(self, kind: str, call: str, *, now: float) -> int | None:
        """A line of ``kind`` about ``call`` (empty: about none).

        :return: None to suppress it; else how many of its kind were suppressed since the last that passed
        """
        of_call = self._after(kind, call, CALL_EVERY_S, CALL_BURST, now) if call else None
        of_all = self._after(kind, "", PROCESS_EVERY_S, PROCESS_BURST, now)
        if of_all is None or (call and of_call is None):
            self.held_back_in_all += 1
            if kind in self._held_back or len(self._held_back) < MAX_KINDS:
                self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return None
        self._set(kind, "", of_all)
        if of_call is not None:
            self._set(kind, call, of_call)
        return self._held_back.pop(kind, 0)

    def _after(self, kind: str, call: str, every_s: float, burst: int, now: float) -> float | None:
        """When the allowance will be full again if this line passes; None: it is used up."""
        whole_at = max(self._whole_at.get((kind, call), now), now) + every_s
        return whole_at if whole_at - now <= every_s * burst else None

    def _set(self, kind: str, call: str, whole_at: float) -> None:
        self._whole_at[kind, call] = whole_at
        self._whole_at.move_to_end((kind, call))
        if len(self._whole_at) > MAX_KINDS:
            self._whole_at.popitem(last=False)
