"""A language of chords: words that a program can speak and recognize without doubt.

Speech is useless for proving that a transport loses nothing: a recognizer's own mistakes hide the
transport's. Here each word of a 100-word vocabulary is a chord of three sine tones, so that a text
becomes audio and the audio becomes exactly that text again. Words cut from the audio are missing in the
text; words sent twice appear twice.

How a word is built (all frequencies are multiples of 50 Hz, so that they are orthogonal over one 20 ms
window, and all lie in the telephone band, 300-3400 Hz):

* one of ten *low* tones and one of ten *high* tones name the word (10 x 10 = 100 words);
* a *pilot* tone has one frequency in the first half of the word and another in its second half;
* its middle 50 ms are 10 dB weaker: sound whose loudness does not change is a line's noise, and no voice.

A word counts as heard when the change of the pilot is heard: at least 20 ms of the first half, then at
least 20 ms of the second half of the same word. Hence the properties which tests rely on:

* a word that is wholly present is found exactly once, whatever precedes or follows it, also the same
  word twice in a row with no gap between;
* of a word that is cut in two, at most one piece is recognized, never both. A piece is recognized when it
  holds the middle of the word and about 40 ms to each side of it (30 ms or less never suffice at 8 kHz);
* the length of a word need not be known to the recognizer; 80 ms is the shortest.

Pure: numpy only, no clock, no I/O. `ToneRecognizer` is not thread-safe; one instance a stream. numpy holds
the GIL for arrays this small.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_WORD_MS", "VOCABULARY", "ToneRecognizer", "ToneWord", "layout", "synthesize"]

_WORDS: Final = """
    apple arrow autumn badge bamboo basket beacon blanket bottle bridge
    butter cabin camera candle canyon carpet castle cedar cherry circle
    cloud coffee copper coral cotton cradle crystal daisy desert diamond
    dolphin dragon eagle ember engine falcon feather fiddle forest fountain
    garden ginger glacier granite guitar hammer harbor hazel helmet hollow
    island ivory jacket jasmine jungle kettle kitten ladder lantern lemon
    lily lizard magnet mango maple marble meadow mirror monkey mountain
    needle nickel oasis ocean olive orange orchid oyster paddle panther
    pepper pillow planet pocket pumpkin quartz rabbit ribbon river rocket
    saddle salmon silver spider temple thunder tiger tulip velvet window
