"""Detects dead peers: after silence a ping is sent, and must be answered in time. Time is an argument."""

from __future__ import annotations

from typing import Literal

__all__ = ["KeepAlive"]

SOON_S = 0.01


class KeepAlive:
    """The keep-alive of one connection. Pure; one thread. Call ``look`` at the times that ``wait_s`` returns.

    :param after_s: silence after which a ping is sent, while the connection is in use
    :param timeout_s: how long the peer then has to send anything
    """

    __slots__ = ("_after_s", "_asked_at", "_heard_at", "_timeout_s")

    def __init__(self, *, after_s: float, timeout_s: float, now: float) -> None:
        self._after_s = after_s
        self._timeout_s = timeout_s
        self._heard_at = now
        self._asked_at: float | None = None

    def heard(self, *, now: float) -> None:
        """The peer sent something, no matter what."""
        self._heard_at = now
        self._asked_at = None

    def poll(self, *, is_used: bool, now: float) -> Literal["wait", "ask", "gone"]:
        """What to do now. After ``ask`` a ping counts as sent. Unused connections are never pinged."""
        if self._asked_at is not None:
            return "gone" if now - self._asked_at >= self._timeout_s else "wait"
        if now - self._heard_at < self._after_s:
            return "wait"
        if is_used:
            self._asked_at = now
            return "ask"
        self._heard_at = now  # unused: no ping
        return "wait"

    def wait_s(self, *, now: float) -> float:
        """Seconds until the next ``look``."""
        due_at = self._heard_at + self._after_s if self._asked_at is None else self._asked_at + self._timeout_s
        return max(due_at - now, SOON_S)
