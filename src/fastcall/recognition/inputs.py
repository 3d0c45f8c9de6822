"""What happens to a call's recognition, and what is to be done: inputs and commands of ``RecognitionMachine``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fastcall.events import (
    FallbackAsked,
    FallbackSilent,
    NoWords,
    RecognitionEvent,
    SessionClosed,
    SessionFailed,
    SessionRotated,
    SessionStarted,
)
from fastcall.ports import StreamEnd, StreamResult
from fastcall.recognition.stream_state import StreamState

__all__ = [
    "AskFallback",
    "AudioArrived",
    "AudioEvicted",
    "CancelFallback",
    "CancelStream",
    "CloseRequested",
    "CloseTimedOut",
    "FallbackAnswered",
    "FallbackFailed",
    "FinishStream",
    "FlushAudio",
    "Log",
    "OpenStream",
    "Opened",
    "RecognitionCommand",
    "RecognitionInput",
    "ResultsReceived",
    "SessionEvent",
    "SpeechChanged",
    "StreamEnded",
    "UtteranceChanged",
]

# --- inputs -------------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Opened:
    """The session begins. Once, and first."""


@dataclass(slots=True, frozen=True)
class SpeechChanged:
    """From the endpointer: speech began, or ended, at ``sample``."""

    is_speaking: bool
    sample: int


@dataclass(slots=True, frozen=True)
class UtteranceChanged:
    """An utterance begins at ``sample``, or the open one ends there."""

    begins: bool
    sample: int
    is_last: bool = False
    """No more audio comes."""


@dataclass(slots=True, frozen=True)
class AudioArrived:
    """There is more audio in the replay buffer. Needed only while ``RecognitionMachine.wants_audio``."""


@dataclass(slots=True, frozen=True)
class AudioEvicted:
    """Audio that the stream has yet to send was dropped from the replay buffer. The machine may move its cursor."""

    stream: StreamState


@dataclass(slots=True, frozen=True)
class ResultsReceived:
    """A response of the stream, in stream time."""

    stream: StreamState
    results: Sequence[StreamResult]


@dataclass(slots=True, frozen=True)
class StreamEnded:
    """The stream has ended. Its last input."""

    stream: StreamState
    end: StreamEnd


@dataclass(slots=True, frozen=True)
class FallbackAnswered:
    """The fallback's text for the request ``number``; empty if it has no words."""

    number: int
    text: str


@dataclass(slots=True, frozen=True)
class FallbackFailed:
    """The fallback failed for the request ``number``."""

    number: int
    reason: str


@dataclass(slots=True, frozen=True)
class CloseRequested:
    """No more audio comes: collect the remaining finals. ``SessionClosed`` follows."""


@dataclass(slots=True, frozen=True)
class CloseTimedOut:
    """They took too long: use what is known. ``SessionClosed`` follows at once."""

    timeout_s: float


RecognitionInput = (
    Opened
    | SpeechChanged
    | UtteranceChanged
    | AudioArrived
    | AudioEvicted
    | ResultsReceived
    | StreamEnded
    | FallbackAnswered
    | FallbackFailed
    | CloseRequested
    | CloseTimedOut
)

# --- commands -----------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class OpenStream:
    """Open a stream, and send it the call's audio from its cursor on."""

    stream: StreamState


@dataclass(slots=True, frozen=True)
class FinishStream:
    """Half-close the stream once it was sent everything."""

    stream: StreamState


@dataclass(slots=True, frozen=True)
class CancelStream:
    """Cancel the stream; its results do not count any more."""

    stream: StreamState


@dataclass(slots=True, frozen=True)
class FlushAudio:
    """Send all streams everything in the replay buffer, even an incomplete batch."""


@dataclass(slots=True, frozen=True)
class AskFallback:
    """Ask the fallback for the text of ``pcm``; ``FallbackAnswered`` or ``FallbackFailed`` follows."""

    number: int
    pcm: bytes
    """LINEAR16, 8 kHz mono."""
    is_urgent: bool
    """Whether an utterance's end waits for it."""


@dataclass(slots=True, frozen=True)
class CancelFallback:
    """The answer to the request ``number`` is not needed any more."""

    number: int


@dataclass(slots=True, frozen=True)
class Log:
    """A line for the log."""

    level: Literal["info", "warning"]
    message: str


SessionEvent = (
    SessionStarted
    | SessionFailed
    | SessionRotated
    | NoWords
    | SessionClosed
    | RecognitionEvent
    | FallbackAsked
    | FallbackSilent
)
"""For the session's listeners: a command too."""

RecognitionCommand = (
    OpenStream | FinishStream | CancelStream | FlushAudio | AskFallback | CancelFallback | Log | SessionEvent
)
