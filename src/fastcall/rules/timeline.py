"""Where an inbound frame stands in the call.

Call time counts samples since the first inbound frame, so it must neither stretch when the network delivers
in bursts nor shrink when frames are missing. Twilio's ``media.timestamp`` is the clock: its first value is
100-200 ms, and it drifts by 2 ms, so each frame is compared with the end of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastcall.events import SAMPLES_PER_MS

__all__ = ["InboundTimeline", "Placement"]

TOLERANCE_MS = 10
MAX_GAP_MS = 5000


@dataclass(slots=True, frozen=True)
class Placement:
    """What to do with one frame: put ``silence_samples`` before it, then take it, or not (``taken``)."""

    silence_samples: int
    taken: bool


_APPEND = Placement(0, True)
_DROP = Placement(0, False)


class InboundTimeline:
    """Compares each frame's timestamp with the end of the frame before. Pure; one per call, one thread."""

    __slots__ = ("_expected_ms", "duplicate_frames", "gap_samples", "gaps", "rebases")

    def __init__(self) -> None:
        self._expected_ms: float | None = None
        self.gaps = 0
        """Gaps that were filled with silence."""
        self.gap_samples = 0
        """Samples of silence that fill them."""
        self.duplicate_frames = 0
        """Frames that were dropped because their time had come before."""
        self.rebases = 0
        """Jumps of over 5 s, forward or back, after which the new timestamp was believed."""

    def place(self, timestamp_ms: int, samples: int) -> Placement:
        """Where a frame of ``samples`` samples that bears ``timestamp_ms`` goes.

        Within 10 ms of what was expected it is appended. A larger gap becomes silence; an overlap of a
        whole frame or more means that the frame was sent before and is dropped. A jump of more than 5 s
        either way is a new clock, not audio: the frame is appended and the clock rebased.
        """
        duration_ms = samples / SAMPLES_PER_MS
        expected_ms = self._expected_ms
        if expected_ms is None:
            self._expected_ms = timestamp_ms + duration_ms
            return _APPEND
        gap_ms = timestamp_ms - expected_ms
        if abs(gap_ms) > MAX_GAP_MS:
            self.rebases += 1
        elif gap_ms <= -duration_ms and gap_ms < -TOLERANCE_MS:
            self.duplicate_frames += 1
            return _DROP
        elif gap_ms > TOLERANCE_MS:
            self.gaps += 1
            silence = int(gap_ms) * SAMPLES_PER_MS
            self.gap_samples += silence
            self._expected_ms = timestamp_ms + duration_ms
            return Placement(silence, True)
        self._expected_ms = timestamp_ms + duration_ms
        return _APPEND
