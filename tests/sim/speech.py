"""Words as audio that a program hears without doubt, at the cost of a search for a byte.

A word is a run of mu-law samples whose values count up, so that a slip of one sample inside it shows; in its middle
stand a mark and the word's number. A recognizer finds the mark and compares the samples around it. Heard is a word of
which all but the edges came through in one piece; what else has a mark is garbled; what has none is nothing.

A word begins weaker than it goes on, by 10 dB for 50 ms: sound whose loudness does not change is not a voice, but the
line's noise.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EDGE_SAMPLES", "MARK", "SILENCE", "SpokenWord", "number_at"]

SILENCE = 0xFF
MARK = 0x01
_RAMP_FIRST, _RAMP_LENGTH = 0x10, 61
_DIGIT_FIRST, _DIGITS, _BASE = 0x50, 3, 40
MARK_SAMPLES = 1 + _DIGITS

# So much of a word's begin and end may be missing, and it is still heard. Recognizers round times by less.
EDGE_SAMPLES = 240

_RAMP = bytes(_RAMP_FIRST + i % _RAMP_LENGTH for i in range(8000 + _RAMP_LENGTH))

_WEAK_FIRST, _WEAK_SAMPLES = 0x30, 400
_WEAK_LENGTH = _RAMP_FIRST + _RAMP_LENGTH - _WEAK_FIRST
_WEAK = bytes(_WEAK_FIRST + i % _WEAK_LENGTH for i in range(_WEAK_SAMPLES))


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """Word ``number`` of a call: what it says, and where in the call it is said."""

    number: int
    text: str
    start: int
    end: int

    @property
    def mark_at(self) -> int:
        """Where in the run the mark stands."""
        return (self.end - self.start - MARK_SAMPLES) // 2

    def samples(self) -> bytes:
        """The run, as mu-law."""
        run = bytearray(_RAMP[: self.end - self.start])
        run[:_WEAK_SAMPLES] = _WEAK
        at, number = self.mark_at, self.number
        run[at] = MARK
        for i in range(_DIGITS):
            number, digit = divmod(number, _BASE)
            run[at + 1 + i] = _DIGIT_FIRST + digit
        return bytes(run)


def number_at(audio: bytes | bytearray, mark: int) -> int:
    """The number of the word whose mark is at ``mark``; -1 if what follows is no number."""
    number = 0
    for i in reversed(range(_DIGITS)):
        digit = audio[mark + 1 + i] - _DIGIT_FIRST
        if not 0 <= digit < _BASE:
            return -1
        number = number * _BASE + digit
    return number
