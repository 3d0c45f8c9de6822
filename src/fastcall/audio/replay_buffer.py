"""A call's unsettled audio, by call time: the source for streams, and for replays.

All audio for a recognizer is read from here, so that a replay is ordinary sending from an earlier sample. Audio settled
by a final is dropped; audio beyond the limit is dropped too, and counted. The core stores the samples (``AudioTrack``);
this module decides which of them are kept.
"""

from __future__ import annotations

from fastcall._codec import AudioTrack

__all__ = ["ReplayBuffer"]


class ReplayBuffer:
    """Samples [``start``, ``end``) of the call, as received. Pure; one thread. Memory is allocated as needed.

    :param sample_bytes: 1 for mu-law, 2 for LINEAR16
    :param limit_samples: maximum number of samples kept
    """

    def __init__(self, *, sample_bytes: int, limit_samples: int) -> None:
        self._limit_samples = limit_samples
        self.track = AudioTrack(sample_bytes=sample_bytes)
        """The storage. Another thread may push into it; ``take`` adds that to the history."""
        self.lost_samples = 0
        """Samples dropped although they were not settled."""
        self.lost_to = 0
        """One past the newest dropped sample."""
        self._settled_to = 0
        self._keep_samples = 0

    @property
    def start(self) -> int:
        """The first sample kept."""
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
        """Append whole samples. Only if no other thread pushes into the track."""
        self.track.push(audio)
        self.take()

    def take(self) -> None:
        """Append the samples pushed into the track."""
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
        """Up to ``samples`` samples from ``start`` on, as LINEAR16; empty if there are none yet.

        :raises ValueError: ``start`` is before the samples kept
        """
        return self.track.read(start, samples) if samples > 0 and start < self.end else b""

    def keep(self, samples: int) -> None:
        """Keep so many of the newest samples even if they are settled, or more if requested before; never above the
        limit."""
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
