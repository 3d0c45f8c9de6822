"""The interface between the emulator and an engine.

An engine knows nothing of protocols, limits or results: it receives the audio of a stream, as 16-bit PCM, and
reports recognized words. It uses a callback, because some engines respond at once (tones) and others work in
another process. All calls are made on the event loop, and so must be the callbacks.
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
    """All words of the current utterance known so far."""

    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """Speech has ended, at `at_s`; words may still follow."""

    at_s: float


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """The settled words of an utterance. `speech_end_s`: end of speech; `end_s`: end of the settled audio."""

    words: tuple[Word, ...]
    speech_end_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine cannot continue this stream. `busy`: it lacked capacity."""

    message: str
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """After `finish()`: all words were reported."""


EngineEvent = SpeechBegan | Heard | SpeechEnded | UtteranceEnded | Failed | Finished


class EngineStream(Protocol):
    """The engine's side of one stream. Not thread-safe: event loop only."""

    def feed(self, pcm: NDArray[np.int16]) -> None:
        """Process audio at the stream's rate. Never blocks; events may be reported during the call or later."""

    def finish(self) -> None:
        """No more audio follows. Pending words are reported, then `Finished`."""

    def close(self) -> None:
        """Discard the stream: no event follows. May be called more than once."""


class Engine(Protocol):
    """Opens streams. One per server."""

    sample_rates_hertz: tuple[int, ...]
    """The supported rates; () for any."""

    async def start(self) -> None:
        """Start the engine. Raises fastcall.errors.UsageError with the reason if it cannot."""

    def open(self, config: StreamConfig, listener: Callable[[EngineEvent], None]) -> EngineStream:
        """Begin a stream. `config.sample_rate_hertz` is one of `sample_rates_hertz`."""

    async def stop(self) -> None:
        """Release all resources, including worker processes."""
