"""Detects the format of audio by its first bytes: samples, a WAV file, or an unsupported compressed format.

Samples can be any bytes, so a refusal needs more than two or three known bytes: a file's complete magic number, or
three consecutive frames of MPEG audio.

Sources: RFC 3533 (Ogg), RFC 9639 (FLAC), RFC 8794 (EBML: WebM), ISO/IEC 11172-3, 13818-3 and 13818-7 (MPEG audio),
14496-12 (MP4); https://id3.org/id3v2.3.0
"""

from __future__ import annotations

from typing import Literal

from fastcall.errors import UsageError

__all__ = ["kind_of"]

Kind = Literal["raw", "wav"]

_MAGIC = {
    b"OggS\0": "an Ogg file",
    b"fLaC\0": "a FLAC file",
    b"ID3\x02\0": "an MP3 file",
    b"ID3\x03\0": "an MP3 file",
    b"ID3\x04\0": "an MP3 file",
    b"\x1aE\xdf\xa3": "a WebM file",
    b"#!AMR": "an AMR file",
}
_RIFF, _FORM, _FTYP = b"RIFF", b"FORM", b"ftyp"
HEAD_BYTES = 12

# Layer III: kbit/s by index, and Hz by index, of MPEG-1; the rates of MPEG-2 are half of these, of 2.5 a quarter.
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = (44100, 48000, 32000)
_RATE_DIVISORS = {3: 1, 2: 2, 0: 4}
FRAMES_IN_A_ROW = 3


def kind_of(head: bytes, *, is_all: bool) -> Kind | None:
    """Distinguish samples from a WAV file.

    :param head: the audio's first bytes
    :param is_all: whether these are all bytes
    :return: None if more bytes are needed; at most 5 kB
    :raises UsageError: it is compressed; the message says what to do
    """
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            raise _refusal(name)
    if head[:4] == _FORM and head[8:12] in (b"AIFF", b"AIFC"):
        raise _refusal("an AIFF file")
    if head[4:8] == _FTYP and head[:2] == b"\0\0":
        raise _refusal("an MP4 file")
    if head[:4] == _RIFF and head[8:12] == b"WAVE":
        return "wav"
    if len(head) < HEAD_BYTES:
        starts = (_RIFF, _FORM, b"\0\0", *_MAGIC)
        is_open = any(start.startswith(head[: len(start)]) for start in starts) or head[:1] == b"\xff"
        return None if is_open and not is_all else "raw"
    return _kind_by_frames(head, is_all)


def _kind_by_frames(head: bytes, is_all: bool) -> Kind | None:
    at = frames = 0
    while frames < FRAMES_IN_A_ROW:
        if at + 6 > len(head):
            if not is_all:
                return None
            break
        size = _frame_bytes(head, at)
        if not size or head[at + 1] != head[1]:
            return "raw"
        at, frames = at + size, frames + 1
    if frames > 1:
        raise _refusal("an MP3 file" if head[1] & 0x06 else "an AAC file")
    return "raw"


def _frame_bytes(data: bytes, at: int) -> int:
    """The length of the MP3 or AAC (ADTS) frame at ``at``; 0 if none begins there."""
    if data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return 0
    layer, version = data[at + 1] & 0x06, data[at + 1] >> 3 & 3
    if layer == 0 and data[at + 1] & 0xF0 == 0xF0:
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        return size if size > 7 and data[at + 2] >> 2 & 15 < 13 else 0
    index, rate_index = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if layer != 2 or version not in _RATE_DIVISORS or not 0 < index < 15 or rate_index == 3:
        return 0
    kbits = (_KBITS_1 if version == 3 else _KBITS_2)[index]
    rate_hz = _RATES_HZ[rate_index] // _RATE_DIVISORS[version]
    return (144 if version == 3 else 72) * kbits * 1000 // rate_hz + (data[at + 2] >> 1 & 1)


def _refusal(name: str) -> UsageError:
    return UsageError(
        f"the audio is {name}, which is not supported: configure your voice for WAV, PCM or mu-law, or convert it: "
        "ffmpeg -i INPUT -ar 8000 -ac 1 -c:a pcm_mulaw OUTPUT.wav"
    )
