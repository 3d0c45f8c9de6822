"""Sanitizes one stream's results: no sample is settled twice, and every result has an end.

Providers repeat themselves: a final arrives twice, or the next one repeats its words and continues ("tell me a", then
"tell me a joke"). They omit times, or return times beyond the audio sent. All this is handled here, for each stream
separately and in stream time.

Repetitions are detected by word times if there are any. Otherwise by the words: a result begins with the words settled
last, and there was no time to speak them again; or interims since then began without them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fastcall.events import SAMPLES_PER_MS
from fastcall.recognition.alignment import normalized
from fastcall.recognition.tokenization import joined, tokens_by_word, tokens_of

__all__ = ["Reported", "StreamReports", "TimedWord"]

# Recognizers round their times, by less than this.
ROUNDING_SAMPLES = 300 * SAMPLES_PER_MS
# An end up to this far beyond the audio sent is rounded; one further off is invalid.
BEYOND_SAMPLES = 1000 * SAMPLES_PER_MS
KEPT_TOKENS = 64
# Several repeated words need so much time each if they were spoken again: the pace of ordinary speech. A single word is
# often spoken twice, so it counts as a repetition only if there was no time to speak it.
SAID_AGAIN_SAMPLES = 300 * SAMPLES_PER_MS
FASTEST_SAMPLES = 80 * SAMPLES_PER_MS

NO_END = "results have no end time: their end is estimated"
END_BEYOND = "results end beyond the audio sent: their end is estimated"
NO_WORD_TIMES = "words have no usable times: words are assigned by text alignment"
REPEATED = "results repeat settled words: these are used once"


class TimedWord(Protocol):
    """A word in stream time, in samples; an end of 0 means that it has no time."""

    @property
    def text(self) -> str: ...
    @property
    def start_sample(self) -> int: ...
    @property
    def end_sample(self) -> int: ...


@dataclass(slots=True, frozen=True)
class Reported:
    """The part of a result that was not settled before."""

    text: str
    end_sample: int
    first_word: int = 0
    """Index of the result's first new word."""
    is_timed: bool = False
    """Whether its words' times are usable."""


