"""A call's events, as plain values.

Times are *call time*: samples at 8 kHz since the first inbound frame (= 0). They are converted to milliseconds only
where they leave the process. The frozen classes may be shared between threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "SAMPLES_PER_MS",
    "SAMPLE_RATE_HZ",
    "Amendment",
    "AudioFormat",
    "BargeIn",
    "CallEvent",
    "CallStarted",
    "CallStopped",
    "Connected",
    "DtmfPressed",
    "FallbackAsked",
    "FallbackSilent",
    "MarkPlayed",
    "MediaFrame",
    "NoWords",
    "Partial",
    "RecognitionEvent",
    "Refused",
    "Rejected",
    "SessionClosed",
    "SessionFailed",
    "SessionRotated",
    "SessionStarted",
    "SocketClosed",
    "TranscriptEvent",
    "TranscriptEventName",
    "Utterance",
    "Word",
]

SAMPLE_RATE_HZ = 8000
SAMPLES_PER_MS = SAMPLE_RATE_HZ // 1000


# --- from the telephone: Twilio Media Streams messages -----------------------------------------
# https://www.twilio.com/docs/voice/media-streams/websocket-messages


@dataclass(slots=True, frozen=True)
class Connected:
    """``connected``: the first message of a socket."""

    protocol: str
    version: str


@dataclass(slots=True, frozen=True)
class AudioFormat:
    """How a stream's payloads are encoded, both ways. Mono."""

    encoding: Literal["mulaw", "alaw", "l16"] = "mulaw"
    """G.711 mu-law or A-law, or LINEAR16: signed, 16 bit, little-endian."""
    rate_hz: int = SAMPLE_RATE_HZ


@dataclass(slots=True, frozen=True)
class CallStarted:
    """``start``: identifies the call of this socket."""

    stream_sid: str
    call_sid: str
    account_sid: str
    tracks: tuple[str, ...] = ("inbound",)
    custom_parameters: dict[str, str] = field(default_factory=dict)
    audio_format: AudioFormat = AudioFormat()
    dropped_fields: tuple[str, ...] = ()
    """Fields left out because they differ from Twilio's documentation, for the log."""


@dataclass(slots=True)
class MediaFrame:
    """``media``: audio, usually 20 ms. Not frozen, because it is created 50 times per second and call."""

    stream_sid: str
    """Empty if the message does not have it."""
    timestamp_ms: int
    """Presentation time in ms from the start of the stream; neither starts at 0 nor is exact. -1: missing."""
    payload: bytes
    """Audio in the stream's ``AudioFormat``; usually G.711 mu-law, 8 kHz mono, one byte per sample."""
    chunk: int = -1
    """Number among the track's media messages, from 1; -1: missing."""
    sequence: int = -1
    """Number among the stream's messages; -1: missing."""


@dataclass(slots=True, frozen=True)
class DtmfPressed:
    """``dtmf``: a key of the telephone."""

    digit: str
    """0 to 9, ``*``, ``#``, or A to D."""


@dataclass(slots=True, frozen=True)
class MarkPlayed:
    """``mark``: the audio before our mark of this name was played, or cleared."""

    name: str
    """As passed to ``Call.mark``."""


@dataclass(slots=True, frozen=True)
class CallStopped:
    """``stop``: the stream or the call has ended; the socket closes next."""


@dataclass(slots=True, frozen=True)
class SocketClosed:
    """The WebSocket closed, with or without a ``stop`` before."""

    code: int | None = None
    reason: str = ""


@dataclass(slots=True, frozen=True)
class Rejected:
    """A message that was rejected.

    ``reason`` is one of a small fixed set of words (a counter's label); ``detail`` is for the log.
    """

    reason: str
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Refused:
    """The call may not begin, or not continue: close the socket with ``code``; ``text`` is logged and sent."""

    code: int
    text: str


# --- from the recognizer -----------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Word:
    """One recognized word and its place in the call."""

    text: str
    """The recognizer's text, with punctuation."""
    start_sample: int
    """Where it begins, in call time."""
    end_sample: int
    """Where it ends, exclusive."""


@dataclass(slots=True, frozen=True)
class RecognitionEvent:
    """A result of any recognizer, in call time.

    An ``interim`` replaces the interim before it and covers all speech since the last final; its text
    may be empty (nothing lacks a final). A ``final`` is settled text of the span
    (end of the previous final, ``end_sample``], or of (``start_sample``, ``end_sample``] if that begins later.
    """

    kind: Literal["interim", "final"]
    """``interim`` or ``final``."""
    text: str
    """The recognized text."""
    end_sample: int
    """The end of the audio that it covers, in call time, exclusive."""
    source: str
    """``google``, ``emulator``, ``whisper`` or ``fallback``."""
    words: tuple[Word, ...] = ()
    """Words with times, if the recognizer provides them; else empty."""
    start_sample: int | None = None
    """Where the span of a separately recognized final begins; None: at the end of the previous final."""


