"""Maps stream time to call time, piece by piece.

A provider counts the samples of one stream; the call counts its own. They differ by silence that only the stream has
(keep-alive) and, after a replay, by earlier audio. "Base plus offset" is wrong as soon as one such piece exists, so
each stream keeps a list of its pieces.
"""

from __future__ import annotations

from bisect import bisect_right

from fastcall._codec import StreamPosition

__all__ = ["TimeMap"]


class TimeMap:
    """The pieces of one stream, in stream order. Pure; one thread.

    Contiguous audio is one piece, so the list grows with seams and not with time, and ``forget_before``
    bounds it besides.

    :param position: where the last piece ends; audio that continues it may be added there, without this object
    """

    def __init__(self, position: StreamPosition | None = None) -> None:
        self._position = StreamPosition() if position is None else position
        # Parallel lists: where a piece starts in the stream, where in the call, and whether it is audio.
        self._stream_starts: list[int] = []
        self._call_starts: list[int] = []
        self._is_audio: list[bool] = []

    @property
    def length_samples(self) -> int:
        """Samples sent on the stream so far."""
        return self._position.length_samples

    def add_audio(self, call_start: int, samples: int) -> None:
        """The next ``samples`` samples on the stream are the call's from ``call_start`` on."""
        if not samples:
            return
        position = self._position
        if not (position.is_audio and position.call_end == call_start):
            self._open(call_start, audio=True)
        position.length_samples += samples
        position.call_end = call_start + samples

    def add_keepalive(self, samples: int) -> None:
        """The next ``samples`` samples on the stream are silence, which the call does not count."""
        if not samples:
            return
        if not self._is_audio or self._is_audio[-1]:
            self._open(self._position.call_end, audio=False)
        self._position.length_samples += samples

    def to_call(self, stream_sample: int) -> int:
        """The call time of a point of the stream at which something ends.

        Where two pieces meet, such a point is the end of the first, not the start of the second. A point inside
        keep-alive silence maps to the call time at which the silence was inserted. Points outside the audio sent are
        clamped to it, because providers round.
        """
        return self._in_piece(stream_sample, self._piece_of(stream_sample - 1))

    def span_to_call(self, start: int, end: int) -> tuple[int, int]:
        """The call times of a word's start and end.

        A word belongs to one piece, that of its middle: where two pieces meet its start belongs to the one that begins
        there and its end to the one that ends there, also if the provider's rounding puts it beyond.
        """
        piece = self._piece_of((start + end - 1) // 2)
        return self._in_piece(start, piece), self._in_piece(end, piece)

    def _piece_of(self, sample: int) -> int:
        return max(0, bisect_right(self._stream_starts, min(sample, self.length_samples - 1)) - 1)

    def _in_piece(self, point: int, piece: int) -> int:
        """The call time of ``point``, or of the nearest end of ``piece``."""
        if not self._stream_starts:
            return 0
        if not self._is_audio[piece]:
            return self._call_starts[piece]
        is_last = piece + 1 == len(self._stream_starts)
        end = self.length_samples if is_last else self._stream_starts[piece + 1]
        begin = self._stream_starts[piece]
        return self._call_starts[piece] + min(max(point, begin), end) - begin

    def forget_before(self, stream_sample: int) -> None:
        """Points before ``stream_sample`` will not be mapped any more."""
        keep = max(0, bisect_right(self._stream_starts, stream_sample) - 1)
        del self._stream_starts[:keep], self._call_starts[:keep], self._is_audio[:keep]

    @property
    def pieces(self) -> int:
        """How many pieces are kept."""
        return len(self._stream_starts)

    def _open(self, call_start: int, *, audio: bool) -> None:
        self._stream_starts.append(self.length_samples)
        self._call_starts.append(call_start)
        self._is_audio.append(audio)
        self._position.is_audio = audio
