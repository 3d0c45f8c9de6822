"""Checks whether an open stream works: compares its input and results with the call's speech."""

from __future__ import annotations

from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.events import NoWords
from fastcall.recognition.hypothesis import Hypothesis
from fastcall.recognition.stall import StallRule, WordlessRule
from fastcall.recognition.stream_state import StreamState

__all__ = ["StreamHealth"]

# A stream that had all audio for so long before it broke was working, even without results.
PROVEN_S = 5.0


class StreamHealth:
    """The health of one session's streams. Loop thread only.

    :param hypothesis: how far results reach
    :param replay_buffer: how far the call's audio reaches
    """

    def __init__(self, hypothesis: Hypothesis, replay_buffer: ReplayBuffer) -> None:
        self._hypothesis = hypothesis
        self._replay_buffer = replay_buffer
        self._stall = StallRule()
        self._wordless = WordlessRule()

    def note_speech(self, speaking: bool, sample: int, *, now: float) -> None:
        """Speech began, or ended, at ``sample`` of the call."""
        self._stall.note_speech(speaking, sample, now=now)
        self._wordless.note_speech(speaking, sample, now=now)

    def answered(self, *, now: float) -> None:
        """The active stream gave a result."""
        self._stall.answered(settled_to=self._hypothesis.settled_end, now=now)

    def words_came(self, *, now: float) -> None:
        """A stream gave a result with words."""
        self._wordless.words_came(call_end=self._replay_buffer.end, now=now)

    def lack_of_words(self, stream: StreamState, *, now: float) -> NoWords | None:
        """Speech that the active stream got and returns no words for. Reported once, until words come again."""
        start = self._wordless.take_trouble(
            call_end=self._replay_buffer.end, caught_up_since=stream.caught_up_since, now=now
        )
        return None if start is None else NoWords(start, self._replay_buffer.end)

    def trouble_with(self, stream: StreamState, *, now: float) -> str:
        """Why the active stream does not work although it has not failed; empty if it does. Once per problem."""
        if stream.is_stuck(now=now):
            return "the recognizer accepts no audio"
        heard_to, call_end = self._heard_to, self._replay_buffer.end
        if self._stall.is_stalled(
            heard_to=heard_to, call_end=call_end, caught_up_since=stream.caught_up_since, now=now
        ):
            self._stall.reported()
            return "there was speech but no result"
        return ""

    def is_in_doubt(self, stream: StreamState, *, now: float) -> bool:
        """Whether to try another stream for speech without results. Reported once per doubt."""
        is_in_doubt = self._stall.is_in_doubt(heard_to=self._heard_to, caught_up_since=stream.caught_up_since, now=now)
        if is_in_doubt:
            self._stall.reported()
        return is_in_doubt

    def is_proven(self, stream: StreamState, *, now: float) -> bool:
        """Whether the stream worked: its end is then a new failure, not a repetition of the last."""
        if stream.has_answered:
            return True
        if stream.caught_up_since is None or self._stall.is_waiting(
            heard_to=self._heard_to, call_end=self._replay_buffer.end
        ):
            return False
        return now - stream.caught_up_since > PROVEN_S

    @property
    def _heard_to(self) -> int:
        return max(self._hypothesis.settled_end, self._hypothesis.end_sample)
