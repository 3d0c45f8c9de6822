"""Maps call time to the clock: when a sample of the call was spoken, as far as the receiver can know."""

from __future__ import annotations

from fastcall._codec import CallClock

__all__ = ["CallClock"]
