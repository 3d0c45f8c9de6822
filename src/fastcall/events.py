"""The events of a call, as plain values.

Times of a call are *call time*: samples at 8 kHz since the first inbound frame (= 0). They are
converted to milliseconds only at the process's boundaries. The frozen classes may be shared between threads.
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
    "BeepHeard",
    "CallEvent",
    "CallStarted",
    "CallStopped",
    "Connected",
    "DtmfPressed",
    "FallbackAsked",
    "FallbackSilent",
    "MachineDetected",
    "MachineReason",
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
    """How a stream's payloads are encoded, in both directions. Mono."""

    encoding: Literal["mulaw", "alaw", "l16"] = "mulaw"
    """G.711 mu-law or A-law, or LINEAR16: signed, 16 bit, little-endian."""
    rate_hz: int = SAMPLE_RATE_HZ


@dataclass(slots=True, frozen=True)
class CallStarted:
    """``start``: the call of this socket."""

    stream_sid: str
    call_sid: str
    account_sid: str
    tracks: tuple[str, ...] = ("inbound",)
    custom_parameters: dict[str, str] = field(default_factory=dict)
    audio_format: AudioFormat = AudioFormat()
    dropped_fields: tuple[str, ...] = ()
    """Descriptions of fields that were ignored because they do not match Twilio's documentation."""


@dataclass(slots=True)
class MediaFrame:
    """``media``: audio, usually 20 ms. Not frozen, because 50 are created per second and call."""

    stream_sid: str
    """Empty if missing."""
    timestamp_ms: int
    """Presentation time in ms from the start of the stream; does not start at 0, and is not exact. -1: missing."""
    payload: bytes
    """Audio in the stream's ``AudioFormat``; usually G.711 mu-law, 8 kHz mono, one byte per sample."""
    chunk: int = -1
    """Number among the track's media messages, from 1; -1: missing."""
    sequence: int = -1
    """Number among the stream's messages; -1: missing."""


@dataclass(slots=True, frozen=True)
class DtmfPressed:
    """``dtmf``: a key was pressed."""

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
    """The WebSocket was closed, with or without a previous ``stop``."""

    code: int | None = None
    reason: str = ""


@dataclass(slots=True, frozen=True)
class Rejected:
    """A message that was rejected.

    ``reason`` is one of a small fixed set of words (a counter's label); ``detail`` is a description.
    """

    reason: str
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Refused:
    """The call must not begin or continue: close the socket with ``code``; ``text`` is logged and sent."""

    code: int
    text: str


# --- from the recognizer -----------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Word:
    """One recognized word, and its position in the call."""

    text: str
    """As returned by the recognizer, with punctuation."""
    start_sample: int
    """Where it begins, in call time."""
    end_sample: int
    """Where it ends, exclusive."""


@dataclass(slots=True, frozen=True)
class RecognitionEvent:
    """A result of any recognizer, in call time.

    An ``interim`` replaces the previous interim and covers all speech since the last final; its text
    may be empty (nothing is un-finalised). A ``final`` is the settled text of the span
    (end of the previous final, ``end_sample``], or of (``start_sample``, ``end_sample``] if that begins later.
    """

    kind: Literal["interim", "final"]
    """``interim`` or ``final``."""
    text: str
    """The recognized text."""
    end_sample: int
    """End of the audio that it covers, in call time, exclusive."""
    source: str
    """``google``, ``emulator``, ``whisper`` or ``fallback``."""
    words: tuple[Word, ...] = ()
    """With times, if the recognizer returns them; else empty."""
    start_sample: int | None = None
    """Start of the span, for a final that was recognized separately; None: at the end of the previous final."""


@dataclass(slots=True, frozen=True)
class FallbackAsked:
    """The fallback recognizes (``start_sample``, ``end_sample``] because the recognizer did not (see ``reason``).

    The result is a final, or ``FallbackSilent``, or nothing if the recognizer is first.
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
    """The fallback returned no words for a requested span: do not wait for any."""

    start_sample: int
    """Where the span begins, in call time."""
    end_sample: int
    """Where it ends."""
    source: str
    """``whisper`` or ``fallback``."""
    error: str = ""
    """Why; empty if it recognized none."""


@dataclass(slots=True, frozen=True)
class SessionStarted:
    """The call's recognition session was opened. Once per call."""

    source: str
    """The recognizer: ``google``, ``emulator``, ``whisper`` or ``fallback``."""


