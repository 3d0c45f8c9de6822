"""Audio that a handler gives, as the telephone wants it: mu-law at 8 kHz, made piece by piece when it is needed.

What it is shows in its first bytes: a WAV file says its own format, and compressed audio is refused.

Nothing is converted before it is sent: a minute of speech given at once must not keep the loop.
"""

from __future__ import annotations

from array import array
from typing import Literal

from fastcall._codec import alaw_encode, mulaw_decode, mulaw_encode
from fastcall._resample import Resampler
from fastcall.audio.sniff import kind_of
from fastcall.audio.wav import WavReader
from fastcall.events import SAMPLE_RATE_HZ, AudioFormat

__all__ = ["Encoding", "OutboundAudio", "PayloadEncoder"]

Encoding = Literal["mulaw", "pcm"]
"""G.711 mu-law, or LINEAR16: signed, 16 bit, little-endian. Mono."""


class PayloadEncoder:
    """Mu-law at 8 kHz as a stream's payloads carry audio. One stream, one thread.

    :param audio_format: as its ``start`` said
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._last = 0

    def encode(self, mulaw: bytes) -> bytes:
        """The next piece. At 16 kHz the samples between are the means of their neighbours: speech of a telephone has
        next to nothing where that filter leaves images."""
        if self._format.encoding == "mulaw":
            return mulaw
        pcm = mulaw_decode(mulaw)
        if self._format.encoding == "alaw":
            return alaw_encode(pcm)
        if self._format.rate_hz == SAMPLE_RATE_HZ:
            return pcm
        samples, doubled = array("h", pcm), array("h")
        for sample in samples:
            doubled.append((self._last + sample) // 2)
            doubled.append(sample)
            self._last = sample
        return doubled.tobytes()


class OutboundAudio:
    """One speech's audio: fed by whoever makes it, taken by whoever sends it. One thread.

    :param rate_hz: 8,000, or what ``fastcall._resample.Resampler`` takes
    :raises ValueError: another rate, or no such encoding
    """

    def __init__(self, encoding: Encoding = "mulaw", rate_hz: int = SAMPLE_RATE_HZ) -> None:
        if encoding not in ("mulaw", "pcm"):
            raise ValueError(f"encoding={encoding!r}: say 'mulaw' or 'pcm'")
        self._head: bytearray | None = bytearray()
        """The first bytes, until they show what it is; then None."""
        self._wav: WavReader | None = None
        self._raw = bytearray()
        self._fed_bytes = 0
        self._is_ended = False
        self._set_format(encoding, rate_hz)

    def _set_format(self, encoding: Encoding, rate_hz: int) -> None:
        self._is_pcm = encoding == "pcm"
        self._width = 2 if self._is_pcm else 1
        self._rate_hz = rate_hz
        self._resampler = None if rate_hz == SAMPLE_RATE_HZ else Resampler(rate_hz)
        self._is_flushed = self._resampler is None

    def feed(self, audio: bytes) -> None:
        """More of it, in any pieces.

        :raises UsageError: compressed audio, or a WAV file that cannot be used
        :raises ValueError: a WAV file of a rate that is none
        """
        if self._head is None:
            self._add(audio)
        else:
            self._head += audio
            self._look_at(bytes(self._head), is_all=False)

    def end(self) -> None:
        """That was all.

        :raises UsageError: compressed audio, or a WAV file that is cut off; it has ended all the same
        """
        self._is_ended = True
        if self._head:
            self._look_at(bytes(self._head), is_all=True)
        if self._wav is not None:
            self._wav.check_whole()

    def stop(self) -> None:
        """Nothing more comes, whether that was all or not."""
        self._is_ended = True

    def _look_at(self, head: bytes, *, is_all: bool) -> None:
        kind = kind_of(head, is_all=is_all)
        if kind is None:
            return
        self._head = None
        if kind == "wav":
            self._wav = WavReader()
        self._add(head)

    def _add(self, audio: bytes) -> None:
        if self._wav is not None:
            was_known = self._wav.format is not None
            audio = self._wav.push(audio)
            if self._wav.format is not None and not was_known:
                self._set_format(*self._wav.format)
        self._raw += audio
        self._fed_bytes += len(audio)

    def drop(self) -> None:
        """What was not taken is not wanted any more."""
        self._raw.clear()
        self._is_ended = self._is_flushed = True

    @property
    def waiting_samples(self) -> int:
        """What waits to be taken, at 8 kHz."""
        return self._at_8_khz(len(self._raw))

    @property
    def total_samples(self) -> int | None:
        """Of all of it, at 8 kHz; None while more may come."""
        return self._at_8_khz(self._fed_bytes) if self._is_ended else None

    @property
    def is_empty(self) -> bool:
        """Nothing is left and nothing more will come."""
        return self._is_ended and self._is_flushed and len(self._raw) < self._width

    @property
    def is_ended(self) -> bool:
        """Nothing more will be fed."""
        return self._is_ended

    def take(self, samples: int) -> bytes:
        """About so many samples of mu-law, fewer if there are fewer; a filter may keep some back until the end."""
        size = -(-samples * self._rate_hz // SAMPLE_RATE_HZ) * self._width
        raw = bytes(self._raw[: min(size, len(self._raw) // self._width * self._width)])
        del self._raw[: len(raw)]
        if self._resampler is None:
            return mulaw_encode(raw) if self._is_pcm else raw
        pcm = self._resampler.push(raw if self._is_pcm else mulaw_decode(raw))
        if self._is_ended and not self._is_flushed and len(self._raw) < self._width:
            self._is_flushed = True
            pcm += self._resampler.flush()
        return mulaw_encode(pcm)

    def _at_8_khz(self, size_bytes: int) -> int:
        return -(-(size_bytes // self._width) * SAMPLE_RATE_HZ // self._rate_hz)
