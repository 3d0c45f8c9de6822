"""The handler's API of a call: utterances in, audio out."""

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
    BeepHeard,
    CallEvent,
    CallStarted,
    DtmfPressed,
    MachineDetected,
    MachineReason,
    MarkPlayed,
    Partial,
    Utterance,
)
from fastcall.metrics import Metrics
from fastcall.ports import CallSocket
from fastcall.turns.completeness import Expectation, Kind
from fastcall.turns.speculation import Outcome, Speculation
from fastcall.twilio.messages import MAX_MARK_CHARS

__all__ = [
    "Amendment",
    "BargeIn",
    "BeepHeard",
    "Call",
    "DtmfPressed",
    "Heard",
    "MachineDetected",
    "MarkPlayed",
    "Partial",
    "Speech",
    "Turn",
    "Utterance",
]

# Queue limits of each kind of reader; beyond them the oldest item is dropped.
MAX_WAITING_UTTERANCES = 64
MAX_WAITING_KEYS = 64
MAX_WAITING_EVENTS = 256
MAX_READERS = 16


class CallOwner(AudioPlayerOwner, Protocol):
    """Notified of what the handler of a call does."""

    def stalled(self, seconds: float) -> None:
        """One of its steps blocked the loop."""

    def expect(self, expectation: Expectation | None) -> None:
        """It told what the caller is likely to say."""


