"""A small labelled set of turns, made in code: test tones for words, noise for coughs. For a clone that has no other.

The voice detector takes the tones for speech, and the recognizer's results come from the labels, so any text can be
"spoken". The form is that of turns.py. It shows whether the rules work at all; how well they do is for a real set.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcall._codec import mulaw_encode
from fastcall.audio.tones import VOCABULARY, synthesize
from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS

__all__ = ["write_set"]

Pcm = NDArray[np.float64]

WORD_MS = 240
WORD_SAMPLES = WORD_MS * SAMPLES_PER_MS
LEAD_MS, TAIL_MS = 800, 3000
FLOOR_DBFS, CALLER_DB, AGENT_DB = -66, -8, -3  # the last two as synthesize takes them
COUGH_MS = 160

TURNS: list[list[str | int]] = [
    ["my number is", 700, "four one five", 600, "six six two"],
    ["i would like to", 900, "book a table please"],
    ["it is for the", 800, "second of june"],
    ["yes please"],
    ["are you open on monday night"],
    ["we will be four people"],
]
AGENT = "we are open from noon until ten and there is a table by the window would that suit you " * 2
# Of the noise in dBFS, of other voices below the caller.
CONDITIONS = {"clean": 0, "noise-45": -45, "babble-20": -20}
CASES = [
    ("interrupt", "no i wanted friday"),
    ("interrupt", "can you repeat that please"),
    ("interrupt", "wait a moment"),
    ("backchannel", "mhm"),
    ("noise", ""),
    ("echo", ""),
    ("sidetalk", "somebody else is in the room"),
]


def write_set(folder: Path) -> dict[str, Any]:
    """Write the audio and ``labels.json``; return the labels."""
    (folder / "wav").mkdir(parents=True)
    chance = np.random.default_rng(7)
    turns = [
        _turn(folder, f"t{number}-{condition}", parts, condition, chance)
        for condition in CONDITIONS
        for number, parts in enumerate(TURNS)
    ]
    agent = _spoken(AGENT, AGENT_DB)
    _write(folder / "wav" / "agent.wav", agent)
    cases = [
        _case(folder, f"i{number}", kind, text, agent=agent, chance=chance) for number, (kind, text) in enumerate(CASES)
    ]
    labels = {"rate_hz": SAMPLE_RATE_HZ, "turns": turns, "interruptions": cases}
    (folder / "labels.json").write_text(json.dumps(labels))
    return labels


def _turn(
    folder: Path, name: str, parts: list[str | int], condition: str, chance: np.random.Generator
) -> dict[str, Any]:
    at, words, pauses, pieces = LEAD_MS * SAMPLES_PER_MS, [], [], [np.zeros(LEAD_MS * SAMPLES_PER_MS)]
    for part in parts:
        if isinstance(part, int):
            pauses.append({"start": at, "end": at + part * SAMPLES_PER_MS})
            piece = np.zeros(part * SAMPLES_PER_MS)
        else:
            words += _words(part, at)
            piece = _spoken(part, CALLER_DB)
        pieces.append(piece)
        at += len(piece)
    audio = np.concatenate([*pieces, np.zeros(TAIL_MS * SAMPLES_PER_MS)])
    audio += _background(condition, len(audio), chance)
    text = " ".join(part for part in parts if isinstance(part, str))
    file = f"wav/{name}.wav"
    _write(folder / file, audio)
    clip = {"id": name, "file": file, "text": text, "condition": condition, "samples": len(audio), "events": []}
    return clip | {"turn_end": at, "pauses": pauses, "words": words}


def _background(condition: str, samples: int, chance: np.random.Generator) -> Pcm:
    noise = _noise(samples, CONDITIONS[condition] if condition.startswith("noise") else FLOOR_DBFS, chance)
    if condition.startswith("babble"):
        others = chance.choice(VOCABULARY, samples // WORD_SAMPLES + 1)
        noise += _spoken(" ".join(others), CALLER_DB + CONDITIONS[condition])[:samples]
    return noise


def _case(folder: Path, name: str, kind: str, text: str, *, agent: Pcm, chance: np.random.Generator) -> dict[str, Any]:
    start = 2000 * SAMPLES_PER_MS
    audio = _noise(len(agent), FLOOR_DBFS, chance)
    sound = _spoken(text, CALLER_DB - 24 * (kind == "sidetalk"))
    if kind == "noise":
        sound = _noise(COUGH_MS * SAMPLES_PER_MS, -25, chance)
    elif kind == "echo":
        sound = agent[start:] * 10 ** (-26 / 20)
    audio[start : start + len(sound)] += sound
    file = f"wav/{name}.wav"
    _write(folder / file, audio)
    # Of what is said aside a recognizer hears nothing.
    words = [] if kind == "sidetalk" else _words(text, start)
    clip = {"id": name, "file": file, "kind": kind, "expected": "stop" if kind == "interrupt" else "go on"}
    return clip | {"agent": "wav/agent.wav", "agent_start": 0, "samples": len(audio), "start": start, "words": words}


def _words(text: str, at: int) -> list[tuple[str, int, int]]:
    starts = [at + number * WORD_SAMPLES for number in range(len(text.split()))]
    return [(word, start, start + WORD_SAMPLES) for word, start in zip(text.split(), starts, strict=True)]


def _spoken(text: str, level_db: float) -> Pcm:
    """A tone for each word; which one does not matter."""
    tones: Sequence[str] = [VOCABULARY[3 * sum(word.encode()) % len(VOCABULARY)] for word in text.split()]
    return np.frombuffer(synthesize(tones, word_ms=WORD_MS, level_db=level_db), np.int16).astype(float)


def _noise(samples: int, dbfs: float, chance: np.random.Generator) -> Pcm:
    return chance.normal(0, 32768 * 10 ** (dbfs / 20), samples)


def _write(path: Path, audio: Pcm) -> None:
    codes = mulaw_encode(audio.round().clip(-32768, 32767).astype(np.int16).tobytes())
    mulaw = struct.pack("<IHHIIHH", 16, 7, 1, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 1, 8)
    header = b"RIFF" + struct.pack("<I", 36 + len(codes)) + b"WAVEfmt " + mulaw
    path.write_bytes(header + b"data" + struct.pack("<I", len(codes)) + codes)
