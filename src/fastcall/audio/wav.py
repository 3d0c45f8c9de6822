"""Telephone audio from the bytes of a file: WAV (RIFF) or headerless mu-law, and back into a WAV.

Only formats without resampling are supported: mono, 8 kHz, G.711 mu-law or 16-bit PCM. For others the
error names a command for conversion. A header is never trusted beyond the actual bytes.

Source: Microsoft, "Multiple Channel Audio Data and WAVE Files"; RFC 2361 (codec numbers).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fastcall import g711
from fastcall.errors import UsageError

__all__ = ["WavReader", "read_audio", "read_wav", "write_wav"]

SAMPLE_RATE_HZ = 8000

FORMAT_PCM = 0x0001
FORMAT_MULAW = 0x0007
FORMAT_EXTENSIBLE = 0xFFFE

# Programs that write to a pipe do not know the length, and write the largest number, or one near it.
LENGTH_UNKNOWN = 0x7FFF_0000

# A format chunk has 16 to 40 bytes; the rest is skipped.
MAX_FORMAT_BYTES = 64

CONVERT = "convert it: ffmpeg -i INPUT -ar 8000 -ac 1 -c:a pcm_mulaw OUTPUT.wav"


@dataclass(frozen=True, slots=True)
class _Format:
    codec: int
    channels: int
    rate_hz: int
    bits: int


def read_audio(data: bytes, name: str) -> bytes:
    """The audio of a file: WAV if it begins as one, headerless mu-law if ``name`` ends in ``.ulaw``.

    :param data: the whole file
    :param name: of the file, for its ending and for messages
    :return: G.711 mu-law, 8 kHz mono, one byte per sample; at least one byte
    :raises UsageError: it is neither, or not supported; the message says what to do
    """
    if data[:4] == b"RIFF":
        return read_wav(data, name)
    if name.lower().endswith((".ulaw", ".ul", ".mulaw")):
        if not data:
            raise UsageError(f"{name} is empty")
        return data
    raise UsageError(f"{name} is not a WAV file; headerless mu-law must be named *.ulaw. Otherwise {CONVERT}")


def read_wav(data: bytes, name: str = "the WAV file") -> bytes:
    """The samples of a WAV file, as mu-law. Data after the ``data`` chunk is ignored.

    :param data: the whole file
    :return: G.711 mu-law, 8 kHz mono, one byte per sample; at least one byte
    :raises UsageError: not a WAV file, truncated, without audio, or in an unsupported format
    """
    reader = WavReader(name, _check_telephone)
    samples = reader.push(data)
    reader.check_whole()
    if reader.format == ("mulaw", SAMPLE_RATE_HZ):
        return samples
    return bytes(g711.lin2ulaw(samples[: len(samples) & ~1], 2))


class WavReader:
    """Reads a mono WAV file of any rate, as 16-bit PCM or mu-law, in pieces of any length. Pure.

    :param name: for messages
    :param check: raises for formats that the caller cannot use
    """

    def __init__(self, name: str = "the WAV file", check: Callable[[_Format, str], None] | None = None) -> None:
        self._name = name
        self._check = check or _check_mono
        self._head = bytearray()
        self._skip_bytes = 0
        self._riff_size: int | None = None
        self._form: _Format | None = None
        self._size: int | None = None
        """Length of the audio, from the header; None before it begins."""
        self._is_endless = False
        self._read_bytes = 0

    @property
    def format(self) -> tuple[Literal["mulaw", "pcm"], int] | None:
        """Encoding and rate in Hz, once known."""
        form = self._form
        return None if form is None else ("mulaw" if form.codec == FORMAT_MULAW else "pcm", form.rate_hz)

    def push(self, piece: bytes) -> bytes:
        """Read more of the file.

        :return: the samples in it, without the header and data after the audio
        :raises UsageError: not a WAV file, or in an unsupported format
        """
        if self._size is not None:
            return self._audio(bytes(piece))
        self._head += piece
        while self._size is None and self._take_chunk():
            pass
        if self._size is None:
            return b""
        rest = bytes(self._head)
        self._head.clear()
        return self._audio(rest)

    def check_whole(self) -> None:
        """Call it at the end.

        :raises UsageError: it is truncated, or has no audio
        """
        if self._riff_size is None:
            raise UsageError(f"{self._name} is not a WAV file (no RIFF/WAVE header)")
        if self._size is None:
            raise UsageError(f"{self._name} is cut off or has no audio in it (no 'data' chunk)")
        if not self._is_endless and self._read_bytes < self._size:
            raise UsageError(
                f"{self._name} is cut off: it promises {self._size} bytes of audio and has {self._read_bytes}"
            )
        if self._form is None or self._read_bytes < self._form.bits // 8:
            raise UsageError(f"{self._name} has no audio in it")

    def _take_chunk(self) -> bool:
        """Continue reading the header.

        :return: whether more may be read now
        """
        head = self._head
        skipped = min(self._skip_bytes, len(head))
        del head[:skipped]
        self._skip_bytes -= skipped
        if self._riff_size is None:
            if len(head) < 12:
                return False
            if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
                raise UsageError(f"{self._name} is not a WAV file (no RIFF/WAVE header)")
            self._riff_size = int.from_bytes(head[4:8], "little")
            del head[:12]
        if self._skip_bytes or len(head) < 8:
            return False
        chunk, size = bytes(head[:4]), int.from_bytes(head[4:8], "little")
        if chunk == b"data":
            self._begin_audio(size)
            return False
        if chunk == b"fmt ":
            if len(head) < 8 + min(size, MAX_FORMAT_BYTES):
                return False
            self._form = _read_format(bytes(head[8 : 8 + min(size, MAX_FORMAT_BYTES)]), self._name)
            self._check(self._form, self._name)
        del head[:8]
        self._skip_bytes = size + (size & 1)  # chunks begin at even offsets
        return True

    def _begin_audio(self, size: int) -> None:
        if self._form is None:
            raise UsageError(f"{self._name} has audio before its format (no 'fmt ' chunk)")
        # Writers to a pipe may also leave both lengths at 0.
        self._is_endless = size >= LENGTH_UNKNOWN or (not size and not self._riff_size)
        self._size = size
        del self._head[:8]

    def _audio(self, piece: bytes) -> bytes:
        if not self._is_endless:
            piece = piece[: (self._size or 0) - self._read_bytes]
        self._read_bytes += len(piece)
        return piece


def write_wav(mulaw: bytes) -> bytes:
    """A WAV file of G.711 mu-law, 8 kHz mono.

    :param mulaw: one byte per sample
    :return: the whole file
    """
    form = struct.pack("<HHIIHHH", FORMAT_MULAW, 1, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 1, 8, 0)
    fact = struct.pack("<I", len(mulaw))
    chunks = b"".join(
        name + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)
        for name, body in ((b"fmt ", form), (b"fact", fact), (b"data", mulaw))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _read_format(body: bytes, name: str) -> _Format:
    if len(body) < 16:
        raise UsageError(f"{name} is cut off or damaged (its 'fmt ' chunk has {len(body)} bytes)")
    codec, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if codec == FORMAT_EXTENSIBLE and len(body) >= 26:
        codec = int.from_bytes(body[24:26], "little")  # the first two bytes of the sub-format's GUID
    return _Format(codec, channels, rate_hz, bits)


def _describe(form: _Format) -> str:
    kind = {FORMAT_PCM: "PCM", FORMAT_MULAW: "mu-law"}.get(form.codec, f"codec {form.codec}")
    channels = f"{form.channels} channel{'s' * (form.channels != 1)}"
    return f"{form.bits}-bit {kind}, {channels}, {form.rate_hz} Hz"


def _check_telephone(form: _Format, name: str) -> None:
    if form not in (_Format(FORMAT_PCM, 1, 8000, 16), _Format(FORMAT_MULAW, 1, 8000, 8)):
        raise UsageError(
            f"{name} is {_describe(form)}; the telephone has 8000 Hz mono, as 16-bit PCM or mu-law. Please {CONVERT}"
        )


def _check_mono(form: _Format, name: str) -> None:
    if (form.codec, form.channels, form.bits) not in ((FORMAT_PCM, 1, 16), (FORMAT_MULAW, 1, 8)):
        raise UsageError(f"{name} is {_describe(form)}; speech must be mono, as 16-bit PCM or mu-law")
