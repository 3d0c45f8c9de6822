"""The tones language: every property that the lossless tests build on."""

from __future__ import annotations

import numpy as np
import pytest
import webrtcvad
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastcall.audio.tones import MIN_WORD_MS, VOCABULARY, ToneRecognizer, layout, synthesize
from fastcall.turns.turn_policy import foreground_gate

WORDS = st.sampled_from(VOCABULARY)
FRAME = 160  # samples of 20 ms at 8 kHz


def pcm(text: str | list[str], **options: object) -> NDArray[np.int16]:
    return np.frombuffer(synthesize(text, **options), dtype="<i2")  # type: ignore[arg-type]


def silence(ms: int) -> NDArray[np.int16]:
    return np.zeros(ms * 8, dtype=np.int16)


def through_mulaw(audio: NDArray[np.int16]) -> NDArray[np.int16]:
    """What G.711 leaves of the audio, written from the recommendation and not with the product's codec."""
    wide = audio.astype(np.int32)
    magnitude = np.minimum(np.abs(wide), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    decoded = (((mantissa << 3) + 132) << exponent) - 132
    return np.where(wide < 0, -decoded, decoded).astype(np.int16)


def hear(audio: NDArray[np.int16], pieces: list[int] | None = None, rate: int = 8000) -> list[str]:
    recognizer = ToneRecognizer(rate)
    words = []
    at = 0
    for size in pieces or []:
        words += recognizer.accept(audio[at : at + size])
        at += size
    words += recognizer.accept(audio[at:])
    words += recognizer.finish()
    return [word.text for word in words]


def test_vocabulary_is_100_distinct_plain_words() -> None:
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 100
    assert all(word.isascii() and word.islower() and word.isalpha() for word in VOCABULARY)


@pytest.mark.parametrize("word_ms", [MIN_WORD_MS, 100, 200])
def test_every_word_is_itself(word_ms: int) -> None:
    assert hear(through_mulaw(pcm(list(VOCABULARY), word_ms=word_ms))) == list(VOCABULARY)


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(WORDS, min_size=1, max_size=12),
    gap_ms=st.sampled_from([0, 1, 7, 40, 300]),
    word_ms=st.sampled_from([MIN_WORD_MS, 100, 133, 200]),
    offset=st.integers(0, FRAME - 1),
    level_db=st.floats(-12, 0),
    pieces=st.lists(st.integers(0, 2500), max_size=20),
)
def test_whole_words_are_found_once_at_any_alignment_level_and_chunking(
    words: list[str], gap_ms: int, word_ms: int, offset: int, level_db: float, pieces: list[int]
) -> None:
    audio = through_mulaw(pcm(words, word_ms=word_ms, gap_ms=gap_ms, level_db=level_db))
    audio = np.concatenate([np.zeros(offset, dtype=np.int16), audio])
    assert hear(audio, pieces) == words


@settings(max_examples=40, deadline=None)
@given(word=WORDS, count=st.integers(2, 8), offset=st.integers(0, FRAME - 1))
def test_the_same_word_in_a_row_without_gap_is_counted(word: str, count: int, offset: int) -> None:
    audio = np.concatenate([np.zeros(offset, dtype=np.int16), pcm([word] * count)])
    assert hear(through_mulaw(audio)) == [word] * count


@settings(max_examples=60, deadline=None)
@given(word=WORDS, neighbour=WORDS, cut_ms=st.integers(0, 200), word_ms=st.sampled_from([100, 200]))
def test_a_word_cut_in_two_is_never_found_in_both_pieces(word: str, neighbour: str, cut_ms: int, word_ms: int) -> None:
    audio = through_mulaw(pcm([neighbour, word, neighbour], word_ms=word_ms))
    at = min(word_ms + cut_ms, 2 * word_ms) * 8
    head, tail = hear(audio[:at]), hear(audio[at:])
    assert head[:1] == [neighbour]
    assert tail[-1:] == [neighbour]
    assert len(head) - 1 + len(tail) - 1 <= 1
    if cut_ms >= word_ms // 2 + 40:
        assert head[1:] == [word]
    if cut_ms <= word_ms // 2 - 40:
        assert tail[:-1] == [word]


@settings(max_examples=40, deadline=None)
@given(word=WORDS, remains=st.floats(0.0, 1.0), from_end=st.booleans(), offset=st.integers(0, FRAME - 1))
def test_a_piece_of_a_word_counts_from_70_percent_and_never_below_50(
    word: str, remains: float, from_end: bool, offset: int
) -> None:
    audio = pcm([word])
    kept = round(len(audio) * remains)
    piece = audio[len(audio) - kept :] if from_end else audio[:kept]
    heard = hear(np.concatenate([np.zeros(offset, np.int16), piece, silence(300)]))
    if remains >= 0.7:
        assert heard == [word]
    if remains <= 0.5:
        assert heard == []


