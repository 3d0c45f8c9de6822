"""How many messages one connection may send."""

from __future__ import annotations

__all__ = ["MessageRateLimit"]

# Twilio sends 50 messages a second and track. After a stall of the network it sends what it kept, all at once: two
# minutes of that are allowed for, and then four times the pace.
RATE_PER_S = 200.0
BURST = 6000
# Twilio's messages have about 400 bytes; a longer one costs as many messages more as it is longer.
MESSAGE_BYTES = 1024


class MessageRateLimit:
    """A bucket of messages that fills again with time. Pure; one per connection, one thread.

    The clock is asked for only when the bucket is empty: until then a message costs a subtraction.
    """

    __slots__ = ("_burst", "_left", "_looked_at", "_rate_per_s")

    def __init__(self, *, now: float, rate_per_s: float = RATE_PER_S, burst: int = BURST) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._left: float = burst
        self._looked_at = now

    @property
    def messages_left(self) -> int:
        """How many messages shorter than 1 KiB may come before ``refill`` must be asked."""
        return max(0, int(self._left))

    def spend_short(self, messages: int) -> None:
        """So many messages shorter than 1 KiB came, no more than ``messages_left``."""
        self._left -= messages

    def spend(self, length: int) -> bool:
        """A message of ``length`` bytes came.

        :return: False when the bucket is empty, and ``refill`` must be asked
        """
        self._left -= 1 + length // MESSAGE_BYTES
        return self._left >= 0

    def refill(self, *, now: float) -> bool:
        """Let time count.

        :return: whether there is room again; if not, the connection sends too much
        """
        gained = (now - self._looked_at) * self._rate_per_s
        self._looked_at = now
        self._left = min(self._left + gained, self._burst)
        return self._left >= 0
