"""A call's audio since it was last settled, by call time: what streams are fed from, and fed again from.

Everything that goes to a recogniser is read from here, so that a replay is the same act as sending: a stream
that begins at an earlier sample. What a final has settled is forgotten; what grows past the bound is forgotten too, and
counted.
"""

from __future__ import annotations

from fastcall._codec import mulaw_decode

__all__ = ["AudioHistory"]


class AudioHistory:
    """Samples [``start``, ``end``) of the call, as they came. Pure; one thread. Memory is taken as needed.

    :param sample_bytes: 1 for mu-law, 2 for LINEAR16
    :param limit_samples: at most so much is kept
    """

    def __init__(self, *, sample_bytes: int, limit_samples: int) -> None:
        self._sample_bytes = sample_bytes
        self._limit_samples = limit_samples
        self._silence = b"\xff" if sample_bytes == 1 else b"\x00\x00"
        self._data = bytearray()
        self._start = 0
        self.lost_samples = 0
        """Samples that were forgotten although nothing had settled them."""
        self.lost_to = 0
        """One past the newest of them."""

    @property
    def start(self) -> int:
        """The first sample that is kept."""
        return self._start

    @property
    def end(self) -> int:
        """One past the newest sample."""
        return self._start + len(self._data) // self._sample_bytes

    def append(self, audio: bytes) -> None:
        """Whole samples that follow the newest."""
        self._data += audio
        self._bound()

    def append_silence(self, samples: int) -> None:
        """Samples that are missing; they keep their time."""
        self._data += self._silence * min(samples, self._limit_samples)
        skipped = samples - min(samples, self._limit_samples)
        if skipped:
            # More silence than is kept: only the time of its first part matters.
            self._start += skipped
        self._bound()

    def read(self, start: int, samples: int) -> bytes:
        """At most ``samples`` samples from ``start`` on, as LINEAR16. ``start`` is within what is kept."""
        low = (start - self._start) * self._sample_bytes
        piece = bytes(self._data[low : low + samples * self._sample_bytes])
        return mulaw_decode(piece) if self._sample_bytes == 1 else piece

    def forget_before(self, sample: int) -> None:
        """Samples before ``sample`` are settled."""
        count = min(max(0, sample - self._start), len(self._data) // self._sample_bytes)
        del self._data[: count * self._sample_bytes]
        self._start += count

    def _bound(self) -> None:
        excess = len(self._data) // self._sample_bytes - self._limit_samples
        if excess > 0:
            self.lost_samples += excess
            self.forget_before(self._start + excess)
            self.lost_to = self._start
