"""Limits how many messages one connection may send."""

from __future__ import annotations

__all__ = ["MessageRateLimit"]

# Twilio sends 50 messages a second per track. After a network stall it sends the backlog at once: two minutes of that
# are allowed, and then four times the rate.
RATE_PER_S = 200.0
BURST = 6000
# Only `connected` comes before `start`: there is room for a long `start` and a few pings, and it does not refill. A
# stranger who cannot start a call causes no more work.
BURST_BEFORE_START = 200
# Twilio's messages have about 400 bytes; longer ones are charged in proportion.
MESSAGE_BYTES = 1024


class MessageRateLimit:
    """A token bucket of messages that refills once `start` was received. Pure; one per connection, one thread.

    The clock is needed only when the bucket is empty: until then a message costs a subtraction.
    """

    __slots__ = ("_burst", "_left", "_looked_at", "_rate_per_s")

    def __init__(self) -> None:
        self._rate_per_s = self._looked_at = 0.0
        self._burst = BURST_BEFORE_START
        self._left: float = self._burst

    def started(self, *, now: float) -> None:
        """`start` was received: allow a call's messages from now on. Further calls do nothing."""
        if not self._rate_per_s:
            self._rate_per_s, self._looked_at = RATE_PER_S, now
            self._left += BURST - self._burst
            self._burst = BURST

    @property
    def messages_left(self) -> int:
        """How many messages shorter than 1 KiB may arrive before ``refill`` must be called."""
        return max(0, int(self._left))

    def spend_short(self, messages: int) -> None:
        """Charge for messages shorter than 1 KiB, no more than ``messages_left``."""
        self._left -= messages

    def spend(self, length: int) -> bool:
        """Charge for a message of ``length`` bytes.

        :return: False when the bucket is empty, and ``refill`` must be called
        """
        self._left -= 1 + length // MESSAGE_BYTES
        return self._left >= 0

    def refill(self, *, now: float) -> bool:
        """Refill by the time passed.

        :return: whether the bucket has room again; if not, the connection sends too much
        """
        gained = (now - self._looked_at) * self._rate_per_s
        self._looked_at = now
        self._left = min(self._left + gained, self._burst)
        return self._left >= 0
