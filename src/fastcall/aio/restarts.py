"""Back-off for restarting a crashed process."""

from __future__ import annotations

__all__ = ["RestartPause"]

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
# After so long, a start counts as successful.
STEADY_S = 10.0


class RestartPause:
    """Pauses that double while the process crashes soon after its start. Pure; one thread."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def after(self, lived_s: float) -> float:
        """It has crashed: how long to wait, in seconds.

        :param lived_s: how long it has run
        """
        if lived_s > STEADY_S:
            self._next_s = FIRST_PAUSE_S
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, MAX_PAUSE_S)
        return pause_s