"""
VOCABULARY: Final[tuple[str, ...]] = tuple(_WORDS.split())
_INDEX: Final = {word: index for index, word in enumerate(VOCABULARY)}

MIN_WORD_MS: Final = 80
"""Shortest word, in ms: each half must hold two whole analysis windows at any alignment."""

_PILOT_HZ: Final = (350, 500)
_LOW_HZ: Final = tuple(range(700, 1700, 100))
_HIGH_HZ: Final = tuple(range(1800, 3300, 150))
_AMPLITUDE: Final = 5000.0  # of each tone; three of them peak below half of full scale
_DIP_MS: Final = 50  # with its fades; so at least one frame of a voice detector, of 20 ms, is weak as a whole
_DIP: Final = 10 ** (-10 / 20)
_FADE_MS: Final = 5  # keeps the spectrum narrow; far too short for a voice activity detector to notice

_WINDOW_MS: Final = 20
_HOP_MS: Final = 10  # half the window: each hop is correlated once, for the two windows that it is in
_MIN_FRAMES: Final = 2  # of each half
_MAX_GAP_FRAMES: Final = 3  # unclear frames tolerated inside a word (a change of the pilot, a splice)
_MIN_RMS: Final = 250.0  # below: silence. A word at -12 dB has about 1500
_MIN_TONAL: Final = 0.55  # share of a frame's energy that must lie in the three strongest tones
_MIN_WINNER: Final = 0.65  # share of the strongest tone in its group
_MIN_BALANCE: Final = 0.08  # share of the weakest of the three tones

_UNCLEAR: Final = -1
_LABEL_OF_GROUPS: Final = np.array([1, 20, 2])  # pilot, low, high
_PAUSE_TOKEN: Final = re.compile(r"\[(\d{1,6})\]")


@dataclass(frozen=True, slots=True)
class ToneWord:
    """A word and where it lies, in samples since the start of the audio; `end` is exclusive."""

    text: str
    start: int
    end: int


def layout(
    text: str | Iterable[str], *, word_ms: int = 200, gap_ms: int = 0, sample_rate_hertz: int = 8000
) -> tuple[list[ToneWord], int]:
    """Return where `synthesize` puts each word, and the length of the whole audio in samples.

    A token `[N]` in the text is a pause of N ms. Raises ValueError for a word outside of VOCABULARY, a word
    shorter than MIN_WORD_MS, a negative gap, or a rate that is not a positive multiple of 400 Hz.
    """
    _check_rate(sample_rate_hertz)
    if word_ms < MIN_WORD_MS:
        raise ValueError(f"word_ms must be at least {MIN_WORD_MS}, got {word_ms}")
    if gap_ms < 0:
        raise ValueError(f"gap_ms must not be negative, got {gap_ms}")
    per_ms = sample_rate_hertz / 1000
    word_samples, gap_samples = round(word_ms * per_ms), round(gap_ms * per_ms)
    words: list[ToneWord] = []
    at = 0
    for token in text.split() if isinstance(text, str) else text:
        pause = _PAUSE_TOKEN.fullmatch(token)
        if pause:
            at += round(int(pause[1]) * per_ms)
            continue
        if token not in _INDEX:
            raise ValueError(f"not a word of the tones vocabulary: {token!r}")
        words.append(ToneWord(token, at, at + word_samples))
        at += word_samples + gap_samples
    return words, at


def synthesize(
    text: str | Iterable[str],
    *,
    word_ms: int = 200,
    gap_ms: int = 0,
    level_db: float = 0.0,
    encoding: str = "linear16",
    sample_rate_hertz: int = 8000,
) -> bytes:
    """Turn words of VOCABULARY into mono audio: `linear16` (int16 little endian) or `mulaw` (ITU-T G.711).

    `text` is words separated by white space, or an iterable of them; `[N]` is a pause of N ms. Each word
    takes `word_ms` and is followed by `gap_ms` of silence. 0 dB is about -15 dB below full scale (RMS).
    Raises ValueError as `layout` does, and for an unknown encoding.
    """
    if encoding not in ("linear16", "mulaw"):
        raise ValueError(f"encoding must be 'linear16' or 'mulaw', got {encoding!r}")
    words, length = layout(text, word_ms=word_ms, gap_ms=gap_ms, sample_rate_hertz=sample_rate_hertz)
    audio = np.zeros(length, dtype=np.int16)
    for word in words:
        chord = _chord(_INDEX[word.text], word.end - word.start, sample_rate_hertz)
        audio[word.start : word.end] = np.rint(chord * 10.0 ** (level_db / 20.0)).clip(-32768, 32767)
    pcm = audio.astype("<i2").tobytes()
    if encoding == "mulaw":
        # Imported here: whoever needs linear PCM only needs no compiled codec.
        from fastcall import g711

        return bytes(g711.lin2ulaw(pcm, 2))
    return pcm


def _check_rate(sample_rate_hertz: int) -> None:
    # 400 Hz: the 10 ms hop, the 20 ms window and the fades must be whole numbers of samples.
    if sample_rate_hertz < 8000 or sample_rate_hertz % 400:
        raise ValueError(f"sample_rate_hertz must be a multiple of 400 from 8000 up, got {sample_rate_hertz}")


@lru_cache(maxsize=512)
def _chord(index: int, samples: int, rate: int) -> NDArray[np.float64]:
    """The waveform of one word at 0 dB; cached because texts repeat words."""
    time_s = np.arange(samples) / rate
    low, high = _LOW_HZ[index // 10], _HIGH_HZ[index % 10]
    from_middle = np.arange(samples) - samples / 2
    second_half = np.clip(from_middle / (rate * _FADE_MS / 1000) + 0.5, 0.0, 1.0)
    wave = np.sin(2 * np.pi * low * time_s) + np.sin(2 * np.pi * high * time_s)
    wave += (1 - second_half) * np.sin(2 * np.pi * _PILOT_HZ[0] * time_s)
    wave += second_half * np.sin(2 * np.pi * _PILOT_HZ[1] * time_s)
    fade = rate * _FADE_MS // 1000
    wave *= np.interp(np.abs(from_middle), [rate * _DIP_MS / 2000 - fade, rate * _DIP_MS / 2000], [_DIP, 1.0])
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
    wave[:fade] *= ramp
    wave[-fade:] *= ramp[::-1]
    result: NDArray[np.float64] = wave * _AMPLITUDE
    result.setflags(write=False)
    return result


@dataclass(frozen=True, slots=True)
class _Bank:
    """Goertzel as a matrix. A window is two hops, so it is the sum of what its two halves correlate to."""

    halves: NDArray[np.float32]
    """(hop x 2 * columns): windowed cosines and sines as the first, then as the second half of a window."""
    squares: NDArray[np.float32]
    """(hop x 2): the squared window, for the energy of a hop as the first and as the second half."""
    loud: float
    """Energy of a window at the quietest level that counts."""


_GROUP: Final = 10  # columns of a group of tones; the pilots' group is padded with silence
_COLUMNS: Final = 2 * 3 * _GROUP  # cosines, then sines


@lru_cache(maxsize=8)
def _bank(rate: int) -> _Bank:
    samples, hop = rate * _WINDOW_MS // 1000, rate * _HOP_MS // 1000
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(samples) + 0.5) / samples)
    hertz = np.array([*_PILOT_HZ, *[0] * (_GROUP - len(_PILOT_HZ)), *_LOW_HZ, *_HIGH_HZ])
    phase = 2 * np.pi * np.outer(np.arange(samples) / rate, hertz)
    # Scaled so that the squared correlation of a tone is the energy of its windowed samples.
    scale = np.sqrt(2 * (window**2).sum()) / window.sum() * (hertz > 0)
    basis = np.concatenate([np.cos(phase) * scale, np.sin(phase) * scale], axis=1) * window[:, None]
    return _Bank(
        np.concatenate([basis[:hop], basis[hop:]], axis=1).astype(np.float32),
        np.stack([window[:hop] ** 2, window[hop:] ** 2], axis=1).astype(np.float32),
        _MIN_RMS**2 * float((window**2).sum()),
    )


class ToneRecognizer:
    """Recognize words of VOCABULARY in mono 16-bit PCM that comes in pieces of any size.

    Not thread-safe. Costs tens of microseconds for 150 ms of audio.
    """

    def __init__(self, sample_rate_hertz: int = 8000) -> None:
        _check_rate(sample_rate_hertz)
        self._bank = _bank(sample_rate_hertz)
        self._window_samples = sample_rate_hertz * _WINDOW_MS // 1000
        self._hop = sample_rate_hertz * _HOP_MS // 1000
        self._rest = np.zeros(0, dtype=np.int16)
        self._odd = b""
        self._frame = 0  # index of the next frame; frame k starts at sample k * hop
        self.samples = 0
        """Samples accepted so far."""
        self._word = _UNCLEAR  # index of the word that is being heard
        self._first_frames = self._second_frames = self._gap = 0
        self._start_frame = self._end_frame = 0

    @property
    def word_start(self) -> int | None:
        """Where the word that is being heard began, in samples; None between words."""
        return self._edge(self._start_frame) if self._word >= 0 else None

    def accept(self, pcm: bytes | bytearray | memoryview | NDArray[np.int16]) -> list[ToneWord]:
        """Take the next piece of audio (int16, mono, any length) and return the words that ended in it.

        A byte string may end in the middle of a sample: its last byte then waits for the next piece.
        """
        if not isinstance(pcm, np.ndarray):
            data = self._odd + bytes(pcm) if self._odd else bytes(pcm)
            cut = len(data) & ~1
            self._odd = data[cut:]
            pcm = np.frombuffer(data, dtype="<i2", count=cut // 2)
        self.samples += len(pcm)
        audio = np.concatenate([self._rest, pcm])
        hops = len(audio) // self._hop
        if hops < 2:
            self._rest = audio
            return []
        self._rest = audio[(hops - 1) * self._hop :]
        words: list[ToneWord] = []
        for label in self._labels(audio[: hops * self._hop].reshape(hops, self._hop)):
            self._step(label, words)
        return words

    def finish(self) -> list[ToneWord]:
        """End of the audio: return the word that was not yet known to have ended, if any."""
        samples = self.samples
        words = self.accept(np.zeros(self._window_samples, dtype=np.int16))
        self._complete(words)
        self.samples = samples
        return [ToneWord(word.text, word.start, min(word.end, samples)) for word in words]

    def _labels(self, hops: NDArray[np.int16]) -> Sequence[int]:
        """Name the chord of each window of two hops: 2 * word + half, or _UNCLEAR."""
        count, bank = len(hops) - 1, self._bank
        if int(hops.max()) < _MIN_RMS:  # silence, without arithmetic
            return [_UNCLEAR] * count
        audio = hops.astype(np.float32)
        energies = np.square(audio) @ bank.squares
        energy = energies[:-1, 0] + energies[1:, 1]
        halves = audio @ bank.halves
        spectrum = halves[:-1, :_COLUMNS] + halves[1:, _COLUMNS:]
        np.square(spectrum, out=spectrum)
        power = (spectrum[:, : _COLUMNS // 2] + spectrum[:, _COLUMNS // 2 :]).reshape(count, 3, _GROUP)
        tops = power.max(axis=2)
        tonal = tops.sum(axis=1)
        clear = (tops >= _MIN_WINNER * power.sum(axis=2)).all(axis=1)
        clear &= tops.min(axis=1) >= _MIN_BALANCE * tonal
        clear &= (tonal >= _MIN_TONAL * energy) & (energy > bank.loud)
        labels: list[int] = np.where(clear, power.argmax(axis=2) @ _LABEL_OF_GROUPS, _UNCLEAR).tolist()
        return labels

    def _step(self, label: int, words: list[ToneWord]) -> None:
        frame = self._frame
        self._frame += 1
        if label == _UNCLEAR:
            if self._word >= 0:
                self._gap += 1
                if self._gap > _MAX_GAP_FRAMES:
                    self._complete(words)
            return
        word, second_half = label >> 1, label & 1
        if second_half:
            if word != self._word:
                self._complete(words)  # the second half of a word whose first half was never heard
                return
            self._second_frames += 1
        else:
            if word != self._word or self._second_frames:
                self._complete(words)
                self._word, self._start_frame = word, frame
            self._first_frames += 1
        self._gap = 0
        self._end_frame = frame

    def _complete(self, words: list[ToneWord]) -> None:
        if self._first_frames >= _MIN_FRAMES and self._second_frames >= _MIN_FRAMES:
            start, end = self._edge(self._start_frame), self._edge(self._end_frame + 1)
            words.append(ToneWord(VOCABULARY[self._word], start, end))
        self._word = _UNCLEAR
        self._first_frames = self._second_frames = self._gap = 0

    def _edge(self, frame: int) -> int:
        # A frame is clear as soon as a word fills somewhat more than half of its window.
        return frame * self._hop + (self._window_samples - self._hop) // 2
