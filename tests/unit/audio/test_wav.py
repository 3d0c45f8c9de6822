"""audio/wav.py: every file gets its audio or one sentence that says what to do."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall import g711
from fastcall.audio.wav import WavReader, read_audio, read_wav, write_wav
from fastcall.errors import UsageError


def wav(
    audio: bytes, *, codec: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, extra: bytes = b""
) -> bytes:
    """A WAV file of any format, written independently of the module's own writer."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", codec, channels, rate, rate * block, block, bits) + extra
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(audio)) + audio
    return b"RIFF" + struct.pack("<I", len(body)) + body


PCM = struct.pack("<6h", 0, 1000, -1000, 32767, -32768, 5)
MULAW = bytes(g711.lin2ulaw(PCM, 2))


def test_pcm_becomes_mulaw() -> None:
    assert read_wav(wav(PCM)) == MULAW


def test_mulaw_is_taken_as_it_is() -> None:
    assert read_wav(wav(b"\x00\x7f\xff", codec=7, bits=8)) == b"\x00\x7f\xff"


def test_extensible_format_names_its_codec_in_the_guid() -> None:
    guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    extra = struct.pack("<HHI", 22, 16, 4) + guid
    assert read_wav(wav(PCM, codec=0xFFFE, extra=extra)) == MULAW


def test_chunks_before_and_bytes_after_the_audio_are_passed_over() -> None:
    whole = wav(PCM)
    at = whole.index(b"data")
    odd_chunk = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert read_wav(whole[:at] + odd_chunk + whole[at:] + b"LIST\xff\xff\xff\xfftrailing") == MULAW


@pytest.mark.parametrize("unknown", [0xFFFF_FFFF, 0x7FFF_F000, 0x8000_0000])
def test_length_unknown_because_it_was_written_to_a_pipe(unknown: int) -> None:
    whole = wav(PCM)
    at = whole.index(b"data") + 4
    assert read_wav(whole[:at] + struct.pack("<I", unknown) + whole[at + 4 :]) == MULAW


def test_a_file_cut_anywhere_is_an_error_and_never_less_audio() -> None:
    whole = wav(PCM)
    for length in range(len(whole)):
        with pytest.raises(UsageError, match=r"is cut off|is not a WAV file"):
            read_wav(whole[:length])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (wav(PCM, rate=16000), r"16-bit PCM, 1 channel, 16000 Hz.*ffmpeg -i INPUT -ar 8000"),
        (wav(PCM, channels=2), r"2 channels, 8000 Hz"),
        (wav(b"\0" * 9, bits=24), r"24-bit PCM"),
        (wav(PCM, codec=3, bits=32), r"32-bit codec 3"),
        (wav(PCM, codec=6, bits=8), r"codec 6"),
        (wav(b""), r"has no audio in it"),
        (wav(b"\x01"), r"has no audio in it"),
        (b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab", r"before its format"),
        (b"RIFF\0\0\0\0AVI LIST", r"is not a WAV file"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", r"damaged"),
    ],
)
def test_what_cannot_be_used_says_why(data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_wav(data, "hello.wav")


@given(st.binary(min_size=1, max_size=400))
def test_written_files_are_read_back(mulaw: bytes) -> None:
    written = write_wav(mulaw)
    assert len(written) % 2 == 0
    assert int.from_bytes(written[4:8], "little") == len(written) - 8
    assert read_wav(written) == mulaw


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_audio_or_a_usage_error(data: bytes, headed: bool) -> None:
    try:
        audio = read_wav(b"RIFF\0\0\0\0WAVE" + data if headed else data)
    except UsageError:
        return
    assert 0 < len(audio) <= len(data)


def test_headerless_audio_is_known_by_its_name() -> None:
    assert read_audio(b"\xff\x00", "hello.ulaw") == b"\xff\x00"
    assert read_audio(write_wav(b"\xff"), "hello.ulaw") == b"\xff"
    with pytest.raises(UsageError, match="is empty"):
        read_audio(b"", "hello.ulaw")
    with pytest.raises(UsageError, match=r"not a WAV file; headerless mu-law must be named"):
        read_audio(b"ID3", "hello.mp3")


def wav_of(codec: int, channels: int, rate_hz: int, bits: int, samples: bytes) -> bytes:
    form = struct.pack("<HHIIHH", codec, channels, rate_hz, rate_hz * channels * bits // 8, channels * bits // 8, bits)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def open_wav(data: bytes, piece_bytes: int = 10**6) -> tuple[str, int, bytes]:
    """What a reader makes of a file that comes in pieces."""
    reader, samples = WavReader(), b""
    for at in range(0, len(data), piece_bytes):
        samples += reader.push(data[at : at + piece_bytes])
    reader.check_whole()
    assert reader.format is not None
    return (*reader.format, samples)


@given(st.integers(1, 60), st.binary(max_size=40), st.binary(max_size=9))
def test_a_file_of_any_rate_in_any_pieces_is_opened_as_it_is(piece_bytes: int, junk: bytes, after: bytes) -> None:
    assert open_wav(wav_of(1, 1, 44_100, 16, b"abcdef") + after, piece_bytes) == ("pcm", 44_100, b"abcdef")
    whole = wav_of(7, 1, 16_000, 8, b"abc")
    chunk = b"LIST" + struct.pack("<I", len(junk)) + junk + bytes(len(junk) & 1)
    at = whole.index(b"data")
    assert open_wav(whole[:at] + chunk + whole[at:] + after, piece_bytes) == ("mulaw", 16_000, b"abc")


@pytest.mark.parametrize("sizes", [(0, 0), (0xFFFF_FFFF, 0xFFFF_FFFF), (0, 0x7FFF_FFFF)])
def test_a_stream_of_unknown_length_goes_on_to_its_end(sizes: tuple[int, int]) -> None:
    whole = bytearray(wav_of(1, 1, 24_000, 16, b"abcdef"))
    at = whole.index(b"data") + 4
    whole[4:8], whole[at : at + 4] = (struct.pack("<I", size) for size in sizes)
    assert open_wav(bytes(whole), 7) == ("pcm", 24_000, b"abcdef")


@pytest.mark.parametrize(("codec", "channels", "bits"), [(1, 2, 16), (1, 1, 8), (3, 1, 32)])
def test_what_is_not_mono_of_16_bits_or_mu_law_is_not_said(codec: int, channels: int, bits: int) -> None:
    with pytest.raises(UsageError, match="mono, as 16-bit PCM or mu-law"):
        open_wav(wav_of(codec, channels, 8000, bits, bytes(8)))
