"""The script engine: reports a text from a file at its times, whatever the audio contains.

For testing how an application handles words. The times are those of each stream's own audio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastcall.emulator.engines.base import (
    EngineEvent,
    Finished,
    Heard,
    SpeechBegan,
    SpeechEnded,
    UtteranceEnded,
)
from fastcall.emulator.messages import StreamConfig, Word

__all__ = ["ScriptEngine", "ScriptStream", "parse_script"]

Utterance = tuple[Word, ...]

DEFAULT_WORD_MS: Final = 300
MAX_UTTERANCES: Final = 10_000


def parse_script(script: Any) -> tuple[Utterance, ...]:
    """Utterances from a parsed YAML script.

    A list of mappings, in order of time: `at_s` (when the utterance begins), `text`, and `word_ms` (by
    default 300), or `words`: a list of [word, start_s, end_s]. Raises ValueError with the place.
    """
    if isinstance(script, Mapping) and set(script) == {"utterances"}:
        script = script["utterances"]
    if not isinstance(script, list) or not 1 <= len(script) <= MAX_UTTERANCES:
        raise ValueError(f"a script is a list of 1 to {MAX_UTTERANCES} utterances")
    utterances: list[Utterance] = []
    end_s = 0.0
    for number, entry in enumerate(script, 1):
        words = _words_of(entry, f"utterance {number}")
        for word in words:
            if not end_s <= word.start_s <= word.end_s:
                raise ValueError(f"utterance {number}: {word.text!r} begins before the previous word has ended")
            end_s = word.end_s
        utterances.append(words)
    return tuple(utterances)


def _words_of(entry: Any, place: str) -> Utterance:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place}: must be a mapping with 'at_s' and 'text', or with 'words'")
    if set(entry) == {"words"}:
        words = entry["words"]
        if not isinstance(words, list) or not words:
            raise ValueError(f"{place}: words must be a list")
        return tuple(_word(word, place) for word in words)
    if not {"at_s", "text"} <= set(entry) <= {"at_s", "text", "word_ms"}:
        raise ValueError(f"{place}: use 'at_s', 'text' and 'word_ms', or only 'words'")
    at_s, word_s = _number(entry["at_s"], place), _number(entry.get("word_ms", DEFAULT_WORD_MS), place) / 1000
    texts = entry["text"].split() if isinstance(entry["text"], str) else []
    if not texts:
        raise ValueError(f"{place}: text must contain words")
    return tuple(Word(text, at_s + i * word_s, at_s + (i + 1) * word_s) for i, text in enumerate(texts))


def _word(word: Any, place: str) -> Word:
    if not isinstance(word, list) or len(word) != 3 or not isinstance(word[0], str) or not word[0].strip():
        raise ValueError(f"{place}: a word is [text, start_s, end_s], got {word!r}")
    return Word(word[0].strip(), _number(word[1], place), _number(word[2], place))


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise ValueError(f"{place}: {value!r} is not a time")
    return float(value)


class ScriptStream:
    """Plays the script along the audio of one stream."""

    def __init__(
        self, script: tuple[Utterance, ...], rate: int, listener: Callable[[EngineEvent], None], end_silence_s: float
    ) -> None:
        self._script = script
        self._rate = rate
        self._listener: Callable[[EngineEvent], None] | None = listener
        self._end_silence_s = end_silence_s
        self._samples = 0
        self._utterance = 0  # index of the current one
        self._reported = 0  # words of it
        self._began = False

    def feed(self, pcm: NDArray[np.int16]) -> None:
        self._samples += len(pcm)
        self._emit_until(self._samples / self._rate, flush=False)

    def finish(self) -> None:
        self._emit_until(self._samples / self._rate, flush=True)
        self._emit(Finished())

    def close(self) -> None:
        self._listener = None

    def _emit_until(self, now_s: float, *, flush: bool) -> None:
        while self._utterance < len(self._script):
            words = self._script[self._utterance]
            if words[0].start_s > now_s:
                return
            if not self._began:
                self._began = True
                self._emit(SpeechBegan(words[0].start_s))
            reported = sum(word.end_s <= now_s for word in words)
            if reported > self._reported:
                self._reported = reported
                self._emit(Heard(words[:reported]))
            end_s = words[-1].end_s + self._end_silence_s
            if now_s < end_s and not flush:
                return
            if reported:
                self._emit(SpeechEnded(words[reported - 1].end_s))
                self._emit(UtteranceEnded(words[:reported], words[reported - 1].end_s, min(end_s, now_s)))
            self._utterance, self._reported, self._began = self._utterance + 1, 0, False

    def _emit(self, event: EngineEvent) -> None:
        if self._listener is not None:
            self._listener(event)


class ScriptEngine:
    """Creates `ScriptStream`s; each stream plays the script from its beginning."""

    sample_rates_hertz: tuple[int, ...] = ()

    def __init__(self, script: tuple[Utterance, ...], *, end_silence_s: float) -> None:
        self._script = script
        self._end_silence_s = end_silence_s

    async def start(self) -> None:
        """Nothing to start."""

    def open(self, config: StreamConfig, listener: Callable[[EngineEvent], None]) -> ScriptStream:
        return ScriptStream(self._script, config.sample_rate_hertz, listener, self._end_silence_s)

    async def stop(self) -> None:
        """Nothing to release."""
