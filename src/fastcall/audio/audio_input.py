"""Moves audio from the wire, and from any thread, into the call's history."""

from __future__ import annotations

from fastcall._codec import AudioTrack, alaw_decode, mulaw_encode
from fastcall._resample import Resampler
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.events import SAMPLE_RATE_HZ, AudioFormat

__all__ = ["AudioInput", "PayloadDecoder"]

RING_S = 10


class PayloadDecoder:
    """Decodes a stream's payloads to mu-law at 8 kHz. One stream, one thread.

    :param audio_format: of its ``start``
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._encoding = audio_format.encoding
        self._resampler = None if audio_format.rate_hz == SAMPLE_RATE_HZ else Resampler(audio_format.rate_hz)

    def decode(self, payload: bytes) -> bytes:
        """Decode the next payload; with L16 at 16 kHz the first yields some samples less.

        :raises ValueError: not a whole number of samples
        """
        if self._encoding == "mulaw":
            return payload
        if self._encoding == "alaw":
            return mulaw_encode(alaw_decode(payload))
        if len(payload) % 2:
            raise ValueError(f"{len(payload)} bytes are not whole samples of L16")
        return mulaw_encode(payload if self._resampler is None else self._resampler.push(payload))


class AudioInput:
    """The producer thread's end of the history's track; the loop has the other. Keeps call time when it overflows.

    If 10 s wait already, new audio is replaced by silence of the same length, so that call time and the recognizer's
    audio stay in step. Audio is written once, and read from there.

    :param sample_bytes: 1 for mu-law, 2 for LINEAR16, as the history keeps it
    :raises ValueError: the history keeps the other
    """

    def __init__(self, replay_buffer: ReplayBuffer, *, sample_bytes: int) -> None:
        self._replay_buffer = replay_buffer
        self._track = replay_buffer.track
        if self._track.sample_bytes != sample_bytes:
            raise ValueError(f"samples of {sample_bytes} bytes for a history of {self._track.sample_bytes}")
        self._limit_samples = int(RING_S * SAMPLE_RATE_HZ)

    @property
    def track(self) -> AudioTrack:
        """The track, for a producer that checks by itself whether audio fits."""
        return self._track

    @property
    def limit_samples(self) -> int:
        """The maximum number of waiting samples."""
        return self._limit_samples

    @property
    def fed_samples(self) -> int:
        """Samples fed so far, dropped ones included. Any thread."""
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
        """Move waiting audio into the history. Loop thread."""
        self._replay_buffer.take()
