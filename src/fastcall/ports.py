"""The ports: the drivers' interfaces to the outside, as protocols that adapters implement.

All methods that a driver calls return at once, except coroutines; results that take time are delivered by callbacks on
the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fastcall._codec import MediaFastPath
from fastcall.events import TranscriptEvent
from fastcall.retry import CircuitBreaker
from fastcall.twilio.stream_key import StreamKey

if TYPE_CHECKING:
    from typing_extensions import CapsuleType

__all__ = [
    "AudioSink",
    "CallSocket",
    "EndOfTurnModel",
    "Fallback",
    "MessageReceiver",
    "ProviderState",
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
    """The configuration of a recognizer stream. Audio is LINEAR16, 8 kHz, mono."""

    language: str
    """BCP 47, such as ``he-IL``."""
    model: str
    """The provider's name of the model, such as ``phone_call`` or ``chirp_3``."""
    phrases: tuple[str, ...] = ()
    """Words and phrases to expect."""
    alternative_languages: tuple[str, ...] = ()
    """BCP 47: other languages that may be spoken."""


@dataclass(slots=True, frozen=True)
class StreamWord:
    """A word and its time in samples since the start of the stream; ``end_sample`` is 0 if unknown."""

    text: str
    start_sample: int
    end_sample: int


@dataclass(slots=True, frozen=True)
class StreamResult:
    """One result of a response, as returned by the recognizer: in stream time, spaces not stripped."""

    text: str
    is_final: bool
    end_sample: int
    """Samples since the start of the stream; 0 if unknown."""
    words: tuple[StreamWord, ...] = ()


@dataclass(slots=True, frozen=True)
class StreamEnd:
    """How a stream ended: the gRPC status by name (``OK``, ``UNAVAILABLE`` …) and the peer's message."""

    code: str
    message: str = ""


class StreamListener(Protocol):
    """Receives a stream's events. Called on the event loop's thread, never inside ``open`` or ``write``."""

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        """One response: settled results first, then the interim ones for consecutive portions."""

    def stream_writable(self) -> None:
        """``RecognizerStream.writable`` has become true again."""

    def stream_ended(self, end: StreamEnd) -> None:
        """The stream was ended by either side. Called exactly once, and last."""


AudioSink = tuple["CapsuleType", Callable[[], object]]
"""A capsule by which compiled code queues audio for a stream (``_core/audio_sink.h``), and the function to call when it
asks for the connection to be flushed."""


class RecognizerStream(Protocol):
    """One streaming recognition. All methods return at once and raise nothing.

    A stream may also have ``audio_sink``: an ``AudioSink``, by which audio may go out instead of by ``write``, or None
    while that is not possible.
    """

    @property
    def writable(self) -> bool:
        """Whether a ``write`` is sent now; false under back-pressure and while connecting for too long."""

    def write(self, pcm: bytes) -> None:
        """Send LINEAR16 audio, at most 15,000 bytes. Ignored after the stream has ended."""

    def half_close(self) -> None:
        """End the audio; the remaining finals follow, then the end."""

    def cancel(self) -> None:
        """Cancel the stream; ``stream_ended`` is called with ``CANCELLED``."""


class ProviderState(Protocol):
    """What all calls of an event loop know of a provider of streams. Pure."""

    @property
    def source(self) -> str:
        """``google`` or ``emulator``: the ``source`` of its results."""

    @property
    def breaker(self) -> CircuitBreaker:
        """Shared by all calls, so that they all know of the provider's failures."""

    def model_for(self, config: StreamConfig) -> StreamConfig:
        """``config``, with the model ``default`` if its own was refused for its language before."""

    def model_refused(self, config: StreamConfig) -> None:
        """The provider does not have ``config``'s model for its language; remembered by this recognizer."""


class Recognizer(ProviderState, Protocol):
    """A provider of streams, shared by all calls of an event loop."""

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        """Begin a stream; it connects in the background, and failures are reported as ``stream_ended``."""

    async def aclose(self) -> None:
        """Close all connections. All streams should have ended; open ones end with ``CANCELLED``."""


class Fallback(Protocol):
    """Recognizes a piece of a call at once, when no stream can; shared by all calls of an event loop."""

    @property
    def source(self) -> str:
        """``whisper`` or ``fallback``: the ``source`` of its results."""

    async def recognize(self, pcm: bytes, language: str, *, urgent: bool = True) -> str:
        """The words in ``pcm`` (LINEAR16, 8 kHz mono, usually one utterance); empty if there are none.

        May take seconds, and never blocks the loop; the caller cancels it if the result is no longer needed.

        :param language: BCP 47, such as ``he-IL``
        :param urgent: the text is needed now; urgent requests are served first
        :raises RecognizerError: recognition failed, with a code such as ``RESOURCE_EXHAUSTED`` (the queue is full),
            ``DEADLINE_EXCEEDED`` or ``INTERNAL``
        """

    async def aclose(self) -> None:
        """Release its resources. No requests follow."""


class EndOfTurnModel(Protocol):
    """Judges whether a caller's turn is over; shared by all calls of an event loop."""

    async def probability(self, pcm: bytes, text: str) -> float | None:
        """The probability that the turn is over, from 0 to 1; None: there is no answer in time, or too many wait.

        Never blocks the loop, and raises nothing; the caller cancels it if the answer is no longer needed.

        :param pcm: the turn so far, LINEAR16, 8 kHz mono, whole samples; only the newest 8 s count
        :param text: the turn's text so far; may be empty
        """

    async def aclose(self) -> None:
        """Release its resources. Requests that wait get None."""


class VoiceDetector(Protocol):
    """Distinguishes voice from other sound, frame by frame. It is stateful, so each call has its own.

    Of a gap in a call's audio, which counts as silence, it receives only the first 500 ms; the rest counts as no voice.

    A detector may also have ``native``: the addresses of an equivalent C function and of its state, which need no
    Python object (see ``_codec.VadFramer``), or None.
    """

    def is_speech(self, pcm: bytes) -> bool:
        """Whether the frame is voice. ``pcm``: 320 bytes, 20 ms of LINEAR16 at 8 kHz."""


class MessageReceiver(Protocol):
    """Receives a connection's messages; called on the loop, in order."""

    @property
    def fast_path(self) -> MediaFastPath | None:
        """Receives ordinary media messages instead of ``message_received``; None: not at present."""

    def message_received(self, message: bytes) -> None:
        """A complete text message."""

    def binary_received(self) -> None:
        """A whole binary message; its content is discarded."""

    def frame_received(self) -> None:
        """A frame that does not complete a message: a ping, a pong, a fragment. Counts for rate limits, too."""

    def socket_closed(self, code: int | None, reason: str) -> None:
        """The connection was closed; called once and last."""

    async def wait_over(self) -> None:
        """Return when the receiver is done."""


class CallSocket(Protocol):
    """Sends to the phone."""

    def send_soon(self, frames: bytes) -> None:
        """Send whole WebSocket frames, in order. Never waits: unsent data is bounded, and the connection of a peer that
        does not read is closed."""

    def close_soon(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""

    def deliver_to(self, receiver: MessageReceiver | None) -> None:
        """Deliver to this receiver from the next message on; None: discard everything, including the close."""


class TranscriptSink(Protocol):
    """Receives transcript events; must return at once."""

    def __call__(self, event: TranscriptEvent, *, key: StreamKey, stream_sid: str) -> None:
        """An event of the call ``key``, whose current stream is ``stream_sid``."""
