"""The emulator's small parts: admission, decoding, endpointing, upsampling, grammars, the bytes of messages."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from google.cloud import speech_v1p1beta1, speech_v2
from hypothesis import given
from hypothesis import strategies as st

from fastcall import g711
from fastcall.emulator.admission import Admission, Refusal
from fastcall.emulator.audio import AudioDecoder
from fastcall.emulator.codec import codec_for
from fastcall.emulator.engines.endpointer import Change, Endpointer
from fastcall.emulator.engines.grammar import jsgf_from_phrases
from fastcall.emulator.engines.upsample import DELAY_SAMPLES, Upsampler
from fastcall.emulator.messages import AudioRequest, ConfigRequest, EmptyRequest, MalformedRequest
from fastcall.emulator.options import Options


def test_admission_counts_open_streams() -> None:
    admission = Admission(Options(max_streams=2, requests_per_minute=0))
    assert [admission.open(now=1.0) for _ in range(3)] == [None, None, Refusal.CONCURRENT_STREAMS]
    admission.close()
    assert admission.open(now=1.0) is None


def test_admission_counts_the_requests_of_the_last_minute() -> None:
    admission = Admission(Options(max_streams=0, requests_per_minute=2))
    assert [admission.open(now=t) for t in (0.0, 30.0, 59.9)] == [None, None, Refusal.REQUESTS_PER_MINUTE]
    assert admission.open(now=60.0) is None


@pytest.mark.parametrize(("encoding", "decode"), [("MULAW", g711.ulaw2lin), ("ALAW", g711.alaw2lin)])
def test_the_decoder_agrees_with_g711(encoding: str, decode: object) -> None:
    codes = bytes(range(256))
    assert AudioDecoder(encoding).decode(codes).astype("<i2").tobytes() == decode(codes, 2)  # type: ignore[operator]


@given(st.binary(max_size=64), st.lists(st.integers(0, 64)))
def test_linear16_may_be_cut_anywhere(data: bytes, cuts: list[int]) -> None:
    decoder = AudioDecoder("LINEAR16")
    edges = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    pieces = [decoder.decode(data[a:b]) for a, b in pairwise(edges)]
    whole = np.frombuffer(data, "<i2", len(data) // 2)
    assert np.array_equal(np.concatenate([np.zeros(0, "<i2"), *pieces]), whole)


def test_the_endpointer_begins_after_three_voiced_frames_and_ends_after_the_silence() -> None:
    endpointer = Endpointer(end_silence_s=0.6, max_utterance_s=60)
    frames = [False] * 10 + [True] * 20 + [False] * 40
    changes = [endpointer.step(voiced) for voiced in frames]
    assert [i for i, change in enumerate(changes) if change is Change.BEGIN] == [12]
    (end,) = (i for i, change in enumerate(changes) if change is Change.END)
    assert 27 <= end - 29 <= 30
    assert endpointer.last_voiced_frame == 29


def test_the_endpointer_cuts_endless_speech() -> None:
    endpointer = Endpointer(end_silence_s=0.6, max_utterance_s=2)
    changes = [endpointer.step(True) for _ in range(500)]
    assert 3 <= changes.count(Change.END) <= 5


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12))
def test_upsampling_does_not_depend_on_the_pieces(sizes: list[int]) -> None:
    audio = (8000 * np.sin(np.arange(sum(sizes)) * 0.7)).astype(np.int16)
    whole = Upsampler().process(audio)
    upsampler = Upsampler()
    edges = np.cumsum([0, *sizes])
    pieces = [upsampler.process(audio[a:b]) for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_upsampling_keeps_a_tone_and_adds_no_image() -> None:
    at = np.arange(1600)
    wide = Upsampler().process((10000 * np.sin(2 * np.pi * 1000 * at / 8000)).astype(np.int16))
    spectrum = np.abs(np.fft.rfft(wide[4 * DELAY_SAMPLES :].astype(float) * np.hanning(len(wide) - 4 * DELAY_SAMPLES)))
    hertz = np.fft.rfftfreq(len(wide) - 4 * DELAY_SAMPLES, 1 / 16000)
    tone, image = spectrum[np.abs(hertz - 1000) < 50].max(), spectrum[np.abs(hertz - 7000) < 50].max()
    assert tone > 1000 * image


def test_phrases_become_a_grammar_without_the_words_that_nobody_knows() -> None:
    known = {"book", "a", "table", "yes", "please"}
    grammar, dropped = jsgf_from_phrases(
        ["Book a table!", "yes, please", "zzyzx road", "book a table"], known.__contains__
    )
    assert grammar is not None
    assert "( book a table | yes please )+" in grammar
    assert dropped == ("zzyzx road",)
    assert jsgf_from_phrases(["x1"], known.__contains__) == (None, ("x1",))


def audio_requests(audio: bytes) -> dict[str, bytes]:
    return {
        "v1p1beta1": speech_v1p1beta1.StreamingRecognizeRequest.serialize(
            speech_v1p1beta1.StreamingRecognizeRequest(audio_content=audio)
        ),
        "v2": speech_v2.StreamingRecognizeRequest.serialize(speech_v2.StreamingRecognizeRequest(audio=audio)),
    }


@pytest.mark.parametrize("version", ["v1p1beta1", "v2"])
@pytest.mark.parametrize("size", [1, 127, 128, 2400, 16383, 16384, 25600])
def test_audio_requests_are_read_as_google_writes_them(version: str, size: int) -> None:
    audio = bytes(i % 251 for i in range(size))
    assert codec_for(version).decode(audio_requests(audio)[version]) == AudioRequest(audio)


def test_a_configuration_is_read_as_google_writes_it() -> None:
    speech = speech_v1p1beta1
    request = speech.StreamingRecognizeRequest(
        streaming_config=speech.StreamingRecognitionConfig(
            config=speech.RecognitionConfig(
                encoding="LINEAR16",
                sample_rate_hertz=8000,
                language_code="en-US",
                model="phone_call",
                enable_word_time_offsets=True,
                speech_contexts=[speech.SpeechContext(phrases=["book a table"])],
            ),
            interim_results=True,
        )
    )
    decoded = codec_for("v1p1beta1").decode(speech.StreamingRecognizeRequest.serialize(request))
    assert isinstance(decoded, ConfigRequest)
    config = decoded.config
    assert (config.encoding, config.sample_rate_hertz, config.languages) == ("LINEAR16", 8000, ("en-US",))
    assert (config.model, config.word_times, config.interim_results) == ("phone_call", True, True)
    assert config.phrases == ("book a table",)


@pytest.mark.parametrize(("number", "name"), [(0, ""), (3, "MULAW"), (99, "")])
def test_an_encoding_that_is_not_set_or_not_known_has_no_name(number: int, name: str) -> None:
    request = speech_v1p1beta1.StreamingRecognizeRequest.pb()()
    request.streaming_config.config.encoding = number
    decoded = codec_for("v1p1beta1").decode(request.SerializeToString())
    assert isinstance(decoded, ConfigRequest)
    assert decoded.config.encoding == name


@given(st.binary(max_size=80))
def test_any_bytes_are_some_request(data: bytes) -> None:
    for version in ("v1", "v1p1beta1", "v2"):
        kinds = (AudioRequest, ConfigRequest, EmptyRequest, MalformedRequest)
        assert isinstance(codec_for(version).decode(data), kinds)
