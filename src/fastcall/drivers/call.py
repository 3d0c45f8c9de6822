"""What a handler sees of a call: utterances in, audio out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fastcall.events import SAMPLES_PER_MS, CallStarted, TranscriptEvent
from fastcall.ports import CallSocket
from fastcall.rules.twilio import clear_message, mark_message, media_message

__all__ = ["Call", "Utterance"]

# A handler that does not keep up loses the oldest utterance first; the newest is what the caller waits for.
MAX_WAITING_UTTERANCES = 64


@dataclass(slots=True, frozen=True)
class Utterance:
    """One committed utterance; times are call time in ms."""

    id: int
    text: str
    start_ms: int
    end_ms: int


class Call:
    """One live call, as its handler sees it. All methods belong to the event loop's thread and return at once.

    A handler is ``async def handler(call: Call) -> None``. It runs in a task of its own; when it returns or raises,
    the call goes on without it.
    """

    def __init__(self, started: CallStarted, socket: CallSocket) -> None:
        self._started = started
        self._socket = socket
        self._waiting: deque[Utterance] = deque(maxlen=MAX_WAITING_UTTERANCES)
        self._news = asyncio.Event()
        self._over = False
        self.on_answer: Callable[[], None] | None = None
        """Called once, at the next audio that is said. For the runner."""
        self.dropped_utterances = 0
        """Utterances that the handler was too slow for."""

    @property
    def call_sid(self) -> str:
        """Twilio's id of the call, ``CA…``."""
        return self._started.call_sid

    @property
    def stream_sid(self) -> str:
        """Twilio's id of the stream, ``MZ…``."""
        return self._started.stream_sid

    @property
    def parameters(self) -> Mapping[str, str]:
        """The ``<Parameter>``s of the TwiML."""
        return MappingProxyType(self._started.custom_parameters)

    async def utterances(self) -> AsyncIterator[Utterance]:
        """The committed utterances as they come, until the call ends."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._over:
                return
            self._news.clear()
            await self._news.wait()

    def say(self, mulaw: bytes) -> None:
        """Queue audio to be played: G.711 mu-law, 8 kHz mono, without a file header."""
        if mulaw and not self._over:
            self._socket.send_soon(media_message(self.stream_sid, mulaw))
            answered, self.on_answer = self.on_answer, None
            if answered is not None:
                answered()

    def mark(self, name: str) -> None:
        """Ask to be told when the audio queued so far was played."""
        if not self._over:
            self._socket.send_soon(mark_message(self.stream_sid, name))

    def clear(self) -> None:
        """Drop queued audio that was not yet played."""
        if not self._over:
            self._socket.send_soon(clear_message(self.stream_sid))

    def hangup(self) -> None:
        """Close the stream; Twilio goes on with the TwiML after ``<Connect>``, or ends the call."""
        self._socket.close_soon(1000, "the handler hung up")

    # --- for the runner -------------------------------------------------------------------------------

    def deliver(self, event: TranscriptEvent) -> None:
        """A committed utterance."""
        if len(self._waiting) == MAX_WAITING_UTTERANCES:
            self.dropped_utterances += 1
        start, end = event.start_sample or 0, event.end_sample or 0
        self._waiting.append(
            Utterance(event.utterance_id or 0, event.text or "", start // SAMPLES_PER_MS, end // SAMPLES_PER_MS)
        )
        self._news.set()

    def finish(self) -> None:
        """No more utterances will come."""
        self._over = True
        self._news.set()
