"""One utterance in the ledger: its place in the call, its settled words, and those of the newest interim."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastcall.events import SAMPLES_PER_MS, Word
from fastcall.recognition.tokenization import joined

__all__ = ["COVER_TOLERANCE_SAMPLES", "Utterance"]

# Finals that end this close before the end of speech cover it: the last voiced frame is not exactly a word's end.
COVER_TOLERANCE_SAMPLES = 300 * SAMPLES_PER_MS


@dataclass(slots=True)
class Utterance:
    """An utterance and its words; samples are call time. Not for threads."""

    id: int
    start_sample: int
    voice_sample: int
    """Where its voice was first detected, after the pre-roll."""
    end_sample: int | None = None
    """None while it is being spoken."""
    source: str | None = None
    settled: list[str] = field(default_factory=list)
    """Its words from finals."""
    unsettled: list[str] = field(default_factory=list)
    """Its words from the newest interim, after those."""
    commit_at: float | None = None
    """The deadline of its commit; None while it is spoken, and after the commit."""
    committed: str | None = None
    """Its last published text."""

    @property
    def text(self) -> str:
        """Its whole text, as far as known."""
        return joined([*self.settled, *self.unsettled])

    def distance(self, word: Word) -> int:
        """How far the middle of ``word`` is outside this utterance, in samples."""
        middle = (word.start_sample + word.end_sample) // 2
        if middle < self.start_sample:
            return self.start_sample - middle
        return max(0, middle - self.end_sample) if self.end_sample is not None else 0

    def speech_in(self, low: int, high: int) -> int:
        """How many samples of its speech are between two samples."""
        end = high if self.end_sample is None else min(self.end_sample, high)
        return max(0, end - max(self.voice_sample, low))

    def is_covered(self, settled_end: int) -> bool:
        """Whether finals up to ``settled_end`` reach its end of speech; of one shorter than the tolerance, at least its
        voice."""
        if self.end_sample is None:
            return False
        reached_to = self.end_sample - COVER_TOLERANCE_SAMPLES
        return settled_end >= self.end_sample or settled_end > max(reached_to, self.voice_sample)
