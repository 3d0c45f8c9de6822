"""What a handler sees of a call: utterances in, audio out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from fastcall.agent.heard_text import Heard
from fastcall.agent.outbound import Encoding, OutboundAudio
from fastcall.agent.player import AudioPlayer, AudioPlayerOwner, Speech
from fastcall.agent.playout import MARK_PREFIX
from fastcall.agent.replies import Reply, ReplyRunner, Turn, current_turn
from fastcall.agent.response_latency import ResponseLatency
from fastcall.aio.event_queue import EventQueue
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.audio.timeline import CallTime
from fastcall.events import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_MS,
    Amendment,
    BargeIn,
    CallEvent,
    CallStarted,
    DtmfPressed,
    MarkPlayed,
    Partial,
    Utterance,
)
from fastcall.metrics import Metrics
from fastcall.ports import CallSocket
from fastcall.turns.speculation import Outcome, Speculation
from fastcall.twilio.messages import MAX_MARK_CHARS

__all__ = [
    "Amendment",
    "BargeIn",
    "Call",
    "DtmfPressed",
    "Heard",
    "MarkPlayed",
    "Partial",
    "Speech",
    "Turn",
    "Utterance",
]

# Of each kind of reader, what may wait for it; then the oldest is dropped.
MAX_WAITING_UTTERANCES = 64
MAX_WAITING_KEYS = 64
MAX_WAITING_EVENTS = 256
MAX_READERS = 16


class CallOwner(AudioPlayerOwner, Protocol):
    """Who wants to know what the handler of a call does."""

    def stalled(self, seconds: float) -> None:
        """A step of it has kept the loop."""


class Call:
    """One live call, as its handler sees it. All methods belong to the event loop's thread and return at once.

    A handler is ``async def handler(call: Call) -> None``. It runs in a task of its own; when it returns or raises,
    the call goes on without it.

    :param owner: is told what becomes of what is said
    :param history: has the caller's audio
    :param call_time: says when it was said
    :param speculate_s: how long an interim stands before a reply may begin on it; 0: never
    """

    def __init__(
        self,
        started: CallStarted,
        socket: CallSocket,
        owner: CallOwner,
        *,
        replay_buffer: ReplayBuffer | None = None,
        call_time: CallTime | None = None,
        metrics: Metrics | None = None,
        turns: ResponseLatency | None = None,
        speculate_s: float = 0.0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._started = started
        self._socket = socket
        self._owner = owner
        self._replay_buffer = replay_buffer or ReplayBuffer(sample_bytes=1, limit_samples=0)
        self._call_time = call_time or CallTime()
        self._metrics = metrics or Metrics()
        self._turns = turns or ResponseLatency()
        self._speculate_s = speculate_s
        self.player = AudioPlayer(socket, started.stream_sid, owner, started.audio_format)
        """For the runner."""
        self.state: dict[str, Any] = {}
        """The handler's own: whatever belongs to this call."""
        self._utterances: EventQueue[Utterance] = EventQueue(
            MAX_WAITING_UTTERANCES, on_drop=self._metrics.note_event_dropped
        )
        self._keys: EventQueue[str] = EventQueue(MAX_WAITING_KEYS, on_drop=self._metrics.note_event_dropped)
        self._inboxes: list[EventQueue[CallEvent]] = []
        self._is_interrupted = False
        """The caller broke in, and what is being said to us is not committed yet."""
        self._is_over = False
        self.has_hung_up = False
        """Whether the handler has ended the call: it does not go on over another stream."""

    @property
    def call_sid(self) -> str:
        """Twilio's id of the call, ``CA…``."""
        return self._started.call_sid

    @property
    def stream_sid(self) -> str:
        """Twilio's id of the stream, ``MZ…``; another one when the call goes on over another stream."""
        return self._started.stream_sid

    @property
    def parameters(self) -> Mapping[str, str]:
        """The TwiML's ``<Parameter>`` elements, by name."""
        return MappingProxyType(self._started.custom_parameters)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._is_over

    # --- in ---------------------------------------------------------------------------------------------

    async def utterances(self) -> AsyncIterator[Utterance]:
        """The committed utterances as they come, from the call's beginning to its end; those without words are left
        out. One that a handler is too slow for is dropped, the oldest first, and counted."""
        async for utterance in self._utterances:
            yield utterance

    async def keys(self) -> AsyncIterator[str]:
        """The keys of the telephone that are pressed, from the call's beginning to its end."""
        async for key in self._keys:
            yield key

    def events(self) -> AsyncIterator[CallEvent]:
        """Everything that happens from now on: ``Partial`` while someone speaks, ``Utterance`` (also without words),
        ``Amendment``, ``BargeIn``, ``DtmfPressed``, and ``MarkPlayed`` for marks of your own.

        :raises RuntimeError: more than 16 read already
        """
        return self._read(self._open_event_queue())

    def keep_audio(self, seconds: float) -> None:
        """Keep the caller's newest audio for ``audio``, at 8 kB a second; at most ``STT_REPLAY_S`` (90 s). Without it
        what was recognized is forgotten."""
        self._replay_buffer.keep(int(seconds * SAMPLE_RATE_HZ))

    def audio(self, start_ms: int, end_ms: int) -> bytes:
        """What the caller said from ``start_ms`` to ``end_ms`` of call time, as LINEAR16, 8 kHz mono; what is not kept,
        any more or yet, is left out."""
        start, end = (self._call_time.audio_at(ms * SAMPLES_PER_MS) for ms in (start_ms, end_ms))
        start = max(start, self._replay_buffer.start)
        return self._replay_buffer.read(start, end - start)

    async def answer(self, reply: Reply) -> None:
        """Call ``await reply(turn)`` for each utterance, until the call ends; ``turn.text`` is what was said.

        One reply runs at a time, in a task of its own. It is cancelled when the caller breaks in, or when the next
        utterance is committed; what ``reply`` raises is raised here. With ``SPECULATE_AFTER_MS`` a reply may begin on
        an interim: what it says is then kept back until the text is committed, and it is cancelled and begun anew if
        that has other words.
        """
        event_queue = self._open_event_queue()
        rule = Speculation(self._speculate_s)
        try:
            reply_runner = ReplyRunner(
                reply,
                event_queue,
                rule,
                say=self._say,
                on_outcome=self._count_outcome,
                on_stall=self._owner.stalled,
            )
            await reply_runner.run()
        finally:
            self._inboxes.remove(event_queue)

    # --- out --------------------------------------------------------------------------------------------

    def say(
        self,
        audio: bytes | AsyncIterable[bytes],
        *,
        text: str = "",
        encoding: Encoding = "mulaw",
        rate_hz: int = SAMPLE_RATE_HZ,
        word_ends_ms: Sequence[float] | None = None,
    ) -> Speech:
        """Queue audio to be played, mono: bytes, or an async iterator of bytes in any pieces; samples, or a WAV file.

        What is said between a barge-in and the commit of the caller's utterance still belongs to the answer that was
        interrupted: it is not played.

        :param text: the words in it, for ``heard_text``
        :param encoding: ``mulaw`` (G.711) or ``pcm`` (LINEAR16, little-endian); a WAV file says so itself
        :param rate_hz: 4,000 to 192,000, a multiple of 25; a WAV file says so itself
        :param word_ends_ms: where in the audio each word of ``text`` ends; else words last as long as they have letters
        :return: what can be awaited: what was heard, once it was played or cut off
        :raises TypeError: it is none of these
        :raises ValueError: no such rate or encoding
        :raises UsageError: a WAV file that cannot be used, or compressed audio; of an iterator it is logged instead
        :raises BacklogError: over five minutes wait already
        """
        source = None
        if isinstance(audio, bytes | bytearray | memoryview):
            outbound = OutboundAudio(encoding, rate_hz)
            outbound.feed(bytes(audio))
            outbound.end()
        elif isinstance(audio, AsyncIterable):
            source, outbound = audio, OutboundAudio(encoding, rate_hz)
        else:
            raise TypeError(f"audio is a {type(audio).__name__}: say bytes, or an async iterator of bytes")
        ends = None if word_ends_ms is None else tuple(int(ms * SAMPLES_PER_MS) for ms in word_ends_ms)
        speech = Speech(outbound, text, ends)
        turn = current_turn.get()
        if outbound.is_empty or self._is_over:
            speech.finish(0)
        elif turn is not None and not turn.is_committed:
            turn.hold(speech, source, self.player)
        elif self._is_interrupted:
            outbound.drop()
            speech.finish(0)
        else:
            self._say(speech, turn, source)
        return speech

    def _say(self, speech: Speech, turn: Turn | None, source: AsyncIterable[bytes] | None = None) -> None:
        self.player.check_room(speech.audio)
        began_at, ready_at = (turn.began_at, turn.ready_at) if turn is not None else (None, None)
        speech.turn = self._turns.said(now=self._loop.time(), began_at=began_at, ready_at=ready_at)
        self.player.say(speech, source)

    def mark(self, name: str) -> None:
        """Ask for ``MarkPlayed`` when the audio queued so far was played, or cleared.

        :raises ValueError: the name is too long, or begins as our own do
        """
        if name.startswith(MARK_PREFIX) or len(name) > MAX_MARK_CHARS:
            raise ValueError(
                f"{name[:60]!r}: a mark's name has at most {MAX_MARK_CHARS} characters and does not begin "
                f"with {MARK_PREFIX!r}"
            )
        self.player.mark(name)

    def clear(self) -> asyncio.Future[Heard]:
        """Drop what was said and not yet played; at once, whether awaited or not.

        :return: to await: what of the answer was heard, when the peer has confirmed, after 1 s at the latest
        """
        return self.player.clear()[1]

    def hangup(self) -> None:
        """Close the stream now; Twilio goes on with the TwiML after ``<Connect>``, or ends the call. What is still
        being played is lost: ``await`` it first."""
        self.has_hung_up = True
        self._socket.close_soon(1000, "the handler hung up")

    # --- for the runner -------------------------------------------------------------------------------

    def carry_over(self, started: CallStarted, socket: CallSocket) -> None:
        """The call goes on over another stream. What was sent on the old one and not played is lost."""
        self._started = started
        self._socket = socket
        self.player.carry_over(socket, started.stream_sid, started.audio_format)

    def deliver(self, event: CallEvent) -> None:
        """Something that the handler may want to know."""
        if isinstance(event, BargeIn | Utterance):
            self._is_interrupted = isinstance(event, BargeIn)
        if isinstance(event, Utterance) and event.text:
            self._utterances.put(event)
        elif isinstance(event, DtmfPressed):
            self._keys.put(event.digit)
        for event_queue in self._inboxes:
            event_queue.put(event)

    def finish(self) -> None:
        """Nothing more will come."""
        self._is_over = True
        self.player.finish()
        self._utterances.finish()
        self._keys.finish()
        for event_queue in self._inboxes:
            event_queue.finish()

    def _open_event_queue(self) -> EventQueue[CallEvent]:
        if len(self._inboxes) >= MAX_READERS:
            raise RuntimeError(f"{MAX_READERS} readers of events already: leave a loop over events() before the next")
        event_queue: EventQueue[CallEvent] = EventQueue(
            MAX_WAITING_EVENTS, on_drop=self._metrics.note_event_dropped, is_newer=_is_newer
        )
        self._inboxes.append(event_queue)
        if self._is_over:
            event_queue.finish()
        return event_queue

    async def _read(self, event_queue: EventQueue[CallEvent]) -> AsyncIterator[CallEvent]:
        try:
            async for event in event_queue:
                yield event
        finally:
            self._inboxes.remove(event_queue)

    def _count_outcome(self, outcome: Outcome) -> None:
        self._metrics.speculative_starts[outcome] += 1


def _is_newer(waiting: CallEvent, event: CallEvent) -> bool:
    return isinstance(waiting, Partial) and isinstance(event, Partial) and waiting.id == event.id
