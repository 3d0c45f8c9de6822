"""Make the recording of the demo: src/fastcall/data/booking.wav and booking.tsv.

    apt-get install flite                     # 2.2, needed to make the recording only
    .venv/bin/python tools/make_booking_audio.py

A caller books a table in six turns, with natural pauses between them. The voice is flite's
``rms`` (CMU Arctic, free of restrictions), a little slower than its default; it leaves the synthesiser at 16 kHz,
is filtered and brought down to 8 kHz and encoded as G.711 mu-law over a faint, constant noise,
because a real line is never digitally silent. Running it twice gives the same bytes.

The wording was chosen by trial: each turn must be recognized word for word by PocketSphinx with booking.gram
(8 kHz brought up to 16 kHz, decoder fresh or warm) at -6 to +3 dB, wherever the cut before and after it falls.
tests/unit/demo/test_booking_data.py checks the bundled recording.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastcall import g711
from fastcall.audio.wav import write_wav

DATA = Path(__file__).resolve().parent.parent / "src" / "fastcall" / "data"

VOICE = "rms"
STRETCH = 1.05
"""Of all durations; the turns are also recognized at 1.0 and 1.1."""

LEAD_MS = 600
TURNS = (  # what is said, and the pause after it in ms
    ("hello i would like to book a table", 1400),
    ("there will be four people", 1200),
    ("on friday at eight in the evening", 1600),
    ("my name is michael", 1300),
    ("yes that is right", 2000),
    ("that is all goodbye", 1000),
)

RATE_HZ = 8000
SPEECH_RMS = 2500.0  # about -22 dB below full scale, a common level of a telephone line
NOISE_RMS = 6.0
NOISE_SEED = 7
TRIM_SHARE = 0.02  # of the peak: quieter is not yet, or no longer, speech
TRIM_LEAD, TRIM_TAIL = 160, 240  # samples kept before and after


def speak(text: str) -> NDArray[np.float64]:
    """One turn at 16 kHz, as int16 values."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/turn.wav"
        command = ["flite", "-voice", VOICE, "--setf", f"duration_stretch={STRETCH}", "-t", text, "-o", path]
        subprocess.run(command, check=True)
        with wave.open(path, "rb") as turn:
            if turn.getframerate() != 2 * RATE_HZ or turn.getnchannels() != 1:
                sys.exit(f"flite gave {turn.getframerate()} Hz, {turn.getnchannels()} channels; expected 16000 Hz mono")
            return np.frombuffer(turn.readframes(turn.getnframes()), "<i2").astype(np.float64)


def halve_rate(audio: NDArray[np.float64]) -> NDArray[np.float64]:
    """16 kHz to 8 kHz: a windowed sinc with its edge at 3.8 kHz, then each second sample."""
    at = np.arange(-96, 97)
    share = 3800 / 8000  # of the band of 16 kHz audio
    taps = share * np.sinc(share * at) * np.kaiser(len(at), 8.0)
    low: NDArray[np.float64] = np.convolve(audio, taps, "same")[::2]
    return low


def trim(audio: NDArray[np.float64]) -> NDArray[np.float64]:
    """The speech, at the level of the recording."""
    loud = np.flatnonzero(np.abs(audio) > TRIM_SHARE * np.abs(audio).max())
    speech = audio[max(0, loud[0] - TRIM_LEAD) : loud[-1] + TRIM_TAIL]
    return np.asarray(speech * (SPEECH_RMS / np.sqrt(np.mean(speech**2))))


def make() -> tuple[bytes, str]:
    """The WAV file and the transcript."""
    parts = [np.zeros(LEAD_MS * RATE_HZ // 1000)]
    rows = ["start_ms\tend_ms\ttext"]
    for text, pause_ms in TURNS:
        speech = trim(halve_rate(speak(text)))
        start = sum(map(len, parts))
        rows.append(f"{start * 1000 // RATE_HZ}\t{(start + len(speech)) * 1000 // RATE_HZ}\t{text}")
        parts += [speech, np.zeros(pause_ms * RATE_HZ // 1000)]
    audio = np.concatenate(parts)
    audio += np.random.default_rng(NOISE_SEED).normal(0.0, NOISE_RMS, len(audio))
    pcm = np.rint(audio).clip(-32768, 32767).astype("<i2")
    return write_wav(bytes(g711.lin2ulaw(pcm.tobytes(), 2))), "\n".join(rows) + "\n"


def main() -> None:
    recording, transcript = make()
    (DATA / "booking.wav").write_bytes(recording)
    (DATA / "booking.tsv").write_text(transcript, encoding="utf-8")
    print(f"booking.wav: {len(recording)} bytes, {(len(recording) - 58) / RATE_HZ:.1f} s")
    print(transcript, end="")


if __name__ == "__main__":
    main()
