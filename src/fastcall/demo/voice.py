"""The booking agent's voice: prerecorded prompts, joined to sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastcall.audio.wav import read_wav

__all__ = ["Prompt", "join", "load_prompts"]

SAMPLES_PER_MS = 8


@dataclass(frozen=True, slots=True)
class Prompt:
    """Something to say."""

    text: str
    mulaw: bytes
    word_ends_ms: tuple[int, ...]
    """Where in the audio each word of the text ends."""


@cache
def load_prompts() -> Mapping[str, Prompt]:
    """The bundled prompts, by name."""
    data = resources.files("fastcall") / "data"
    audio = read_wav((data / "clerk.wav").read_bytes())
    prompts = {}
    for row in (data / "clerk.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        name, start, end, word_ends, text = row.split("\t")
        mulaw = audio[SAMPLES_PER_MS * int(start) : SAMPLES_PER_MS * int(end)]
        prompts[name] = Prompt(text, mulaw, tuple(map(int, word_ends.split())))
    return prompts


def join(prompts: Mapping[str, Prompt], names: Sequence[str]) -> Prompt:
    """Concatenate several prompts."""
    parts = [prompts[name] for name in names]
    ends: list[int] = []
    so_far = 0
    for part in parts:
        ends += [so_far + end for end in part.word_ends_ms]
        so_far += len(part.mulaw) // SAMPLES_PER_MS
    return Prompt(" ".join(part.text for part in parts), b"".join(part.mulaw for part in parts), tuple(ends))
