"""Whether a stream that has not ended serves: what it takes and tells, against what was said."""

from __future__ import annotations

from fastcall.audio.replay_buffer import AudioHistory
from fastcall.events import NoWords
from fastcall.recognition.hypothesis import Hypothesis
from fastcall.recognition.provider_stream import StreamLeg
from fastcall.recognition.stall import StallRule, WordlessRule

__all__ = ["StreamHealth"]

# A stream that has had all audio for so long before it broke was a working one, even if it had nothing to tell.
PROVEN_S = 5.0


class StreamHealth:
    """The health of one session's streams. Loop thread only.

    :param hypothesis: as far as results reach
    :param history: as far as the call has come
    """

    def __init__(self, hypothesis: Hypothesis, history: AudioHistory) -> None:
        self._hypothesis = hypothesis
        self._history = history
        self._stall = StallRule()
        self._wordless = WordlessRule()

    def note_speech(self, speaking: bool, sample: int, *, now: float) -> None:
        """Somebody speaks since, or nobody speaks since ``sample`` of the call."""
        self._stall.note_speech(speaking, sample, now=now)
        self._wordless.note_speech(speaking, sample, now=now)

    def answered(self, *, now: float) -> None:
        """The owner gave a result."""
        self._stall.answered(settled_to=self._hypothesis.final_end, now=now)

    def words_came(self, *, now: float) -> None:
        """A stream gave a result that has words."""
        self._wordless.words_came(call_end=self._history.end, now=now)

    def lack_of_words(self, leg: StreamLeg, *, now: float) -> NoWords | None:
        """Speech of which the owner, which has had it, tells no words. Told once, until words come again."""
        start = self._wordless.take_trouble(call_end=self._history.end, abreast_since=leg.abreast_since, now=now)
        return None if start is None else NoWords(start, self._history.end)

    def trouble_with(self, leg: StreamLeg, *, now: float) -> str:
        """Why the owner does not serve, although it does not say so; empty if it does. Told once a trouble."""
        if leg.is_stuck(now=now):
            return "the recogniser takes no audio"
        heard_to, call_end = self._heard_to, self._history.end
        if self._stall.is_stalled(heard_to=heard_to, call_end=call_end, abreast_since=leg.abreast_since, now=now):
            self._stall.reported()
            return "speech was heard and no result came"
        return ""

    def is_in_doubt(self, leg: StreamLeg, *, now: float) -> bool:
        """Whether another stream had better hear what the owner tells nothing of. Told once a doubt."""
        is_in_doubt = self._stall.is_in_doubt(heard_to=self._heard_to, abreast_since=leg.abreast_since, now=now)
        if is_in_doubt:
            self._stall.reported()
        return is_in_doubt

    def is_proven(self, leg: StreamLeg, *, now: float) -> bool:
        """Whether the stream worked: its end is then a new failure, not another of the last."""
        if leg.has_answered:
            return True
        if leg.abreast_since is None or self._stall.is_waiting(heard_to=self._heard_to, call_end=self._history.end):
            return False
        return now - leg.abreast_since > PROVEN_S

    @property
    def _heard_to(self) -> int:
        return max(self._hypothesis.final_end, self._hypothesis.end_sample)
