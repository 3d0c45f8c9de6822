"""The port between the emulator and an engine.

An engine has no idea of protocols, limits or results: it is given the audio of a stream, as 16-bit PCM, and
tells what it hears. It tells through a callback, because some engines know at once (tones) and others work
in another process. All calls are made on the event loop, and callbacks must come on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastcall.emulator.messages import StreamConfig, Word

__all__ = [
    "Engine",
    "EngineEvent",
    "EngineStream",
    "Failed",
    "Finished",
    "Heard",
    "SpeechBegan",
    "SpeechEnded",
    "UtteranceEnded",
]


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    at_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """The words of the utterance that is being spoken, all of them, as far as they are known."""

    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """No more speech; the words may still be on their way. `at_s` is where speech ended."""

    at_s: float


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """The words of an utterance, settled. `speech_end_s`: end of speech; `end_s`: the audio that is settled."""

    words: tuple[Word, ...]
    speech_end_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine cannot go on with this stream. `busy`: it had no room for it."""

    message: str
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """After `finish()`: everything has been told."""


EngineEvent = SpeechBegan | Heard | SpeechEnded | UtteranceEnded | Failed | Finished


class EngineStream(Protocol):
    """The engine's side of one stream. Not thread-safe: event loop only."""

    def feed(self, pcm: NDArray[np.int16]) -> None:
        """Take audio at the stream's rate. Never blocks; events may come during the call or later."""

    def finish(self) -> None:
        """No more audio. Pending words are told, then `Finished`."""

    def close(self) -> None:
        """Forget the stream: no event comes after this call. May be called more than once."""


class Engine(Protocol):
    """Opens streams. One per server."""

    sample_rates_hertz: tuple[int, ...]
    """The rates that it takes; () for any."""

    async def start(self) -> None:
        """Get ready. Raises fastcall.errors.UsageError with the reason when it cannot."""

    def open(self, config: StreamConfig, listener: Callable[[EngineEvent], None]) -> EngineStream:
        """Begin a stream. `config.sample_rate_hertz` is one of `sample_rates_hertz`."""

    async def stop(self) -> None:
        """Release everything, worker processes included."""