@dataclass(slots=True, frozen=True)
class FallbackAsked:
    """The recognizer is down (``reason`` says why): the fallback gets (``start_sample``, ``end_sample``].

    Its response is a final, or ``FallbackSilent``, or missing if the recognizer is faster.
    """

    start_sample: int
    """Where the span begins, in call time."""
    end_sample: int
    """Where it ends."""
    reason: str
    """``outage``, ``failed``, ``off`` or ``bound``."""
    source: str
    """``whisper`` or ``fallback``."""


@dataclass(slots=True, frozen=True)
class FallbackSilent:
    """The fallback has no words for a requested span: do not wait for them."""

    start_sample: int
    """Where the span begins, in call time."""
    end_sample: int
    """Where it ends."""
    source: str
    """``whisper`` or ``fallback``."""
    error: str = ""
    """The error; empty if it found no words."""


@dataclass(slots=True, frozen=True)
class SessionStarted:
    """The call's recognition session was opened. Once per call."""

    source: str
    """``google``, ``emulator``, ``whisper`` or ``fallback``."""


@dataclass(slots=True, frozen=True)
class SessionFailed:
    """The recognizer is down for this call; ``advice`` says what to do.

    Once per outage: if ``retrying``, a ``SessionRotated`` reports its end; else the session is over.
    """

    code: str
    """The name of the status, such as ``UNAVAILABLE``."""
    message: str
    """The message of the recognizer, or of the connection to it."""
    advice: str
    """What to do."""
    retrying: bool = False
    """Whether the session retries; if not, it is over."""


@dataclass(slots=True, frozen=True)
class SessionRotated:
    """The session continues on another stream of the provider."""

    reason: str
    """``pause``, ``age``, ``limit``, ``model``, ``reconnect``, ``words without a final`` or ``unanswered`` (there may
    have been a word without a result)."""


@dataclass(slots=True, frozen=True)
class NoWords:
    """The recognizer returned no words for 5 s of speech: maybe the language is wrong, or the sound is not speech.
    Once, until words come again."""

    start_sample: int
    """Since when."""
    end_sample: int


@dataclass(slots=True, frozen=True)
class SessionClosed:
    """The session has ended and will give no more results. Once per call."""


# --- to a handler ------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Partial:
    """Somebody speaks: the utterance's text so far."""

    id: int
    """The utterance's id; from 1 in each call."""
    text: str
    """The whole utterance so far; it may still change."""


@dataclass(slots=True, frozen=True)
class Utterance:
    """One committed utterance; times are call time in ms."""

    id: int
    """From 1 in each call."""
    text: str
    """The text; empty if no words arrived in time."""
    start_ms: int
    """When the speech began, in call time."""
    end_ms: int
    """When it ended."""


@dataclass(slots=True, frozen=True)
class Amendment:
    """The complete new text of a committed utterance, because a late final differs."""

    id: int
    """The amended utterance's id."""
    text: str
    """The complete text, not the difference."""


@dataclass(slots=True, frozen=True)
class BargeIn:
    """The caller interrupted the handler, whose audio was cleared."""

    id: int
    """The id of the caller's utterance."""
    heard_text: str
    """The part of the reply that the caller had heard, if it was passed with its text."""
    heard_ms: int
    """Duration of the audio heard."""


CallEvent = Partial | Utterance | Amendment | BargeIn | DtmfPressed | MarkPlayed


# --- to the world: the transcript stream -------------------------------------------------------

TranscriptEventName = Literal[
    "call_started",
    "call_moved",
    "session_started",
    "session_rotated",
    "session_failed",
    "no_words",
    "utterance_begin",
    "partial",
    "final",
    "utterance_end",
    "amended",
    "fallback",
    "barge_in",
    "agent_audio",
    "first_response",
    "session_closed",
    "call_ended",
    "batch",  # not in the transcript: audio sent to the recognizer, for readers that watch the call
]


@dataclass(slots=True, frozen=True)
class TranscriptEvent:
    """One event of a call's transcript; the runner adds the call's ids and the time of day."""

    event: TranscriptEventName
    utterance_id: int | None = None
    text: str | None = None
    start_sample: int | None = None
    end_sample: int | None = None
    source: str | None = None
    details: Mapping[str, Any] | None = None
    """Members specific to this kind of event, added to its record."""
