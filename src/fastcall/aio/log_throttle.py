"""Log lines that a stranger can cause, at a pace that a stranger cannot set."""

from __future__ import annotations

import re
from collections import OrderedDict

__all__ = ["LineLimits", "LogThrottle", "kind_of"]

# Of a kind: so many at once, and then one in so many seconds; of a call, and of the whole process.
CALL_BURST, CALL_EVERY_S = 10, 10.0
PROCESS_BURST, PROCESS_EVERY_S = 50, 1.0
MAX_KINDS = 4096
MAX_KIND_CHARS = 60

_VALUE = re.compile(r"[\d:=(,;'\"]")


def kind_of(message: str) -> str:
    """What kind of line this is: its words before the first value."""
    found = _VALUE.search(message, 0, MAX_KIND_CHARS)
    return message[: found.start() if found else MAX_KIND_CHARS]


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


class LineLimits:
    """Decides which log lines pass: a call may say the same a few times, and all calls together some times. Pure; one
    thread at a time."""

    def __init__(self) -> None:
        # (kind, call) or (kind, ""), and when its allowance will be whole again: an allowance that time refills.
        self._whole_at: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._held_back: dict[str, int] = {}
        self.held_back_in_all = 0
        """Lines that did not pass."""

    def passes(self, kind: str, call: str, *, now: float) -> int | None:
        """A line of ``kind`` was made, about ``call``; an empty one is about none.

        :return: None if it is only counted; else how many of its kind were only counted since the last that passed
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
        """When the allowance will be whole if this line passes; None: it is used up."""
        whole_at = max(self._whole_at.get((kind, call), now), now) + every_s
        return whole_at if whole_at - now <= every_s * burst else None

    def _set(self, kind: str, call: str, whole_at: float) -> None:
        self._whole_at[kind, call] = whole_at
        self._whole_at.move_to_end((kind, call))
        if len(self._whole_at) > MAX_KINDS:
            self._whole_at.popitem(last=False)
