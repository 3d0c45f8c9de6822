"""Where an inbound frame stands in the call.

Call time counts samples since the first inbound frame, so it must neither stretch when the network delivers in bursts
nor shrink when frames are missing. Two things say where a frame belongs, and each is asked for what it knows:

- The number (``chunk``, else ``sequenceNumber``) says whether a frame is new. Only a number can show that it came
  before; a frame without one is used.
- The timestamp says how long a gap is. Real ones begin at 100 to 200 ms, drift, and stray by some 12 ms; so they are
  compared with a running estimate of the clock's offset, and what strays from it by less than 50 ms is no gap. If the
  frames that ``chunk`` leaves out are as long as that, within the same 50 ms, it is they that are missing, exactly.
  Of a stream with two tracks numbers say only what is new: Twilio's example counts the chunks of both together.
  A clock that is missing, stands still or shows whole seconds measures nothing under 1.5 s.

A frame that comes late, after its place was filled with silence, is appended: its audio is used, and the next gap is
shorter by as much. A timestamp that goes back by a second or more, or leaves out an hour, is another clock.

This rule is compiled, because the fast path asks it for every frame; the slow path asks the same object.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from fastcall._codec import InboundTimeline
from fastcall.events import SAMPLES_PER_MS, TranscriptEvent

__all__ = ["MAX_SILENCE_SAMPLES", "CallTime", "InboundTimeline"]

# A recognizer learns nothing from more silence, and is paid for it.
MAX_SILENCE_SAMPLES = 5000 * SAMPLES_PER_MS
# Gaps that are kept apart; the oldest ones become one.
MAX_CUTS = 4096


class CallTime:
    """Maps samples of the audio that a call's parts have, in which long gaps are cut short, to call time, and back.

    Pure; one a call, one thread.
    """

    def __init__(self) -> None:
        self._at: list[int] = []
        self._cut: list[int] = []
        self._oldest = 0  # samples that the gaps before those have left out

    @property
    def cut_samples(self) -> int:
        """Samples of silence that were left out so far."""
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
        """The sample of the audio at a point of call time; the end of what was kept, inside of what was left out."""
        gaps = range(len(self._at))
        # Of the gaps that begin by then the newest, which may go on beyond it.
        index = bisect_right(gaps, call_sample, key=lambda gap: self._at[gap] + self._left_out_before(gap)) - 1
        if index < 0:
            return max(call_sample - self._oldest, 0)
        return max(call_sample - self._cut[index], self._at[index])

    def _left_out_before(self, gap: int) -> int:
        return self._cut[gap - 1] if gap else self._oldest
