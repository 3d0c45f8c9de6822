"""Determines an inbound frame's place in the call.

Call time counts samples since the first inbound frame, so it must neither stretch when the network delivers in bursts
nor shrink when frames are missing. Two fields determine a frame's place:

- The number (``chunk``, else ``sequenceNumber``) shows whether a frame is new. Only a number can show that it is a
  duplicate; a frame without one is used.
- The timestamp shows how long a gap is. Real ones begin at 100 to 200 ms, drift, and jitter by some 12 ms; so they are
  compared with a running estimate of the clock's offset, and a deviation of less than 50 ms is not a gap. If the frames
  skipped by ``chunk`` have the same length, within 50 ms, exactly these frames are missing.
  In a stream with two tracks, numbers only show what is new: Twilio's example counts the chunks of both together.
  A clock that is missing, constant or in whole seconds measures nothing under 1.5 s.

A late frame, whose place was filled with silence, is appended: its audio is used, and the next gap is shortened by its
length. A timestamp that jumps back by a second or more, or ahead by an hour, is treated as another clock.

This rule is compiled, because the fast path uses it for every frame; the slow path uses the same object.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from fastcall._codec import InboundTimeline
from fastcall.events import SAMPLES_PER_MS, TranscriptEvent

__all__ = ["MAX_SILENCE_SAMPLES", "CallTime", "InboundTimeline"]

# More silence is useless for a recognizer, but costs money.
MAX_SILENCE_SAMPLES = 5000 * SAMPLES_PER_MS
# Maximum number of gaps kept; the oldest ones are merged.
MAX_CUTS = 4096


class CallTime:
    """Maps samples of a call's audio, in which long gaps are shortened, to call time, and back.

    Pure; one a call, one thread.
    """

    def __init__(self) -> None:
        self._at: list[int] = []
        self._cut: list[int] = []
        self._oldest = 0  # samples left out by earlier, merged gaps

    @property
    def cut_samples(self) -> int:
        """Samples of silence left out so far."""
        return self._cut[-1] if self._cut else 0

    def cut(self, at: int, samples: int) -> None:
        """``samples`` samples of silence were left out before sample ``at`` of the audio, its end so far."""
        if len(self._at) == MAX_CUTS:
            self._oldest = self._cut[0]
            del self._at[0], self._cut[0]
        self._at.append(at)
        self._cut.append(self.cut_samples + samples)

    def of(self, sample: int) -> int:
        """The call time of a sample of the audio."""
        index = bisect_right(self._at, sample)
        return sample + self._left_out_before(index)

    def placed(self, event: TranscriptEvent) -> TranscriptEvent:
        """The event with its samples in call time."""
        if not self.cut_samples or event.start_sample is event.end_sample is None:
            return event
        start, end = (None if each is None else self.of(each) for each in (event.start_sample, event.end_sample))
        return replace(event, start_sample=start, end_sample=end)

    def audio_at(self, call_sample: int) -> int:
        """The sample of the audio at a point of call time; within a shortened gap, the end of its kept part."""
        gaps = range(len(self._at))
        # The newest gap that begins by then; it may extend beyond.
        index = bisect_right(gaps, call_sample, key=lambda gap: self._at[gap] + self._left_out_before(gap)) - 1
        if index < 0:
            return max(call_sample - self._oldest, 0)
        return max(call_sample - self._cut[index], self._at[index])

    def _left_out_before(self, gap: int) -> int:
        return self._cut[gap - 1] if gap else self._oldest
