"""How the simulated provider hears: PCM in, words with their place in the stream out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastcall._codec import mulaw_encode
from sim.speech import EDGE_SAMPLES, MARK, MARK_SAMPLES, SILENCE, SpokenWord, number_at

__all__ = ["HeardWord", "WordSpotter"]

KEEP_SAMPLES = 8000
_SILENCE = bytes([SILENCE])


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word in stream time. ``number`` is -1 if it is garbled."""

    number: int
    text: str
    start: int
    end: int


class WordSpotter:
    """One stream's audio. A word is found once all that it takes to hear it has come."""

    def __init__(self, words: Mapping[int, SpokenWord]) -> None:
        self._words = words
        self._buffer = bytearray()
        self._base = 0
        self._scan = 0
        self.heard_samples = 0
        """Audio that came in."""
        self.voice_end = 0
        """Where in the stream the last sound ended."""

    def hear(self, pcm: bytes) -> list[HeardWord]:
        """The words that ``pcm`` completes."""
        audio = mulaw_encode(pcm)
        voiced = len(audio.rstrip(_SILENCE))
        if voiced:
            self.voice_end = self.heard_samples + voiced
        self._buffer += audio
        self.heard_samples += len(audio)
        found = self._find()
        low = min(self._scan, self.heard_samples) - KEEP_SAMPLES
        if low > self._base:
            del self._buffer[: low - self._base]
            self._base = low
        return found

    def _find(self) -> list[HeardWord]:
        found: list[HeardWord] = []
        buffer = self._buffer
        while True:
            at = buffer.find(MARK, self._scan - self._base)
            if at < 0:
                self._scan = self.heard_samples
                return found
            if at + MARK_SAMPLES > len(buffer):
                self._scan = self._base + at
                return found
            number = number_at(buffer, at)
            word = self._words.get(number)
            if word is None:
                found.append(HeardWord(-1, "~garbled", self._base + at, self._base + at + MARK_SAMPLES))
                self._scan = self._base + at + 1
                continue
            run = word.samples()
            start = at - word.mark_at
            last = start + len(run) - EDGE_SAMPLES
            if last > len(buffer):
                self._scan = self._base + at
                return found
            first = start + EDGE_SAMPLES
            whole = first >= 0 and buffer[first:last] == run[EDGE_SAMPLES : len(run) - EDGE_SAMPLES]
            stream_start = self._base + start
            if whole:
                found.append(HeardWord(number, word.text, max(0, stream_start), stream_start + len(run)))
            else:
                found.append(HeardWord(-1, f"~{word.text}", max(0, stream_start), self._base + last))
            self._scan = self._base + at + MARK_SAMPLES
