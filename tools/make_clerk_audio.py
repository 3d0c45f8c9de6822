"""Make the voice of the booking agent: src/fastcall/data/clerk.wav and clerk.tsv.

    apt-get install flite                     # 2.2, needed to make the recording only
    .venv/bin/python tools/make_clerk_audio.py

The agent's sentences, and the pieces of the one that confirms the booking. The voice is flite's
``slt`` (CMU Arctic, free of restrictions), brought down to 8 kHz and encoded as G.711 mu-law. The ends of words are
those of flite's segments. Running it twice gives the same bytes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastcall import g711
from fastcall._resample import Resampler
from fastcall.audio.wav import write_wav
from fastcall.demo.booking import DAYS, HOURS, NAMES, NUMBERS, PARTS, SENTENCES

DATA = Path(__file__).resolve().parent.parent / "src" / "fastcall" / "data"

VOICE = "slt"
RATE_HZ = 8000
SPEECH_RMS = 2500.0
PAUSE_MS = 120
TRIM_SHARE = 0.01
TRIM_SAMPLES = 240


def prompts() -> dict[str, str]:
    """Of each prompt its text. A piece is spoken as what follows it in the sentence wants: without falling."""
    said = dict(SENTENCES)
    said |= {number: number for number in NUMBERS}
    said |= {day: day if day in ("today", "tomorrow") else f"on {day}" for day in DAYS}
    said |= {f"at {hour}": f"at {hour}" for hour in HOURS}
    said |= {part: f"in the {part}" for part in PARTS}
    said |= {name: f"for {name}" for name in NAMES}
    return said


def speak(text: str) -> tuple[NDArray[np.int16], list[int]]:
    """A prompt at 8 kHz, trimmed, and where its words end, in samples."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/prompt.wav"
        command = ["flite", "-voice", VOICE, "-psdur", "-t", text, "-o", path]
        segments = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        with wave.open(path, "rb") as prompt:
            if prompt.getframerate() != 2 * RATE_HZ or prompt.getnchannels() != 1:
                sys.exit(f"flite gave {prompt.getframerate()} Hz, {prompt.getnchannels()} channels; expected 16000, 1")
            raw = prompt.readframes(prompt.getnframes())
    resampler = Resampler(2 * RATE_HZ)
    audio = np.frombuffer(resampler.push(raw) + resampler.flush(), "<i2").astype(np.float64)
    loud = np.flatnonzero(np.abs(audio) > TRIM_SHARE * np.abs(audio).max())
    start, end = max(0, loud[0] - TRIM_SAMPLES), min(len(audio), loud[-1] + TRIM_SAMPLES)
    speech = audio[start:end]
    speech *= SPEECH_RMS / np.sqrt(np.mean(speech**2))
    ends = [int(e * RATE_HZ) - start for e in word_ends(text, segments)]
    return np.rint(speech).clip(-32768, 32767).astype("<i2"), [*ends[:-1], len(speech)]


def phones_of(word: str) -> list[str]:
    """flite's phones of one word by itself."""
    command = ["flite", "-voice", VOICE, "-ps", "-t", word, "none"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [phone for phone in said.split() if phone != "pau"]


def word_ends(text: str, segments: str) -> list[float]:
    """Where each word ends, in seconds: of the sentence's segments each word takes as many as it has alone."""
    timed = [(phone, float(end)) for phone, end in re.findall(r"(\w+):([\d.]+)", segments) if phone != "pau"]
    counts = [len(phones_of(word)) for word in text.split()]
    # A word in a sentence may have a phone more or fewer than alone (`the`, `and`): the share is kept.
    total, so_far, ends = sum(counts), 0, []
    for count in counts:
        so_far += count
        ends.append(timed[max(0, round(so_far * len(timed) / total) - 1)][1])
    return ends


def main() -> None:
    rows, parts, position = ["name\tstart_ms\tend_ms\tword_ends_ms\ttext"], [], 0
    pause = np.zeros(PAUSE_MS * RATE_HZ // 1000, "<i2")
    for name, text in prompts().items():
        audio, ends = speak(text)
        audio = np.concatenate([audio, np.zeros(-len(audio) % 8, "<i2")])
        ends_ms = " ".join(str(end * 1000 // RATE_HZ) for end in ends)
        rows.append(f"{name}\t{position // 8}\t{(position + len(audio)) // 8}\t{ends_ms}\t{text}")
        parts += [audio, pause]
        position += len(audio) + len(pause)
    recording = write_wav(bytes(g711.lin2ulaw(np.concatenate(parts).tobytes(), 2)))
    (DATA / "clerk.wav").write_bytes(recording)
    (DATA / "clerk.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"clerk.wav: {len(recording)} bytes, {position / RATE_HZ:.1f} s, {len(rows) - 1} prompts")


if __name__ == "__main__":
    main()
