"""How many messages one connection may send."""

from __future__ import annotations

__all__ = ["MessageRateLimit"]

# Twilio sends 50 messages a second and track. After a stall of the network it sends what it kept, all at once: two
# minutes of that are allowed for, and then four times the pace.
RATE_PER_S = 200.0
BURST = 6000
# Before `start` comes `connected`, and nothing else: a longer `start` and a few pings have room, and there is no more
# with time. A stranger who cannot start a call has no more work done for him.
BURST_BEFORE_START = 200
# Twilio's messages have about 400 bytes; a longer one costs as many messages more as it is longer.
MESSAGE_BYTES = 1024


class MessageRateLimit:
    """A bucket of messages that fills again with time, once `start` has come. Pure; one per connection, one thread.

    The clock is asked for only when the bucket is empty: until then a message costs a subtraction.
    """

    __slots__ = ("_burst", "_left", "_looked_at", "_rate_per_s")

    def __init__(self) -> None:
        self._rate_per_s = self._looked_at = 0.0
        self._burst = BURST_BEFORE_START
        self._left: float = self._burst

    def started(self, *, now: float) -> None:
        """`start` has come: what a call may send may come from now on. Does nothing if it has come before."""
        if not self._rate_per_s:
            self._rate_per_s, self._looked_at = RATE_PER_S, now
            self._left += BURST - self._burst
            self._burst = BURST

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
