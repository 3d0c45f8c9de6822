"""Detects a stalled recognizer: it accepts audio, there was speech, but no result arrives.

Noise that the voice detector takes for speech looks the same. So a stall needs some seconds of speech after the
recognizer's last result. Less is a doubt: another stream is tried, and no failure is reported. Each time the next one
has no result either, the patience doubles.
"""

from __future__ import annotations

from collections import deque

from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS

__all__ = ["NO_WORDS_S", "STALL_S", "StallRule", "WordlessRule"]

# No result for so long after the recognizer got the speech.
STALL_S = 8.0
# Speech after its last result; shorter speech may be a cough.
STALL_SAMPLES = 2000 * SAMPLES_PER_MS
# Speech that ends so long after its last result may be a word.
DOUBT_SAMPLES = 300 * SAMPLES_PER_MS
# Speech since its last words, and time since then, after which missing words are reported.
NO_WORDS_S = 5.0
# Utterances whose lengths are remembered; so many contain enough speech, or are noise.
MAX_KEPT = 32


class StallRule:
    """Detects a stall of one session's streams. Pure; one thread."""

    def __init__(self) -> None:
        self._began: int | None = None  # while somebody speaks
        self._utterances: deque[tuple[int, int]] = deque(maxlen=MAX_KEPT)
        # When the last result came, or speech began after it; later speech does not extend it.
        self._waits_since = 0.0
        self._spoke_since_news = False
        self._patience_s = STALL_S

    def note_speech(self, speaking: bool, sample: int, *, now: float) -> None:
        """Speech began, or ended, at ``sample`` of the call."""
        if self._began is not None:
            self._utterances.append((self._began, sample))
        self._began = sample if speaking else None
        if speaking and not self._spoke_since_news:
            self._waits_since, self._spoke_since_news = now, True

    def answered(self, *, settled_to: int, now: float) -> None:
        """A result arrived; speech before ``settled_to`` does not count any more."""
        while self._utterances and self._utterances[0][1] <= settled_to:
            self._utterances.popleft()
        self._waits_since, self._spoke_since_news = now, False
        self._patience_s = STALL_S

    def reported(self) -> None:
        """Another stream is tried."""
        self._patience_s *= 2

    def is_waiting(self, *, heard_to: int, call_end: int) -> bool:
        """Whether there was enough speech between ``heard_to``, the end of results, and ``call_end``."""
        spoken = 0 if self._began is None else max(0, call_end - max(self._began, heard_to))
        spoken += sum(max(0, end - max(start, heard_to)) for start, end in self._utterances)
        return spoken >= STALL_SAMPLES

    def is_stalled(self, *, heard_to: int, call_end: int, caught_up_since: float | None, now: float) -> bool:
        """Whether to cancel the stream.

        :param caught_up_since: since when it has had all audio; None if it has not
        """
        return self.is_waiting(heard_to=heard_to, call_end=call_end) and self._is_patience_over(caught_up_since, now)

    def is_in_doubt(self, *, heard_to: int, caught_up_since: float | None, now: float) -> bool:
        """Whether to try another stream, because there may have been a word. Not while somebody speaks."""
        voice_end = self._utterances[-1][1] if self._utterances and self._began is None else 0
        return voice_end - heard_to >= DOUBT_SAMPLES and self._is_patience_over(caught_up_since, now)

    def _is_patience_over(self, caught_up_since: float | None, now: float) -> bool:
        return caught_up_since is not None and now - max(self._waits_since, caught_up_since) >= self._patience_s


class WordlessRule:
    """Detects speech without words, whatever else the recognizer returns. Pure; one thread."""

    def __init__(self) -> None:
        self._began: int | None = None  # while somebody speaks
        self._words_at = 0  # the call's end when the last words came
        self._spoken = 0  # samples of speech since then, in utterances that are over
        self._since: tuple[int, float] | None = None  # where in the call, and when, the first of it began
        self._is_told = False

    def note_speech(self, speaking: bool, sample: int, *, now: float) -> None:
        """Speech began, or ended, at ``sample`` of the call."""
        if self._began is not None:
            self._spoken += max(0, sample - max(self._began, self._words_at))
        self._began = sample if speaking else None
        if speaking and self._since is None:
            self._since = sample, now

    def words_came(self, *, call_end: int, now: float) -> None:
        """The recognizer returned words."""
        self._words_at, self._spoken, self._is_told = call_end, 0, False
        self._since = None if self._began is None else (call_end, now)

    def take_trouble(self, *, call_end: int, caught_up_since: float | None, now: float) -> int | None:
        """From where in the call words are missing; None if they are not, or if it was reported since the last words.

        :param caught_up_since: since when the recognizer has had all audio; None if it has not
        """
        if self._is_told or self._since is None or caught_up_since is None:
            return None
        start, began_at = self._since
        open_samples = 0 if self._began is None else max(0, call_end - max(self._began, self._words_at))
        is_enough = self._spoken + open_samples >= NO_WORDS_S * SAMPLE_RATE_HZ
        if not is_enough or now - max(began_at, caught_up_since) < NO_WORDS_S:
            return None
        self._is_told = True
        return start
