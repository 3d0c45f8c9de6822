"""The ports: what the drivers need of the world, as protocols. Adapters fulfil them.

Every method that a driver calls returns at once; what takes time is answered by a callback on the event loop's
thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fastcall._codec import MediaFastPath
from fastcall.events import TranscriptEvent
from fastcall.retry import CircuitBreaker
from fastcall.twilio.stream_key import StreamKey

__all__ = [
    "CallSocket",
    "Fallback",
    "MessageReceiver",
    "Recognizer",
    "RecognizerStream",
    "StreamConfig",
    "StreamEnd",
    "StreamListener",
    "StreamResult",
    "StreamWord",
    "TranscriptSink",
    "VoiceDetector",
]


@dataclass(slots=True, frozen=True)
class StreamConfig:
    """What a recognizer stream is asked for. Audio is LINEAR16, 8 kHz, mono."""

    language: str
    """BCP 47, such as ``he-IL``."""
    model: str
    """The provider's name of it, such as ``phone_call`` or ``chirp_3``."""
    phrases: tuple[str, ...] = ()
    """Words and phrases to expect."""
    alternative_languages: tuple[str, ...] = ()
    """BCP 47: what else may be spoken."""


@dataclass(slots=True, frozen=True)
class StreamWord:
    """A word and its time in samples since the start of the stream; ``end_sample`` is 0 if it was not told."""

    text: str
    start_sample: int
    end_sample: int


@dataclass(slots=True, frozen=True)
class StreamResult:
    """One result of a response, as the recognizer gave it: in stream time, spaces not stripped."""

    text: str
    is_final: bool
    end_sample: int
    """Samples since the start of the stream; 0 if it was not told."""
    words: tuple[StreamWord, ...] = ()


@dataclass(slots=True, frozen=True)
class StreamEnd:
    """How a stream ended: the gRPC status by name (``OK``, ``UNAVAILABLE`` …) and what the peer said."""

    code: str
    message: str = ""


class StreamListener(Protocol):
    """Who hears of a stream. Called on the event loop's thread, never from inside ``open`` or ``write``."""

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        """One response: settled results first, then the interim ones for consecutive portions."""

    def stream_writable(self) -> None:
        """``RecognizerStream.writable`` has become true again."""

    def stream_ended(self, end: StreamEnd) -> None:
        """The stream is over, by whichever side. Exactly once, and nothing comes after it."""


class RecognizerStream(Protocol):
    """One streaming recognition. All methods return at once and raise nothing."""

    @property
    def writable(self) -> bool:
        """Whether a ``write`` goes out now; false under back-pressure and while connecting for too long."""

    def write(self, pcm: bytes) -> None:
        """Send LINEAR16 audio, at most 15,000 bytes. Ignored after the stream has ended."""

    def half_close(self) -> None:
        """No more audio will come; remaining finals arrive, then the end."""

    def cancel(self) -> None:
        """Give the stream up; ``stream_ended`` comes with ``CANCELLED``."""


class Recognizer(Protocol):
    """A provider of streams, shared by all calls of an event loop."""

    @property
    def source(self) -> str:
        """``google`` or ``emulator``: where results say that they come from."""

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        """Begin a stream; connecting goes on in the background, and failing comes as ``stream_ended``."""

    @property
    def breaker(self) -> CircuitBreaker:
        """Shared by all calls: what one learns of the provider's health serves the others."""

    def model_for(self, config: StreamConfig) -> StreamConfig:
        """``config``, with the model ``default`` where its own was found not to serve its language."""

    def model_refused(self, config: StreamConfig) -> None:
        """The provider does not have ``config``'s model for its language; remembered for the process."""

    async def aclose(self) -> None:
        """Close all connections. No stream may be open any more; those that are end with ``CANCELLED``."""


class Fallback(Protocol):
    """Recognizes a piece of a call as a whole, when no stream can; shared by all calls of an event loop."""

    @property
    def source(self) -> str:
        """``whisper`` or ``fallback``: where results say that they come from."""

    async def recognize(self, pcm: bytes, language: str, *, urgent: bool = True) -> str:
        """The words in ``pcm`` (LINEAR16, 8 kHz mono, an utterance as a rule); empty if there are none.

        May take seconds, and never keeps the loop; the caller cancels what it wants no more.

        :param language: BCP 47, such as ``he-IL``
        :param urgent: somebody waits for the text; what is not urgent gives way
        :raises RecognizerError: it cannot be had, with a code such as ``RESOURCE_EXHAUSTED`` (too much waits),
            ``DEADLINE_EXCEEDED`` or ``INTERNAL``
        """

    async def aclose(self) -> None:
        """End what it runs. Nothing is asked any more."""


class VoiceDetector(Protocol):
    """Tells voice from other sound, frame by frame; it has a state, so each call has its own.

    Of a gap in a call's audio, which counts as silence, it is asked about the first 500 ms; the rest is no voice.

    A detector may also have ``native``: the addresses of a C function and of its state that say the same without a
    Python object (see ``_codec.VadFramer``), or None.
    """

    def is_speech(self, pcm: bytes) -> bool:
        """``pcm``: 320 bytes, 20 ms of LINEAR16 at 8 kHz."""


class MessageReceiver(Protocol):
    """Who takes a connection's messages; called on the loop, in order."""

    @property
    def fast_path(self) -> MediaFastPath | None:
        """What takes ordinary media messages instead of ``message_received``; None: nothing does at present."""

    def message_received(self, message: bytes) -> None:
        """A whole text message."""

    def binary_received(self) -> None:
        """A whole binary message, not kept."""

    def frame_received(self) -> None:
        """A frame that is no whole message: a ping, a pong, a fragment that others follow. It costs work, too."""

    def socket_closed(self, code: int | None, reason: str) -> None:
        """The connection is gone; comes once and last."""

    async def wait_over(self) -> None:
        """Return when the receiver has nothing left to do."""


class CallSocket(Protocol):
    """The way back to the telephone."""

    def send_soon(self, message: str) -> None:
        """Queue one text message; bounded, and a peer that does not read is closed, never waited for."""

    def close_soon(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""

    def deliver_to(self, receiver: MessageReceiver | None) -> None:
        """From the next message on, what comes is this one's; None: nobody's, who is not told of its end either."""


class TranscriptSink(Protocol):
    """Who is told of transcript events; must return at once."""

    def __call__(self, event: TranscriptEvent, *, key: StreamKey, stream_sid: str) -> None:
        """Something happened in the call ``key``, which has the stream ``stream_sid`` now."""
