"""What happens in a call, as plain values.

Times of a call are *call time*: samples at 8 kHz since the first inbound frame (= 0). They become
milliseconds only where they leave the process. The frozen classes may be shared between threads.
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
    """``start``: which call this socket carries."""

    stream_sid: str
    call_sid: str
    account_sid: str
    tracks: tuple[str, ...] = ("inbound",)
    custom_parameters: dict[str, str] = field(default_factory=dict)
    audio_format: AudioFormat = AudioFormat()
    dropped_fields: tuple[str, ...] = ()
    """What was left out because it is not what Twilio documents, for people."""


@dataclass(slots=True)
class MediaFrame:
    """``media``: audio, as a rule 20 ms. Not frozen, because one is made 50 times a second a call."""

    stream_sid: str
    """Empty if the message does not say."""
    timestamp_ms: int
    """Presentation time in ms from the start of the stream; neither starts at 0 nor is exact. -1: there is none."""
    payload: bytes
    """Audio as the stream's ``AudioFormat`` says; as a rule G.711 mu-law, 8 kHz mono, one byte a sample."""
    chunk: int = -1
    """Number among the track's media messages, from 1; -1: there is none."""
    sequence: int = -1
    """Number among the stream's messages; -1: there is none."""


@dataclass(slots=True, frozen=True)
class DtmfPressed:
    """``dtmf``: a key of the telephone."""

    digit: str
    """0 to 9, ``*``, ``#``, or A to D."""


@dataclass(slots=True, frozen=True)
class MarkPlayed:
    """``mark``: the audio before our mark of this name was played, or cleared."""

    name: str
    """As it was given to ``Call.mark``."""


@dataclass(slots=True, frozen=True)
class CallStopped:
    """``stop``: the stream or the call has ended; the socket closes next."""


@dataclass(slots=True, frozen=True)
class SocketClosed:
    """The WebSocket is gone; with or without ``stop`` before."""

    code: int | None = None
    reason: str = ""


@dataclass(slots=True, frozen=True)
class Rejected:
    """A message that is not taken.

    ``reason`` is one of a small fixed set of words (a counter's label); ``detail`` is for people.
    """

    reason: str
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Refused:
    """The call may not begin, or not go on: close the socket with ``code``; ``text`` is logged and sent."""

    code: int
    text: str


# --- from the recognizer -----------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Word:
    """One recognized word and where in the call it was said."""

    text: str
    """As the recognizer wrote it, with its punctuation."""
    start_sample: int
    """Where it begins, in call time."""
    end_sample: int
    """Where it ends, exclusive."""


@dataclass(slots=True, frozen=True)
class RecognitionEvent:
    """A result of any recognizer, in call time.

    An ``interim`` replaces the interim before it and covers all speech since the last final; its text
    may be empty (nothing is un-finalised). A ``final`` is settled text of the span
    (end of the previous final, ``end_sample``], or of (``start_sample``, ``end_sample``] if that begins later.
    """

    kind: Literal["interim", "final"]
    """``interim`` or ``final``."""
    text: str
    """What was recognized."""
    end_sample: int
    """Up to where it is about the audio, in call time, exclusive."""
    source: str
    """``google``, ``emulator``, ``whisper`` or ``fallback``."""
    words: tuple[Word, ...] = ()
    """With times, where the recognizer gives them; else empty."""
    start_sample: int | None = None
    """Where the span of a final begins that was recognized by itself; None: at the end of the final before."""


@dataclass(slots=True, frozen=True)
class FallbackAsked:
    """The recognizer cannot serve (``reason`` says why): the fallback hears (``start_sample``, ``end_sample``].

    Its answer comes as a final, or as ``FallbackSilent``, or not at all if the recognizer is first.
    """

    start_sample: int
    """Where the span begins, in call time."""
    end_sample: int
    """Where it ends."""
    reason: str
    """``outage``, ``failed``, ``off`` or ``bound``."""
    source: str
    """Who is asked: ``whisper`` or ``fallback``."""


@dataclass(slots=True, frozen=True)
class FallbackSilent:
    """The fallback has no words for a span that it was asked for: nobody need wait for them."""

    start_sample: int
    """Where the span begins, in call time."""
    end_sample: int
    """Where it ends."""
    source: str
    """Who was asked: ``whisper`` or ``fallback``."""
    error: str = ""
    """Why; empty if it heard none."""


@dataclass(slots=True, frozen=True)
class SessionStarted:
    """The call's recognition session was opened. Once a call."""

    source: str
    """Who recognizes: ``google``, ``emulator``, ``whisper`` or ``fallback``."""


@dataclass(slots=True, frozen=True)
class SessionFailed:
    """The recognizer does not serve this call; ``advice`` says what a person should do.

    Once an outage: while ``retrying``, a ``SessionRotated`` tells of its end; else the session is over.
    """

    code: str
    """The name of the status, such as ``UNAVAILABLE``."""
    message: str
    """What the recognizer, or the way to it, says."""
    advice: str
    """What a person should do."""
    retrying: bool = False
    """Whether it is tried again; if not, the session is over."""


@dataclass(slots=True, frozen=True)
class SessionRotated:
    """Another stream of the provider's carries the session on."""

    reason: str
    """``pause``, ``age``, ``limit``, ``model``, ``reconnect``, ``words without a final`` or ``unanswered`` (a word may
    have been said, and no result came)."""


@dataclass(slots=True, frozen=True)
class NoWords:
    """Speech was heard for 5 s in all, and the recognizer, which has had it, returned no words: a wrong language looks
    like this, or sound that is no speech. Once, until words come again."""

    start_sample: int
    """Since when."""
    end_sample: int


@dataclass(slots=True, frozen=True)
class SessionClosed:
    """The session has ended and will give no more results. Once a call."""


# --- to a handler ------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Partial:
    """Somebody speaks: the utterance's text so far."""

    id: int
    """Of the utterance; from 1 in each call."""
    text: str
    """All of the utterance so far; it may still change."""


@dataclass(slots=True, frozen=True)
class Utterance:
    """One committed utterance; times are call time in ms."""

    id: int
    """From 1 in each call."""
    text: str
    """What was said; empty if no words came in time."""
    start_ms: int
    """When the speech began, in call time."""
    end_ms: int
    """When it ended."""


@dataclass(slots=True, frozen=True)
class Amendment:
    """The whole new text of an utterance that was committed before: a late final differs."""

    id: int
    """Of the utterance that is amended."""
    text: str
    """All of it, not the difference."""


@dataclass(slots=True, frozen=True)
class BargeIn:
    """The caller spoke while the handler did, and was listened to: what was said has been cleared."""

    id: int
    """Of the caller's utterance."""
    heard_text: str
    """What of the answer the caller had heard by then, if it was said with its text."""
    heard_ms: int
    """Of its audio, heard."""


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
    "batch",  # not of the transcript: audio that went to the recognizer, for who watches the call
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
    """What only this kind of event has; goes into its record beside the members that all have."""