class Call:
    """One live call, as its handler sees it. Call all methods on the event loop's thread; none blocks.

    A handler is ``async def handler(call: Call) -> None``. It runs in its own task; when it returns or raises, the
    call continues without it.

    :param owner: notified of the progress of speeches
    :param replay_buffer: has the caller's audio
    :param call_time: maps samples of it to times
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
        """For the handler: any data of this call."""
        self.machine_detected: MachineReason | None = None
        """Why a machine seems to have answered this outbound call; None: nothing shows that one has. Known before the
        handler runs if Twilio has said so, and later also by ``events``."""
        self.beep_heard = False
        """Whether that machine has beeped, and records. By ``events`` as well."""
        self._utterances: EventQueue[Utterance] = EventQueue(
            MAX_WAITING_UTTERANCES, on_drop=self._metrics.note_event_dropped
        )
        self._keys: EventQueue[str] = EventQueue(MAX_WAITING_KEYS, on_drop=self._metrics.note_event_dropped)
        self._inboxes: list[EventQueue[CallEvent]] = []
        self._other_speeches: list[Speech] = []
        """Unfinished speeches said outside of the replies of ``answer``."""
        self._is_interrupted = False
        """The caller interrupted, and the utterance is not committed yet."""
        self._is_over = False
        self.has_hung_up = False
        """Whether the handler has hung up: the call does not continue on another stream."""

    @property
    def call_sid(self) -> str:
        """Twilio's id of the call, ``CA…``."""
        return self._started.call_sid

    @property
    def stream_sid(self) -> str:
        """Twilio's id of the stream, ``MZ…``; it changes when the call continues on another stream."""
        return self._started.stream_sid

    @property
    def parameters(self) -> Mapping[str, str]:
        """The TwiML's ``<Parameter>`` elements, by name."""
        return MappingProxyType(self._started.custom_parameters)

    @property
    def is_over(self) -> bool:
        """Whether the call has ended."""
        return self._is_over

    # --- in ---------------------------------------------------------------------------------------------

    async def utterances(self) -> AsyncIterator[Utterance]:
        """Iterate over committed utterances, from the call's beginning to its end; each has words.

        An utterance that was committed without words comes when its words do. If a late final changes the text of one
        that came before, it comes again, with ``is_correction`` and the whole new text; one that loses all of its words
        does not: only ``events`` reports that. If the handler is too slow, the oldest are dropped and counted.
        """
        async for utterance in self._utterances:
            yield utterance

    async def keys(self) -> AsyncIterator[str]:
        """Iterate over the pressed telephone keys, from the call's beginning to its end."""
        async for key in self._keys:
            yield key

    def events(self) -> AsyncIterator[CallEvent]:
        """Iterate over all events from now on: ``Partial`` while someone speaks, ``Utterance`` (also without words; it
        comes again if they arrive later), ``Amendment`` when a text changes (and no ``Utterance`` for it), ``BargeIn``,
        ``DtmfPressed``, ``MachineDetected``, ``BeepHeard``, and ``MarkPlayed`` for your own marks.

        :raises RuntimeError: 16 loops over events run already
        """
        return self._read(self._open_event_queue())

    def keep_audio(self, seconds: float) -> None:
        """Keep the caller's newest audio for ``audio``, at 8 kB per second; at most ``STT_REPLAY_S`` (90 s). Without
        this, audio is dropped once it is recognized."""
        self._replay_buffer.keep(int(seconds * SAMPLE_RATE_HZ))

    def audio(self, start_ms: int, end_ms: int) -> bytes:
        """The caller's audio from ``start_ms`` to ``end_ms`` of call time, as LINEAR16, 8 kHz mono; parts that are not
        kept any more, or not received yet, are left out."""
        start, end = (self._call_time.audio_at(ms * SAMPLES_PER_MS) for ms in (start_ms, end_ms))
        start = max(start, self._replay_buffer.start)
        return self._replay_buffer.read(start, end - start)

    async def answer(self, reply: Reply) -> None:
        """Call ``await reply(turn)`` for each utterance, until the call ends; ``turn.text`` is its text.

        One reply runs at a time, in its own task. It is cancelled when the caller interrupts, or when the next
        utterance is committed; exceptions of ``reply`` are raised here. The next utterance also stops the answer's
        audio, and ``turn.interrupted`` is what was heard of it. Audio said outside of the replies is not stopped: while
        such audio waits or plays, only the answer's unsent audio is dropped, and up to 2 s of it may still be heard.

        If the text is corrected, and no audio of the answer was sent, the reply is cancelled and restarted with the new
        text, or not restarted if no words are left. Otherwise it goes on, and the turn has the new text: see
        ``Turn.corrected_text``. It is never restarted once ``turn.wait_committed`` has returned, so that its side
        effects do not happen twice. Corrections of earlier turns are ignored.

        With ``SPECULATE_AFTER_MS`` a reply may start on an interim: its audio is then held back until the text is
        committed, and it is cancelled and restarted if the words have changed.
        """
        event_queue = self._open_event_queue()
        rule = Speculation(self._speculate_s)
        try:
            reply_runner = ReplyRunner(
                reply,
                event_queue,
                rule,
                say=self._say,
                stop=self._stop_reply,
                on_outcome=self._count_outcome,
                on_stall=self._owner.stalled,
            )
            await reply_runner.run()
        finally:
            self._inboxes.remove(event_queue)

    def expect(self, kind: Kind | None, *, length: int | None = None, choices: Sequence[str] = ()) -> None:
        """Tell what the caller is likely to say next, so that the turn ends as soon as that is said, and not in a pause
        in the middle of it. Counts until an utterance with words is committed, or until the next call of this.

        :param kind: ``digits`` and ``spelling`` (with ``length``, if it is known), ``yes_no``, ``address``, ``choice``
            (of ``choices``), ``anything``; None: nothing in particular
        :param length: how many digits, or letters
        :param choices: the answers to choose from
        :raises ValueError: the parameters contradict each other
        """
        if isinstance(choices, str):
            raise ValueError(f"choices={choices!r} is one text: give a list of them")
        if kind is None and (length is not None or choices):
            raise ValueError("give a kind with length or choices")
        self._owner.expect(None if kind is None else Expectation(kind, length, tuple(choices)))

    # --- out --------------------------------------------------------------------------------------------

    def say(
        self,
        audio: bytes | AsyncIterable[bytes],
        *,
        text: str = "",
        encoding: Encoding = "mulaw",
        rate_hz: int = SAMPLE_RATE_HZ,
        word_ends_ms: Sequence[float] | None = None,
        interruptible: bool = True,
    ) -> Speech:
        """Queue audio to be played, mono: bytes, or an async iterator of bytes in any pieces; samples, or a WAV file.

        Audio queued between a barge-in and the commit of the caller's utterance still belongs to the interrupted
        reply: it is not played, unless it is uninterruptible. Audio queued while the caller's turn is open may be held
        until it is over, and is not played if the turn has words: what is returned has then nothing heard.

        :param text: the words in it, for ``heard_text``
        :param encoding: ``mulaw`` (G.711) or ``pcm`` (LINEAR16, little-endian); ignored for a WAV file
        :param rate_hz: 4,000 to 192,000, a multiple of 25; ignored for a WAV file
        :param word_ends_ms: where in the audio each word of ``text`` ends; by default estimated from word lengths
        :param interruptible: false for what the caller must hear, such as a legal notice: the caller's voice does not
            stop it, and no newer reply replaces it; ``clear`` drops it
        :return: awaitable: what was heard, once it was played or interrupted
        :raises TypeError: it is none of these
        :raises ValueError: no such rate or encoding
        :raises UsageError: an unusable WAV file, or compressed audio; for an iterator this is logged instead
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
            raise TypeError(f"audio is a {type(audio).__name__}: pass bytes, or an async iterator of bytes")
        ends = None if word_ends_ms is None else tuple(int(ms * SAMPLES_PER_MS) for ms in word_ends_ms)
        speech = Speech(outbound, text, ends, is_interruptible=interruptible)
        turn = current_turn.get()
        if outbound.is_empty or self._is_over:
            speech.finish(0)
        elif turn is not None and not turn.is_committed:
            turn.hold(speech, source, self.player)
        elif self._is_interrupted and interruptible:
            outbound.drop()
            speech.finish(0)
        else:
            self._say(speech, turn, source)
        return speech

    def _say(self, speech: Speech, turn: Turn | None, source: AsyncIterable[bytes] | None = None) -> None:
        if turn is not None and turn.is_cut:
            speech.audio.drop()
            speech.finish(0)
            return
        self.player.check_room(speech.audio)
        began_at, ready_at = (turn.began_at, turn.ready_at) if turn is not None else (None, None)
        speech.turn = self._turns.said(now=self._loop.time(), began_at=began_at, ready_at=ready_at)
        self.player.say(speech, source)
        if turn is not None:
            turn.note_said(speech)
        else:
            self._other_speeches = [each for each in self._other_speeches if not each.is_done]
            self._other_speeches.append(speech)

    def _stop_reply(self, turn: Turn) -> Heard:
        """Stop a reply's audio, and none that was said outside of the replies; return what was heard of it."""
        unfinished = turn.unfinished()
        if any(each.has_begun for each in unfinished) and all(each.is_done for each in self._other_speeches):
            self.player.clear()
        for speech in unfinished:
            if speech.is_done:
                continue
            speech.audio.drop()
            if not speech.has_begun:
                speech.finish(0)
                continue
            # Clearing the peer's buffer would clear the other audio as well: what was sent is played.
            speech.is_broken = True
            if speech.source is not None:
                speech.source.cancel()
        return turn.heard()

    def mark(self, name: str) -> None:
        """Ask for ``MarkPlayed`` when the audio queued so far was played, or cleared.

        :raises ValueError: the name is too long, or begins with our own prefix
        """
        if name.startswith(MARK_PREFIX) or len(name) > MAX_MARK_CHARS:
            raise ValueError(
                f"{name[:60]!r}: a mark's name has at most {MAX_MARK_CHARS} characters and does not begin "
                f"with {MARK_PREFIX!r}"
            )
        self.player.mark(name)

    def clear(self) -> asyncio.Future[Heard]:
        """Drop audio that was not yet played; at once, whether awaited or not.

        :return: awaitable: what was heard of the reply, once the peer has confirmed, after 1 s at the latest
        """
        return self.player.clear()[1]

    def hangup(self) -> None:
        """Close the stream now; Twilio continues with the TwiML after ``<Connect>``, or ends the call. Audio that is
        still playing is lost: ``await`` it first."""
        self.has_hung_up = True
        self._socket.close_soon(1000, "the handler hung up")

    # --- for the runner -------------------------------------------------------------------------------

    def carry_over(self, started: CallStarted, socket: CallSocket) -> None:
        """The call continues on another stream. Audio sent on the old one but not played is lost."""
        self._started = started
        self._socket = socket
        self.player.carry_over(socket, started.stream_sid, started.audio_format)

    def deliver(self, event: CallEvent) -> None:
        """An event for the handler."""
        if isinstance(event, Utterance) and event.text and not event.is_backchannel:
            self._utterances.put(event)
        elif isinstance(event, DtmfPressed):
            self._keys.put(event.digit)
        elif isinstance(event, MachineDetected):
            self.machine_detected = event.reason
        elif isinstance(event, BeepHeard):
            self.beep_heard = True
        if isinstance(event, Utterance) and event.is_correction:
            event = Amendment(event.id, event.text)
        if isinstance(event, BargeIn | Utterance):
            self._is_interrupted = isinstance(event, BargeIn)
        for event_queue in self._inboxes:
            event_queue.put(event)

    def finish(self) -> None:
        """The call has ended."""
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
