"""How audio gets from whichever thread has it into the call's history."""

from __future__ import annotations

from fastcall._codec import AudioTrack
from fastcall.events import SAMPLE_RATE_HZ
from fastcall.rules.history import AudioHistory

__all__ = ["AudioIntake"]

RING_S = 10


class AudioIntake:
    """One producer thread's end of the history's track, of which the loop has the other; keeps time when it overflows.

    Where 10 s wait already, the newest audio is dropped and silence of the same length takes its place, so that call
    time and what the recogniser hears stay in step. Audio is written once, to where it is read from.

    :param sample_bytes: 1 for mu-law, 2 for LINEAR16, as the history keeps it
    :raises ValueError: the history keeps the other
    """

    def __init__(self, history: AudioHistory, *, sample_bytes: int) -> None:
        self._history = history
        self._track = history.track
        if self._track.sample_bytes != sample_bytes:
            raise ValueError(f"samples of {sample_bytes} bytes for a history of {self._track.sample_bytes}")
        self._limit_samples = int(RING_S * SAMPLE_RATE_HZ)

    @property
    def track(self) -> AudioTrack:
        """Where audio is fed to, for a producer that looks itself whether all fits."""
        return self._track

    @property
    def limit_samples(self) -> int:
        """At most so many samples may wait."""
        return self._limit_samples

    @property
    def fed_samples(self) -> int:
        """Samples that were fed, dropped ones included. Any thread."""
        return self._track.pushed_samples

    @property
    def dropped_samples(self) -> int:
        """Samples that did not fit. Any thread."""
        return self._track.dropped_samples

    @property
    def waiting_samples(self) -> int:
        """Samples that wait for ``drain``. Any thread."""
        return self._track.waiting_samples

    def feed(self, audio: bytes) -> None:
        """Take whole samples; never blocks. Producer thread.

        :raises ValueError: not a whole number of samples
        """
        self._track.push(audio, self._limit_samples)

    def feed_silence(self, samples: int) -> None:
        """The same for silence, which needs no room. Producer thread."""
        self._track.push_silence(samples)

    def drain(self) -> None:
        """Make what waits part of the history. Loop thread."""
        self._history.take()
