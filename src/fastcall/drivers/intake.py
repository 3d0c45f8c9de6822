"""How audio gets from whichever thread has it into the call's history."""

from __future__ import annotations

from collections import deque

from fastcall._codec import AudioRing
from fastcall.events import SAMPLE_RATE_HZ
from fastcall.rules.history import AudioHistory

__all__ = ["AudioIntake"]

RING_S = 10


class AudioIntake:
    """A ring between one producer thread and the loop, which keeps time when it overflows.

    A full ring drops its newest audio. The place and length of each hole are kept, and the history gets silence there,
    so that call time and what the recogniser hears stay in step.

    :param sample_bytes: 1 for mu-law, 2 for LINEAR16
    """

    def __init__(self, history: AudioHistory, *, sample_bytes: int) -> None:
        self._history = history
        self._sample_bytes = sample_bytes
        self._ring = AudioRing(RING_S * SAMPLE_RATE_HZ, sample_bytes=sample_bytes)
        # Places in the ring's count of samples at which audio is missing, and how much. Appended by the producer,
        # taken by the loop: the two ends of a deque are safe between two threads.
        self._holes: deque[tuple[int, int]] = deque()

    @property
    def ring(self) -> AudioRing:
        """The ring, for a producer that asks it first whether all fits."""
        return self._ring

    @property
    def fed_samples(self) -> int:
        """Samples that were fed, dropped ones included. Any thread."""
        return self._ring.pushed_samples + self._ring.dropped_samples

    @property
    def dropped_samples(self) -> int:
        """Samples that did not fit. Any thread."""
        return self._ring.dropped_samples

    @property
    def waiting_samples(self) -> int:
        """Samples that wait in the ring. Any thread."""
        return self._ring.waiting_samples

    def feed(self, audio: bytes) -> None:
        """Take whole samples; never blocks. Producer thread.

        :raises ValueError: not a whole number of samples
        """
        accepted = self._ring.push(audio)
        self._note_hole(len(audio) // self._sample_bytes - accepted)

    def feed_silence(self, samples: int) -> None:
        """The same for silence. Producer thread."""
        self._note_hole(samples - self._ring.push_silence(samples))

    def drain(self) -> None:
        """Move what waits into the history. Loop thread."""
        ring, holes = self._ring, self._holes
        while holes:
            position, missing = holes.popleft()
            self._history.append(ring.take(position - ring.taken_samples))
            self._history.append_silence(missing)
        self._history.append(ring.take(ring.waiting_samples))

    def _note_hole(self, missing: int) -> None:
        if missing:
            self._holes.append((self._ring.pushed_samples, missing))
