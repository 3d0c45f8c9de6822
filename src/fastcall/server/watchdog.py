"""Deadlines for each state of a call's connection. Time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastcall.settings import Settings

__all__ = ["Expiry", "Watchdog"]

# A peer closes after `stop`; Twilio does at once.
STOPPED_S = 5.0

NORMAL = 1000
POLICY_VIOLATION = 1008


@dataclass(slots=True, frozen=True)
class Expiry:
    """A deadline passed: close with ``code``; ``reason`` is a counter's label."""

    reason: Literal["start", "silent", "length", "stop"]
    code: int
    text: str


class Watchdog:
    """The deadlines of one connection from its handshake until it begins to close. Pure; one thread.

    :param start_s: how long it may wait for ``start``
    :param silent_s: how long a live one may send nothing at all; 0: no limit
    :param total_s: how long a call may be; 0: no limit
    """

    __slots__ = ("_heard_at", "_silent_s", "_start_s", "_started_at", "_state", "_stopped_at", "_total_s")

    def __init__(self, *, start_s: float, silent_s: float, total_s: float, now: float) -> None:
        self._start_s, self._silent_s, self._total_s = start_s, silent_s, total_s
        self._state: Literal["waiting", "live", "stopped", "closed"] = "waiting"
        self._heard_at = self._started_at = self._stopped_at = now

    @classmethod
    def of(cls, settings: Settings, *, now: float) -> Watchdog:
        """One with the limits of ``settings``."""
        return cls(
            start_s=settings.start_timeout_s,
            silent_s=settings.call_silent_max_s,
            total_s=settings.call_max_s,
            now=now,
        )

    def heard(self, *, now: float) -> None:
        """A message of any kind arrived."""
        self._heard_at = max(self._heard_at, now)

    def started(self, *, now: float) -> None:
        """The call is live."""
        self._state = "live"
        self._started_at = self._heard_at = now

    def stopped(self, *, now: float) -> None:
        """The peer has sent ``stop``."""
        if self._state != "closed":
            self._state = "stopped"
            self._stopped_at = now

    def closed(self) -> None:
        """The connection is closed or closing; closing has its own deadline."""
        self._state = "closed"

    def next_deadline(self) -> float | None:
        """When to check next."""
        if self._state == "waiting":
            return self._started_at + self._start_s
        if self._state == "stopped":
            return self._stopped_at + STOPPED_S
        if self._state == "closed":
            return None
        silent_at = self._heard_at + self._silent_s if self._silent_s else None
        total_at = self._started_at + self._total_s if self._total_s else None
        return min((at for at in (silent_at, total_at) if at is not None), default=None)

    def poll(self, *, now: float) -> Expiry | None:
        """What has expired; reported once, then the connection counts as closing."""
        due_at = self.next_deadline()
        if due_at is None or now < due_at:
            return None
        state, self._state = self._state, "closed"
        if state == "waiting":
            return Expiry("start", POLICY_VIOLATION, f"no start message within {self._start_s:g} s")
        if state == "stopped":
            return Expiry("stop", NORMAL, f"the peer has not closed within {STOPPED_S:g} s of its stop message")
        if self._total_s and now >= self._started_at + self._total_s:
            return Expiry("length", NORMAL, f"the call reached the limit of {self._total_s:g} s (CALL_MAX_S)")
        return Expiry("silent", POLICY_VIOLATION, f"no message for {self._silent_s:g} s (CALL_SILENT_MAX_S)")
