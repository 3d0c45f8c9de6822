"""A call's audio since it was last settled, by call time: what streams are fed from, and fed again from.

Everything that goes to a recognizer is read from here, so that a replay is the same act as sending: a stream
that begins at an earlier sample. What a final has settled is forgotten; what grows past the bound is forgotten too, and
counted. Where the samples lie is the core's business (``AudioTrack``); which of them are kept is this module's.
"""

from __future__ import annotations

from fastcall._codec import AudioTrack

__all__ = ["ReplayBuffer"]


class ReplayBuffer:
    """Samples [``start``, ``end``) of the call, as they came. Pure; one thread. Memory is taken as needed.

    :param sample_bytes: 1 for mu-law, 2 for LINEAR16
    :param limit_samples: at most so much is kept
    """

    def __init__(self, *, sample_bytes: int, limit_samples: int) -> None:
        self._limit_samples = limit_samples
        self.track = AudioTrack(sample_bytes=sample_bytes)
        """Where the samples lie. Another thread may push into it; ``take`` makes that part of the history."""
        self.lost_samples = 0
        """Samples that were forgotten although nothing had settled them."""
        self.lost_to = 0
        """One past the newest of them."""
        self._settled_to = 0
        self._keep_samples = 0

    @property
    def start(self) -> int:
        """The first sample that is kept."""
        return self.track.start

    @property
    def end(self) -> int:
        """One past the newest sample."""
        return self.track.end

    def kept_from(self, sample: int) -> int:
        """How many samples are kept from ``sample`` on."""
        track = self.track
        return track.end - max(sample, track.start)

    def append(self, audio: bytes) -> None:
        """Whole samples that follow the newest. Only where no other thread pushes into the track."""
        self.track.push(audio)
        self.take()

    def take(self) -> None:
        """What was pushed into the track follows the newest."""
        track = self.track
        track.take()
        if self._keep_samples:
            self._forget()
        excess = track.end - track.start - self._limit_samples
        if excess > 0:
            lost = track.start + excess - max(track.start, self._settled_to)
            track.forget_before(track.start + excess)
            if lost > 0:
                self.lost_samples += lost
                self.lost_to = track.start

    def read(self, start: int, samples: int) -> bytes:
        """At most ``samples`` samples from ``start`` on, as LINEAR16; none where there are none yet.

        :raises ValueError: ``start`` lies before what is kept
        """
        return self.track.read(start, samples) if samples > 0 and start < self.end else b""

    def keep(self, samples: int) -> None:
        """Keep so many of the newest although they are settled, or more if that was asked before; never above the
        limit. For who wants to hear them again."""
        self._keep_samples = min(max(samples, self._keep_samples), self._limit_samples)

    def forget_before(self, sample: int) -> None:
        """Samples before ``sample`` are settled."""
        self._settled_to = max(self._settled_to, min(sample, self.end))
        self._forget()

    def _forget(self) -> None:
        end = self._settled_to
        if self._keep_samples:
            end = min(end, max(0, self.end - self._keep_samples))
        self.track.forget_before(end)