class StreamReports:
    """The results of one stream, in order; samples are stream time. Pure; one thread."""

    def __init__(self) -> None:
        self.oddities: list[str] = []
        """Anomalies found, each kind once."""
        self._settled_end = 0
        self._word_end = 0
        """Where the last settled word ends."""
        self._tail: deque[str] = deque(maxlen=KEPT_TOKENS)
        """The newest settled tokens, normalized."""
        self._shortest: list[str] = []
        """The shortest interim since the last final, normalized."""
        self._growth: list[tuple[int, int]] = []
        """Token counts of interims since the last final, and the end of the first with so many; increasing."""
        self._reach_back = 0
        """How many settled tokens interims since the last final began with."""

    # --- results --------------------------------------------------------------------------------------

    def final(self, text: str, words: Sequence[TimedWord], end_sample: int, *, sent: int) -> Reported | None:
        """A final result; None if all of it was settled before.

        :param end_sample: of the provider; 0: none
        :param sent: length of the audio sent on the stream
        """
        is_timed = self._is_timed(words, sent)
        tokens = tokens_of(text)
        is_told = self._is_told(end_sample, sent)
        end = min(end_sample, sent) if is_told else self._heard_by(len(tokens), sent)
        if is_timed and (not is_told or words[-1].end_sample > end + ROUNDING_SAMPLES):
            end = min(words[-1].end_sample, sent)
        plain = [normalized(token) for token in tokens]
        first_word = 0
        if is_timed:
            first_word, skipped = self._repeated_words(text, words)
        else:
            skipped = self._repeated_tokens(plain, end, is_told=is_told)
        self._shortest, self._reach_back = [], 0
        if skipped:
            self._note(REPEATED)
            if skipped == len(tokens):
                return None
            text = joined(tokens[skipped:])
        settled = len(tokens) - skipped
        self._growth = [(count - settled, heard_by) for count, heard_by in self._growth if count > settled]
        self._settled_end = max(self._settled_end, end)
        self._word_end = max(self._word_end, min(words[-1].end_sample, sent) if is_timed else end)
        self._tail.extend(plain[skipped:])
        return Reported(text, end, first_word, is_timed)

    def interim(self, text: str, words: Sequence[TimedWord], end_sample: int, *, sent: int) -> Reported:
        """A response's combined interim results. Parameters as of ``final``."""
        is_told = self._is_told(end_sample, sent)
        end = min(end_sample, sent) if is_told else sent
        tokens = tokens_of(text)
        plain = [normalized(token) for token in tokens]
        first_word = skipped = 0
        is_timed = bool(words) and self._is_timed(words, sent)
        if self._tail and is_timed:
            first_word, skipped = self._repeated_words(text, words)
        elif self._tail:
            skipped = self._repeated_in_interim(plain, end, is_told=is_told)
        if plain and (not self._shortest or len(plain) < len(self._shortest)):
            self._shortest = plain
        if len(plain) - skipped > (self._growth[-1][0] if self._growth else 0):
            self._growth = [*self._growth[1 - KEPT_TOKENS :], (len(plain) - skipped, end)]
        if skipped:
            self._note(REPEATED)
            text = joined(tokens[skipped:])
        return Reported(text, end, first_word, is_timed)

    # --- times ----------------------------------------------------------------------------------------

    def _is_told(self, end_sample: int, sent: int) -> bool:
        if end_sample <= 0:
            self._note(NO_END)
        elif end_sample > sent + BEYOND_SAMPLES:
            self._note(END_BEYOND)
        else:
            return True
        return False

    def _heard_by(self, tokens: int, sent: int) -> int:
        """The latest end of a final of so many tokens: an interim had them by then."""
        return next((heard_by for count, heard_by in self._growth if count >= tokens), sent)

    def _is_timed(self, words: Sequence[TimedWord], sent: int) -> bool:
        if not words:
            return False
        if all(word.end_sample > 0 for word in words) and words[-1].end_sample <= sent + BEYOND_SAMPLES:
            return True
        self._note(NO_WORD_TIMES)
        return False

    def _note(self, oddity: str) -> None:
        if oddity not in self.oddities:
            self.oddities.append(oddity)

    # --- repetitions ----------------------------------------------------------------------------------

    def _repeated_words(self, text: str, words: Sequence[TimedWord]) -> tuple[int, int]:
        """How many words at the start were settled before, and how many tokens of ``text`` they are."""
        middles = [(word.start_sample + word.end_sample) // 2 for word in words]
        near = next((i for i, middle in enumerate(middles) if middle >= self._word_end), len(words))
        if not near:
            return 0, 0
        sure = next((i for i, middle in enumerate(middles) if middle > self._word_end - ROUNDING_SAMPLES), near)
        count = next((i for i in range(near, sure, -1) if self._ends_with(words[sure:i])), sure)
        shares = tokens_by_word(text, [word.text for word in words])
        return count, sum(map(len, shares[:count]))

    def _ends_with(self, words: Sequence[TimedWord]) -> bool:
        """Whether the settled text ends with ``words``."""
        plain = [normalized(token) for word in words for token in tokens_of(word.text)]
        return list(self._tail)[-len(plain) :] == plain

    def _overlap(self, plain: Sequence[str]) -> int:
        """How many of the newest settled tokens ``plain`` begins with."""
        tail = list(self._tail)
        lengths = range(min(len(tail), len(plain)), 0, -1)
        return next((n for n in lengths if tail[-1] == plain[n - 1] and tail[-n:] == list(plain[:n])), 0)

    def _repeated_tokens(self, plain: Sequence[str], end: int, *, is_told: bool) -> int:
        """How many tokens at the start of a final without word times were settled before."""
        room = end - self._settled_end
        if not self._tail or not plain:
            return 0
        if is_told and (room <= -ROUNDING_SAMPLES or (room <= 0 and not self._shortest)):
            return len(plain)
        count = self._overlap(plain)
        if not count or self._reach_back:
            return count
        shortest = self._shortest
        has_begun_after = bool(shortest) and count < len(plain) and shortest[0] == plain[count] != plain[0]
        if has_begun_after and shortest != list(plain[: len(shortest)]):
            return count  # interims began after the repetition
        if not is_told:
            return 0 if shortest else count
        return count if self._is_too_short(plain, count, room) else 0

    def _repeated_in_interim(self, plain: Sequence[str], end: int, *, is_told: bool) -> int:
        room = end - self._settled_end
        if is_told and room <= -ROUNDING_SAMPLES:
            return len(plain)  # late: all of it is settled
        count = self._overlap(plain)
        if count and not self._reach_back and is_told and self._is_too_short(plain, count, room):
            self._reach_back = count
        return count if self._reach_back else 0

    def _is_too_short(self, plain: Sequence[str], count: int, room: int) -> bool:
        """Whether ``plain``, which begins with ``count`` settled tokens, takes longer than ``room`` samples."""
        shortest = self._shortest
        was_heard_growing = 0 < len(shortest) < count and shortest == list(plain[: len(shortest)])
        # A character of an unspaced script takes half the time of a word, and two of them make one.
        is_word = len(plain[0]) > 1 or plain[0].isascii()
        is_said_twice = was_heard_growing or count < (2 if is_word else 4)
        each = FASTEST_SAMPLES if is_said_twice else SAID_AGAIN_SAMPLES
        return room < len(plain) * (each if is_word else each // 2)
