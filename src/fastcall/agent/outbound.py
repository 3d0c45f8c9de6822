"""Converts a handler's audio to the telephone's mu-law at 8 kHz, piece by piece, when it is needed.

The first bytes show the format: a WAV file has its own, and compressed audio is refused.

Nothing is converted before it is sent: a minute of speech passed at once must not block the loop. Nor is it copied:
calls that play the same prompt share its bytes. The last seconds sent are kept, to be sent again when they were not
heard; of a prompt in the telephone's own format these are views of its bytes.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import Literal

from fastcall._codec import alaw_encode, mulaw_decode, mulaw_encode
from fastcall._resample import Resampler
from fastcall.audio.sniff import kind_of
from fastcall.audio.wav import WavReader
from fastcall.events import SAMPLE_RATE_HZ, AudioFormat

__all__ = ["Encoding", "OutboundAudio", "PayloadEncoder", "to_mulaw"]

# Smaller pieces are joined: a source may yield a few bytes at a time.
SMALL_BYTES = 1600

# How much of what was taken can be put back: what the peer has buffered, and a word or two before it.
KEPT_SAMPLES = 4 * SAMPLE_RATE_HZ

Encoding = Literal["mulaw", "pcm"]
"""G.711 mu-law, or LINEAR16: signed, 16 bit, little-endian. Mono."""


class PayloadEncoder:
    """Encodes mu-law at 8 kHz for a stream's payloads. One stream, one thread.

    :param audio_format: of the stream's ``start``
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._last = 0

    def encode(self, mulaw: bytes | memoryview) -> bytes | memoryview:
        """The next piece. At 16 kHz, samples in between are the means of their neighbours: telephone speech has almost
        no energy at the frequencies where that filter leaves images."""
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
    """One speech's audio, between its producer and its sender. One thread.

    :param rate_hz: 8,000, or what ``fastcall._resample.Resampler`` takes
    :raises ValueError: another rate, or no such encoding
    """

    def __init__(self, encoding: Encoding = "mulaw", rate_hz: int = SAMPLE_RATE_HZ) -> None:
        if encoding not in ("mulaw", "pcm"):
            raise ValueError(f"encoding={encoding!r}: must be 'mulaw' or 'pcm'")
        self._head: bytes | None = b""
        """The first bytes, until they show the format; then None."""
        self._wav: WavReader | None = None
        self._pieces: deque[bytes] = deque()
        """The audio that waits, and of the first what was taken already."""
        self._taken_bytes = 0
        self._raw_bytes = 0
        """Bytes that wait."""
        self._fed_bytes = 0
        self._is_ended = False
        self._taken: deque[bytes | memoryview] = deque()
        """The newest chunks taken, of ``_kept_samples`` in all; the last ends at ``_position``."""
        self._kept_samples = 0
        self._position = 0
        self._again: deque[bytes | memoryview] = deque()
        """Chunks that were put back, to be taken before anything else."""
        self._again_samples = 0
        self._set_format(encoding, rate_hz)

    def _set_format(self, encoding: Encoding, rate_hz: int) -> None:
        self._is_pcm = encoding == "pcm"
        self._width = 2 if self._is_pcm else 1
        self._rate_hz = rate_hz
        self._resampler = None if rate_hz == SAMPLE_RATE_HZ else Resampler(rate_hz)
        self._is_flushed = self._resampler is None

    def feed(self, audio: bytes) -> None:
        """Add audio, in pieces of any size.

        :raises UsageError: compressed audio, or an unusable WAV file
        :raises ValueError: a WAV file with an invalid rate
        """
        if self._head is None:
            self._add(audio)
        else:
            self._sniff(self._head + audio, is_all=False)

    def end(self) -> None:
        """The audio is complete.

        :raises UsageError: compressed audio, or a truncated WAV file; it has ended nevertheless
        """
        self._is_ended = True
        if self._head:
            self._sniff(self._head, is_all=True)
        if self._wav is not None:
            self._wav.check_whole()

    def stop(self) -> None:
        """No more audio will come, complete or not."""
        self._is_ended = True

    def _sniff(self, head: bytes, *, is_all: bool) -> None:
        kind = kind_of(head, is_all=is_all)
        if kind is None:
            self._head = head
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
        if self._pieces and len(self._pieces[-1]) < SMALL_BYTES:
            self._pieces[-1] += audio
        elif audio:
            self._pieces.append(bytes(audio))
        self._raw_bytes += len(audio)
        self._fed_bytes += len(audio)

    def drop(self) -> None:
        """Drop the remaining audio."""
        self._pieces.clear()
        self._taken.clear()
        self._again.clear()
        self._taken_bytes = self._raw_bytes = self._kept_samples = self._again_samples = 0
        self._is_ended = self._is_flushed = True

    @property
    def waiting_samples(self) -> int:
        """Samples that wait to be taken, at 8 kHz."""
        return self._again_samples + self._at_8_khz(self._raw_bytes)

    @property
    def total_samples(self) -> int | None:
        """Length of the whole audio, at 8 kHz; None while more may come."""
        return self._at_8_khz(self._fed_bytes) if self._is_ended else None

    @property
    def is_empty(self) -> bool:
        """Nothing is left and nothing more will come."""
        return self._is_ended and self._is_flushed and self._raw_bytes < self._width and not self._again

    @property
    def is_ended(self) -> bool:
        """Nothing more will be fed."""
        return self._is_ended

    def take(self, samples: int) -> bytes | memoryview:
        """About so many samples of mu-law, or fewer; a filter may hold some back until the end."""
        chunk = self._take_again(samples) if self._again else self._take_new(samples)
        if chunk:
            self._taken.append(chunk)
            self._position += len(chunk)
            self._kept_samples += len(chunk)
            while self._kept_samples - len(self._taken[0]) >= KEPT_SAMPLES:
                self._kept_samples -= len(self._taken.popleft())
        return chunk

    def put_back(self, position: int) -> int:
        """Everything from this sample on was not heard: it is taken once more.

        :return: where it begins; later than asked if that was too long ago
        """
        while self._taken and self._position > position:
            chunk = self._taken.pop()
            before = max(0, position - (self._position - len(chunk)))
            if before:
                self._taken.append(chunk[:before])
                chunk = chunk[before:]
            self._again.appendleft(chunk)
            self._position -= len(chunk)
            self._kept_samples -= len(chunk)
            self._again_samples += len(chunk)
        return self._position

    def _take_again(self, samples: int) -> bytes | memoryview:
        chunk = self._again.popleft()
        if len(chunk) > samples:
            self._again.appendleft(chunk[samples:])
            chunk = chunk[:samples]
        self._again_samples -= len(chunk)
        return chunk

    def _take_new(self, samples: int) -> bytes | memoryview:
        size = -(-samples * self._rate_hz // SAMPLE_RATE_HZ) * self._width
        raw = self._take_raw(min(size, self._raw_bytes // self._width * self._width))
        if self._resampler is None:
            return mulaw_encode(raw) if self._is_pcm else raw
        pcm = self._resampler.push(raw if self._is_pcm else mulaw_decode(raw))
        if self._is_ended and not self._is_flushed and self._raw_bytes < self._width:
            self._is_flushed = True
            pcm += self._resampler.flush()
        return mulaw_encode(pcm)

    def _take_raw(self, size: int) -> bytes | memoryview:
        self._raw_bytes -= size
        if size and self._taken_bytes + size < len(self._pieces[0]):
            start = self._taken_bytes
            self._taken_bytes += size
            return memoryview(self._pieces[0])[start : start + size]
        parts = []
        while size:
            piece, start = self._pieces[0], self._taken_bytes
            parts.append(piece[start : start + size])
            self._taken_bytes += len(parts[-1])
            size -= len(parts[-1])
            if self._taken_bytes == len(piece):
                self._pieces.popleft()
                self._taken_bytes = 0
        return b"".join(parts)

    def _at_8_khz(self, size_bytes: int) -> int:
        return -(-(size_bytes // self._width) * SAMPLE_RATE_HZ // self._rate_hz)


def to_mulaw(audio: bytes, *, encoding: Encoding = "mulaw", rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """Convert a whole recording, mono, to what the telephone plays: G.711 mu-law at 8 kHz.

    Convert a prompt once, when the program starts: ``Call.say`` resamples what it gets for each call anew, which at
    24 kHz takes a quarter of the time of all that sending it costs.

    :param audio: samples, or a WAV file (16-bit PCM or mu-law)
    :param encoding: of samples: ``mulaw``, or ``pcm`` (LINEAR16); a WAV file has its own
    :param rate_hz: of samples: 4,000 to 192,000, a multiple of 25
    :raises UsageError: compressed audio, or a truncated or unusable WAV file
    :raises ValueError: no such encoding, or another rate

    Safe in any thread. Keeps the GIL, for about a quarter of a millisecond a second of audio.
    """
    outbound = OutboundAudio(encoding, rate_hz)
    outbound.feed(audio)
    outbound.end()
    parts = []
    while not outbound.is_empty:
        parts.append(outbound.take(SAMPLE_RATE_HZ))
    return b"".join(parts)
