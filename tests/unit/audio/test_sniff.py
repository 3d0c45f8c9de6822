"""What audio is, by its first bytes: samples pass, whatever they are; what is compressed is refused by its name."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.audio.sniff import kind_of
from fastcall.errors import UsageError

# 128 kbit/s at 44.1 kHz: 417 bytes a frame, one more with padding; and 32 kbit/s at 24 kHz, MPEG-2: 96.
MP3 = b"".join(b"\xff\xfb" + bytes([0x90 | pad << 1, 0x64]) + bytes(413 + pad) for pad in (0, 1, 0, 1))
MP3_24K = (b"\xff\xf3\x44\xc4" + bytes(92)) * 4
AAC = (b"\xff\xf1\x50\x80" + bytes([100 >> 3, (100 & 7) << 5 | 0x1F, 0xFC]) + bytes(93)) * 4

COMPRESSED = {
    "an Ogg file": b"OggS\0\x02" + bytes(40),
    "a FLAC file": b"fLaC\0\0\0\x22" + bytes(40),
    "an MP3 file": b"ID3\x04\0\0\0\0\0\x23TSSE",
    "a WebM file": b"\x1aE\xdf\xa3\x9fB\x86\x81" + bytes(40),
    "an MP4 file": b"\0\0\0\x1cftypM4A " + bytes(40),
    "an AMR file": b"#!AMR\n" + bytes(40),
    "an AIFF file": b"FORM\0\0\x10\0AIFFCOMM" + bytes(40),
}


@pytest.mark.parametrize(
    ("name", "data"), [*COMPRESSED.items(), ("an MP3 file", MP3), ("an MP3 file", MP3_24K), ("an AAC file", AAC)]
)
def test_what_is_compressed_is_named_as_soon_as_it_shows(name: str, data: bytes) -> None:
    for size in range(len(data) + 1):
        said = said_of(data[:size], is_all=size == len(data))
        if said:
            break
    assert name in said
    assert "ffmpeg" in said


def said_of(head: bytes, *, is_all: bool) -> str:
    """Why it is refused; nothing while it may be anything."""
    try:
        kind = kind_of(head, is_all=is_all)
    except UsageError as error:
        return str(error)
    return f"let through as {kind}" if kind else ""


def test_two_frames_are_enough_where_that_is_all() -> None:
    with pytest.raises(UsageError, match="MP3"):
        kind_of(MP3[:835], is_all=True)
    assert kind_of(MP3[:400], is_all=True) == "raw"


def test_a_wav_file_is_one_and_another_riff_is_not() -> None:
    head = b"RIFF" + struct.pack("<I", 36) + b"WAVE"
    assert [kind_of(head[:size], is_all=False) for size in range(12)] == [None] * 12
    assert kind_of(head, is_all=False) == "wav"
    assert kind_of(head[:11], is_all=True) == kind_of(head[:8] + b"AVI ", is_all=False) == "raw"


@given(st.binary(max_size=400))
def test_samples_are_samples_and_never_kept_back_for_long(data: bytes) -> None:
    quiet = bytes(0x7E + (byte & 0x81) for byte in data)
    for audio in (data, quiet):
        said = said_of(audio, is_all=True)
        assert said.startswith("let through") or audio[:2] in {magic[:2] for magic in COMPRESSED.values()}
    assert kind_of(quiet + bytes(3000), is_all=False) == "raw"


def test_silence_is_samples_at_once() -> None:
    assert kind_of(b"\xff" * 160, is_all=False) == kind_of(b"\x7f" * 160, is_all=False) == "raw"
    assert kind_of(b"\0" * 320, is_all=False) == "raw"
