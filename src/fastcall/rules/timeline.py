"""Where an inbound frame stands in the call.

Call time counts samples since the first inbound frame, so it must neither stretch when the network delivers
in bursts nor shrink when frames are missing. Twilio's ``media.timestamp`` is the clock: its first value is
100-200 ms, and it drifts by 2 ms, so each frame is compared with the end of the one before.

The rule itself is compiled, because the hot lane asks it for every frame; the slow way asks the same object.
"""

from __future__ import annotations

from fastcall._codec import InboundTimeline

__all__ = ["InboundTimeline"]
