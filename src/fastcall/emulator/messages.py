"""The emulator's messages, independent of the API's version. Times are seconds of stream audio."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "AudioRequest",
    "Code",
    "ConfigRequest",
    "EmptyRequest",
    "EventType",
    "MalformedRequest",
    "Request",
    "Response",
    "Result",
    "Status",
    "StreamConfig",
    "Word",
]


class Code(IntEnum):
    """The gRPC status codes, with their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Status:
    """How a stream ends."""

    code: Code
    message: str = ""


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """The first request of a stream, of any version."""

    encoding: str = ""
    """Google's name of the audio encoding: LINEAR16, MULAW, ...; "" if not set."""
    sample_rate_hertz: int = 0
    channels: int = 1
    languages: tuple[str, ...] = ()
    model: str = ""
    location: str = ""
    """v2: the location in the recognizer's path."""
    recognizer_valid: bool = True
    interim_results: bool = False
    single_utterance: bool = False
    voice_activity_events: bool = False
    speech_start_timeout_s: float = 0.0
    speech_end_timeout_s: float = 0.0
    word_times: bool = False
    word_confidence: bool = False
    phrases: tuple[str, ...] = ()
    """Phrases of speech contexts and of inline adaptation."""


@dataclass(frozen=True, slots=True)
class ConfigRequest:
    config: StreamConfig


@dataclass(frozen=True, slots=True)
class AudioRequest:
    audio: bytes


@dataclass(frozen=True, slots=True)
class EmptyRequest:
    """Neither configuration nor audio."""


@dataclass(frozen=True, slots=True)
class MalformedRequest:
    """Bytes that are not a message of this service."""


Request = ConfigRequest | AudioRequest | EmptyRequest | MalformedRequest


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """One consecutive portion of the audio's transcript."""

    transcript: str
    is_final: bool
    end_s: float
    stability: float = 0.0
    confidence: float = 0.0
    words: tuple[Word, ...] = ()


class EventType(IntEnum):
    END_OF_SINGLE_UTTERANCE = 1
    SPEECH_ACTIVITY_BEGIN = 2
    SPEECH_ACTIVITY_END = 3
    SPEECH_ACTIVITY_TIMEOUT = 4


@dataclass(frozen=True, slots=True)
class Response:
    """One message to the client: results, or an event, or only the billed time."""

    results: tuple[Result, ...] = ()
    event: EventType | None = None
    event_s: float = 0.0
    billed_s: float | None = None