@settings(max_examples=20, deadline=None)
@given(word=WORDS, word_ms=st.sampled_from([100, 200]), offset=st.integers(0, FRAME - 1))
def test_words_without_a_pause_are_taken_for_a_voice_and_not_for_noise(word: str, word_ms: int, offset: int) -> None:
    gate = foreground_gate()
    audio = np.concatenate([silence(300), np.zeros(offset, np.int16), pcm([word] * (6000 // word_ms), word_ms=word_ms)])
    frames = [audio[at : at + FRAME].tobytes() for at in range(0, len(audio) - FRAME + 1, FRAME)]
    voice = [gate.feed(frame, True) == 1 for frame in frames]
    assert all(sum(voice[at : at + 20]) >= 10 for at in range(20, len(voice) - 20))


def test_what_is_cut_is_missing_and_what_is_sent_twice_appears_twice() -> None:
    words = ["apple", "river", "cloud", "tiger", "tiger", "lemon"]
    audio = pcm(words, gap_ms=50)
    each = 250 * 8
    without_cloud = np.concatenate([audio[: 2 * each], audio[3 * each :]])
    assert hear(without_cloud) == ["apple", "river", "tiger", "tiger", "lemon"]
    replayed = np.concatenate([audio[: 4 * each], audio[2 * each :]])
    assert hear(replayed) == ["apple", "river", "cloud", "tiger", "cloud", "tiger", "tiger", "lemon"]


def test_splicing_the_halves_of_different_words_makes_no_word() -> None:
    first, second = pcm(["apple"]), pcm(["window"])
    assert hear(np.concatenate([first[:800], second[800:]])) == []


@pytest.mark.parametrize("rms", [0, 30, 150, 2000, 9000])
def test_silence_and_noise_hold_no_words(rms: int) -> None:
    noise = np.random.default_rng(7).normal(0, rms, 8000 * 10).clip(-32768, 32767).astype(np.int16)
    assert hear(noise) == []


def test_words_are_found_in_noise_20_db_below_them() -> None:
    words = list(VOCABULARY)
    audio = pcm(words, gap_ms=20)
    noise = np.random.default_rng(3).normal(0, 600, len(audio))
    assert hear((audio + noise).astype(np.int16)) == words


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(WORDS, min_size=1, max_size=8),
    gap_ms=st.sampled_from([0, 30, 300]),
    offset=st.integers(0, FRAME - 1),
)
def test_times_are_within_10_ms(words: list[str], gap_ms: int, offset: int) -> None:
    recognizer = ToneRecognizer()
    audio = np.concatenate([np.zeros(offset, dtype=np.int16), pcm(words, gap_ms=gap_ms)])
    heard = recognizer.accept(through_mulaw(audio)) + recognizer.finish()
    expected, _ = layout(words, gap_ms=gap_ms)
    for got, want in zip(heard, expected, strict=True):
        assert abs(got.start - offset - want.start) <= 80
        assert abs(got.end - offset - want.end) <= 80
        assert got.end <= len(audio)


def test_pause_tokens_are_silence() -> None:
    words, length = layout("apple [300] river [100]", gap_ms=20)
    assert [(word.start, word.end) for word in words] == [(0, 1600), (1600 + 160 + 2400, 5760)]
    assert length == 5760 + 160 + 800
    assert len(pcm("apple [300] river [100]", gap_ms=20)) == length


def test_16_khz_works_too() -> None:
    words = ["apple", "apple", "window", "cloud"]
    audio = np.frombuffer(synthesize(words, sample_rate_hertz=16000), dtype="<i2")
    assert hear(audio, rate=16000) == words


def test_bytes_may_be_cut_between_the_bytes_of_a_sample() -> None:
    data = synthesize(["apple", "river"])
    recognizer = ToneRecognizer()
    heard = []
    for at in range(0, len(data), 333):
        heard += recognizer.accept(data[at : at + 333])
    heard += recognizer.finish()
    assert [word.text for word in heard] == ["apple", "river"]
    assert recognizer.samples == len(data) // 2


@pytest.mark.parametrize("level_db", [0.0, -6.0, -12.0])
@pytest.mark.parametrize(("word_ms", "gap_ms"), [(200, 0), (200, 50), (100, 0)])
def test_webrtcvad_takes_continuous_text_for_speech(level_db: float, word_ms: int, gap_ms: int) -> None:
    words = [VOCABULARY[(7 * index) % 100] for index in range(100)]
    audio = np.concatenate(
        [silence(1000), through_mulaw(pcm(words, word_ms=word_ms, gap_ms=gap_ms, level_db=level_db))]
    )
    vad = webrtcvad.Vad(2)
    voiced = [vad.is_speech(audio[at : at + FRAME].tobytes(), 8000) for at in range(0, len(audio) - 159, FRAME)]
    assert not any(voiced[:50])
    assert any(voiced[50:52]), "speech must be noticed within 40 ms"
    assert sum(voiced[50:]) / len(voiced[50:]) >= 0.95


def test_webrtcvad_takes_every_single_word_for_speech_within_40_ms() -> None:
    for word in VOCABULARY:
        vad = webrtcvad.Vad(2)
        audio = through_mulaw(pcm(f"[500] {word} [400]"))
        voiced = [vad.is_speech(audio[at : at + FRAME].tobytes(), 8000) for at in range(0, len(audio) - 159, FRAME)]
        assert not any(voiced[:25])
        assert all(voiced[26:35]), word
        assert not any(voiced[45:]), f"{word}: speech must end soon after the word"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "apple banana"}, "banana"),
        ({"text": "apple", "word_ms": 79}, "word_ms"),
        ({"text": "apple", "gap_ms": -1}, "gap_ms"),
        ({"text": "apple", "encoding": "flac"}, "flac"),
        ({"text": "apple", "sample_rate_hertz": 7999}, "sample_rate_hertz"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthesize(**arguments)  # type: ignore[arg-type]
