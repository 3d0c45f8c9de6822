"""Telephone audio from the bytes of a file: WAV (RIFF) or headerless mu-law, and back into a WAV.

Only what needs no resampling is read: mono, 8 kHz, G.711 mu-law or 16-bit PCM. Everything else gets an
error that names the command which converts it. A header is never believed beyond the bytes that are there.

Source: Microsoft, "Multiple Channel Audio Data and WAVE Files"; RFC 2361 (codec numbers).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fastcall import g711
from fastcall.errors import UsageError

__all__ = ["open_wav", "read_audio", "read_wav", "write_wav"]

SAMPLE_RATE_HZ = 8000

FORMAT_PCM = 0x0001
FORMAT_MULAW = 0x0007
FORMAT_EXTENSIBLE = 0xFFFE

# Programs that write to a pipe do not know the length, and put the largest number, or one near it, there.
LENGTH_UNKNOWN = 0x7FFF_0000

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
    :return: G.711 mu-law, 8 kHz mono, one byte a sample; at least one byte
    :raises UsageError: it is neither, or nothing that can be used; the message says what to do
    """
    if data[:4] == b"RIFF":
        return read_wav(data, name)
    if name.lower().endswith((".ulaw", ".ul", ".mulaw")):
        if not data:
            raise UsageError(f"{name} is empty")
        return data
    raise UsageError(f"{name} is not a WAV file; headerless mu-law must be named *.ulaw. Otherwise {CONVERT}")


def read_wav(data: bytes, name: str = "the WAV file") -> bytes:
    """The samples of a WAV file, as mu-law. What follows the ``data`` chunk is ignored.

    :param data: the whole file
    :return: G.711 mu-law, 8 kHz mono, one byte a sample; at least one byte
    :raises UsageError: not a WAV file, cut off, without audio, or of a format that is not read
    """
    form, samples = _open(data, name, _check_telephone)
    return samples if form.codec == FORMAT_MULAW else bytes(g711.lin2ulaw(samples, 2))


def open_wav(data: bytes, name: str = "the WAV file") -> tuple[Literal["mulaw", "pcm"], int, bytes]:
    """A WAV file of any rate, mono, as 16-bit PCM or mu-law.

    :return: encoding, rate in Hz, samples
    :raises UsageError: as for ``read_wav``
    """
    form, samples = _open(data, name, _check_mono)
    return ("mulaw" if form.codec == FORMAT_MULAW else "pcm"), form.rate_hz, samples


def _open(data: bytes, name: str, check: Callable[[_Format, str], None]) -> tuple[_Format, bytes]:
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise UsageError(f"{name} is not a WAV file (no RIFF/WAVE header)")
    form: _Format | None = None
    at = 12
    while at + 8 <= len(data):
        chunk, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if chunk == b"fmt ":
            form = _read_format(data[at : at + size], name)
            check(form, name)
        elif chunk == b"data":
            if form is None:
                raise UsageError(f"{name} has audio before it says of which format (no 'fmt ' chunk)")
            return form, _samples(data[at:], size, form, name)
        at += size + (size & 1)  # chunks begin at even offsets
    raise UsageError(f"{name} is cut off or has no audio in it (no 'data' chunk)")


def write_wav(mulaw: bytes) -> bytes:
    """A WAV file of G.711 mu-law, 8 kHz mono.

    :param mulaw: one byte a sample
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
        raise UsageError(f"{name} is {_describe(form)}; what is said is mono, as 16-bit PCM or mu-law")


def _samples(rest: bytes, size: int, form: _Format, name: str) -> bytes:
    if len(rest) < size < LENGTH_UNKNOWN:
        raise UsageError(f"{name} is cut off: it promises {size} bytes of audio and has {len(rest)}")
    audio = rest[:size]
    if form.codec == FORMAT_PCM:
        audio = audio[: len(audio) & ~1]
    if not audio:
        raise UsageError(f"{name} has no audio in it")
    return audio