@dataclass(slots=True, frozen=True)
class SessionFailed:
    """The recognizer does not serve this call; ``advice`` says what to do.

    Once per outage. If ``retrying``, a ``SessionRotated`` reports its end; otherwise the session is over.
    """

    code: str
    """The name of the status, such as ``UNAVAILABLE``."""
    message: str
    """The error message of the recognizer, or of the connection to it."""
    advice: str
    """What an operator should do."""
    retrying: bool = False
    """Whether it is retried; if not, the session is over."""


@dataclass(slots=True, frozen=True)
class SessionRotated:
    """The session continues on another stream of the provider."""

    reason: str
    """``pause``, ``age``, ``limit``, ``model``, ``reconnect``, ``words without a final`` or ``unanswered`` (a word may
    have been said, but no result was received)."""


@dataclass(slots=True, frozen=True)
class NoWords:
    """The recognizer received 5 s of speech in total and returned no words. The language may be wrong, or the sound no
    speech. Reported once, until words are returned again."""

    start_sample: int
    """Start of the speech without words."""
    end_sample: int


@dataclass(slots=True, frozen=True)
class SessionClosed:
    """The session has ended; no more results follow. Once per call."""


# --- to a handler ------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Partial:
    """The text so far of an utterance in progress."""

    id: int
    """The utterance's id; from 1 in each call."""
    text: str
    """The whole utterance so far; may still change."""


@dataclass(slots=True, frozen=True)
class Utterance:
    """One committed utterance; times are call time in ms.

    Words that arrive after an utterance was committed without any make it an ordinary one, with the same id. If they
    change the text of one that had words, it is given again with ``is_correction``.
    """

    id: int
    """From 1 in each call."""
    text: str
    """What was said; empty if no words were received in time."""
    start_ms: int
    """When the speech began, in call time."""
    end_ms: int
    """When it ended."""
    is_correction: bool = False
    """Whether ``text`` replaces the text given with this id before; it is the whole text, not the difference."""
    is_backchannel: bool = False
    """Whether the caller only showed that they listen ("mhm", "okay") while the agent spoke on. Needs no answer: given
    by ``events`` only."""


@dataclass(slots=True, frozen=True)
class Amendment:
    """The new text of a committed utterance that had words, because a late final differs."""

    id: int
    """Of the amended utterance."""
    text: str
    """The whole text, not the difference; empty if nothing was said after all: undo what you did because of it."""


@dataclass(slots=True, frozen=True)
class BargeIn:
    """The caller interrupted the handler's speech, and the queued audio was cleared."""

    id: int
    """The id of the caller's utterance."""
    heard_text: str
    """The part of the reply that the caller had heard by then, if its text was given."""
    heard_ms: int
    """How much of its audio the caller had heard."""


MachineReason = Literal["twilio", "words", "monologue", "beep"]


@dataclass(slots=True, frozen=True)
class MachineDetected:
    """A machine, such as a voicemail, has answered an outbound call. Once per call."""

    reason: MachineReason
    """``twilio``: its own verdict; ``words``: of a greeting; ``monologue``: a very long first turn; ``beep``."""


@dataclass(slots=True, frozen=True)
class BeepHeard:
    """The machine has beeped, and records from now on: leave your message. Once per call."""


CallEvent = Partial | Utterance | Amendment | BargeIn | DtmfPressed | MarkPlayed | MachineDetected | BeepHeard


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
    "not_interrupted",
    "machine_detected",
    "beep",
    "agent_audio",
    "first_response",
    "session_closed",
    "call_ended",
    "batch",  # not in the transcript: audio sent to the recognizer, for viewers of the call
]


@dataclass(slots=True, frozen=True)
class TranscriptEvent:
    """One event of a call's transcript; the runner adds the call's ids and Unix time."""

    event: TranscriptEventName
    utterance_id: int | None = None
    text: str | None = None
    start_sample: int | None = None
    end_sample: int | None = None
    source: str | None = None
    details: Mapping[str, Any] | None = None
    """Members that only this kind of event has, in addition to the common ones."""
