"""The bundled conversation: its transcript is true, its pauses are heard as such, its words are recognized."""

from __future__ import annotations

import re
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from fastcall import g711
from fastcall.audio.endpointing import Endpointer, SpeechBegan, SpeechEnded
from fastcall.audio.vad import WebRtcVoiceDetector
from fastcall.audio.wav import read_wav
from fastcall.emulator.engines.upsample import Upsampler
from thoroughness import THOROUGH

DATA = resources.files("fastcall") / "data"
GAINS_DB = (-6, 0, 3)
FRAME_SAMPLES = 160
# Of the silence before and after the speech.
KEPT_MS = ((300, 500), (200, 200), (400, 800))


def transcript() -> list[tuple[int, int, str]]:
    """(start, end, text) of each turn; times in samples."""
    header, *rows = (DATA / "booking.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "start_ms\tend_ms\ttext"
    fields = [row.split("\t") for row in rows]
    return [(8 * int(start_ms), 8 * int(end_ms), text) for start_ms, end_ms, text in fields]


def recording(gain_db: float = 0.0, lead_samples: int = 0) -> NDArray[np.int16]:
    """The recording as a line brings it: at another level, and after that much silence; encoded as mu-law again."""
    pcm = np.frombuffer(g711.ulaw2lin(read_wav((DATA / "booking.wav").read_bytes()), 2), "<i2")
    louder = np.rint(pcm * 10 ** (gain_db / 20)).clip(-32768, 32767).astype("<i2")
    delayed = np.concatenate([np.zeros(lead_samples, "<i2"), louder])
    return np.frombuffer(g711.ulaw2lin(g711.lin2ulaw(delayed.tobytes(), 2), 2), "<i2")


def utterances(pcm: NDArray[np.int16]) -> list[tuple[SpeechBegan, SpeechEnded]]:
    """What the product's endpointing with its default settings makes of it."""
    detector = WebRtcVoiceDetector(2)
    endpointer = Endpointer(start_ms=60, hangover_ms=500, preroll_ms=300, max_s=60)
    found: list[tuple[SpeechBegan, SpeechEnded]] = []
    begun: SpeechBegan | None = None
    for end in range(FRAME_SAMPLES, len(pcm) + 1, FRAME_SAMPLES):
        change = endpointer.feed(detector.is_speech(pcm[end - FRAME_SAMPLES : end].tobytes()), end, now=end / 8000)
        if isinstance(change, SpeechBegan):
            begun = change
        elif change is not None:
            assert begun is not None
            found.append((begun, change))
    return found


def test_it_is_small_and_the_transcript_lies_within_it() -> None:
    size = len((DATA / "booking.wav").read_bytes())
    turns = transcript()
    assert size < 250_000
    assert 5 <= len(turns) <= 6
    assert turns[-1][1] <= len(recording())
    for (_, before, _), (after, _, _) in pairwise(turns):
        assert 1.2 <= (after - before) / 8000 <= 2.001


def test_speech_is_where_the_transcript_says_and_nowhere_else() -> None:
    pcm = recording().astype(np.float64)
    silent = np.ones(len(pcm), dtype=bool)
    for start, end, _ in transcript():
        silent[start - 8 : end + 8] = False
        assert np.sqrt(np.mean(pcm[start:end] ** 2)) > 2000
    assert np.abs(pcm[silent]).max() < 40


@pytest.mark.parametrize("gain_db", GAINS_DB)
@pytest.mark.parametrize("lead_samples", [0, 37, 111])
def test_endpointing_finds_exactly_these_turns(gain_db: int, lead_samples: int) -> None:
    turns = transcript()
    found = utterances(recording(gain_db, lead_samples))
    assert len(found) == len(turns)
    for (began, ended), (start, end, _) in zip(found, turns, strict=True):
        # 100 ms of slack where a word begins or ends softly; the detector itself hangs over by some frames.
        assert abs(began.voice_sample - lead_samples - start) <= 800
        assert -800 <= ended.end_sample - lead_samples - end <= 1600
        assert ended.reason == "hangover"


def test_the_grammar_knows_more_than_the_recording_says() -> None:
    grammar = (DATA / "booking.gram").read_text(encoding="utf-8")
    assert grammar.startswith("#JSGF V1.0;")
    said = {word for _, _, text in transcript() for word in text.split()}
    bodies = re.sub(r"//.*|<\w+>|grammar \w+;|#.*", " ", grammar)
    known = set(re.findall(r"[a-z]+", bodies)) - {"public"}
    assert said < known
    assert len(known) > 2 * len(said)


@pytest.mark.parametrize("gain_db", GAINS_DB)
@pytest.mark.parametrize("warm", [False, True], ids=["fresh decoder", "warm decoder"])
def test_pocketsphinx_recognizes_every_turn(gain_db: int, warm: bool) -> None:
    pytest.importorskip("pocketsphinx", reason="no wheel of pocketsphinx for this Python")
    from fastcall.emulator.engines.pocketsphinx_worker import grammar_decoder

    decoder = grammar_decoder()
    decoder.add_jsgf_string("grammar", (DATA / "booking.gram").read_text(encoding="utf-8"))
    decoder.activate_search("grammar")
    fresh = decoder.get_cmn(False)
    for shift, lead_samples in enumerate((0, 111), GAINS_DB.index(gain_db)):
        pcm = recording(gain_db, lead_samples)
        for turn, ((_, ended), (start, _, text)) in enumerate(zip(utterances(pcm), transcript(), strict=True)):
            # One way for each turn, another than for the turn before, and than at another level: all meet all ways.
            for before, after in KEPT_MS if THOROUGH else [KEPT_MS[(turn + shift) % len(KEPT_MS)]]:
                if not warm:
                    decoder.set_cmn(fresh)
                cut = pcm[max(0, lead_samples + start - 8 * before) : ended.end_sample + 8 * after]
                assert hear(decoder, cut) == text


def hear(decoder: object, pcm: NDArray[np.int16]) -> str:
    """Decode one utterance in pieces of 150 ms, as a stream brings them."""
    upsampler = Upsampler()
    decoder.start_utt()  # type: ignore[attr-defined]
    for at in range(0, len(pcm), 1200):
        decoder.process_raw(upsampler.process(pcm[at : at + 1200]).tobytes())  # type: ignore[attr-defined]
    decoder.end_utt()  # type: ignore[attr-defined]
    hypothesis = decoder.hyp()  # type: ignore[attr-defined]
    return hypothesis.hypstr if hypothesis else ""
