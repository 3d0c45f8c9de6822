"""One call's recognition on an event loop: the driver of ``RecognitionMachine``.

The producer of audio only writes into the ring. The loop moves that audio into the replay buffer, and each stream
(``ProviderStream``) sends from the buffer with a cursor of its own. The machine decides which streams there are and
what their results mean; this carries out what it wants, and keeps one timer for it and for the streams. Nothing here
waits, and a call has no task or thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, Literal

from fastcall._codec import CallClock, LiveAudio
from fastcall.aio.callbacks import UserCallback
from fastcall.audio.audio_input import AudioInput
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.call_logger import CallLogger
from fastcall.errors import ClosedError, RecognizerError, UsageError
from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS, RecognitionEvent, SessionClosed, SessionFailed
from fastcall.metrics import Metrics
from fastcall.ports import Fallback, Recognizer, StreamConfig
from fastcall.recognition.inputs import (
    AskFallback,
    AudioArrived,
    CancelFallback,
    CancelStream,
    CloseRequested,
    CloseTimedOut,
    FallbackAnswered,
    FallbackFailed,
    FinishStream,
    FlushAudio,
    Log,
    Opened,
    OpenStream,
    RecognitionCommand,
    RecognitionInput,
    SessionEvent,
    SpeechChanged,
    StreamEnded,
    UtteranceChanged,
)
from fastcall.recognition.machine import RecognitionMachine
from fastcall.recognition.partials import PartialTimer
from fastcall.recognition.provider_stream import ProviderStream
from fastcall.recognition.stream_state import StreamState
from fastcall.settings import Settings

__all__ = ["RecognitionSession", "SessionEvent"]

LOG: Final = logging.getLogger("fastcall.session")


class RecognitionSession:
    """The recognition session of a call. Call all methods except ``feed`` and ``feed_silence`` on the loop's thread.

    :param recognizer: opens streams; None with ``ENABLE_STREAMING_STT=false``: the fallback recognizes every utterance
    :param config: language and model
    :param fallback: recognizes utterances during outages; it needs ``note_speech`` to know utterances
    :param settings: batch, debounce, rotation, replay, fallback
    :param on_event: called on the loop with every event, interims undebounced and in call time
    :param on_partial: called on the loop with the text since the last final, debounced: never unchanged, never
        closer than ``STT_PARTIAL_DEBOUNCE_MS``, never stale
    :param on_final: called on the loop with the text of each final
    :param encoding: of audio fed: ``mulaw`` (one byte per sample) or ``linear16`` (two, little-endian); 8 kHz mono
    :param rand: random numbers in [0, 1), for jitter
    :param metrics: counts the age of audio sent
    :param log: where it logs; its lines should name the call

    Exceptions of ``on_event``, ``on_partial``, ``on_final`` and listeners are logged, and have no other effect.
    """

    def __init__(
        self,
        recognizer: Recognizer | None,
        config: StreamConfig,
        *,
        fallback: Fallback | None = None,
        settings: Settings | None = None,
        on_event: Callable[[SessionEvent], None] | None = None,
        on_partial: Callable[[str], None] | None = None,
        on_final: Callable[[str], None] | None = None,
        encoding: Literal["mulaw", "linear16"] = "mulaw",
        rand: Callable[[], float] = random.random,
        metrics: Metrics | None = None,
        log: CallLogger | None = None,
    ) -> None:
        if recognizer is None and fallback is None:
            raise UsageError("a session needs a recognizer or a fallback")
        self._recognizer = recognizer
        self._fallback = fallback
        self._language = config.language
        self._settings = settings = settings or Settings()
        self._log = log or CallLogger(LOG)
        self._listeners = [self._guarded(on_event)] if on_event else []
        self._on_final = self._guarded(on_final) if on_final else None
        sample_bytes = 1 if encoding == "mulaw" else 2
        limit_samples = int(settings.stt_replay_s * SAMPLE_RATE_HZ)
        self.replay_buffer = ReplayBuffer(sample_bytes=sample_bytes, limit_samples=limit_samples)
        """The call's audio that may still be needed. Read-only for others."""
        self.audio_input = AudioInput(self.replay_buffer, sample_bytes=sample_bytes)
        self.batch_samples = settings.stt_batch_ms * SAMPLES_PER_MS
        """For callers that feed ``audio_input.track`` directly, on the loop: ``pump`` when so many samples wait."""
        self._partials = PartialTimer(settings.partial_debounce_s, self._guarded(on_partial) if on_partial else None)
        self._metrics = metrics or Metrics()
        self.clock = CallClock()
        """Maps samples of the call to the loop's clock. Loop thread."""
        self.live = self._make_live(limit_samples)
        """Sends batches without Python, as a rule; for callers that feed ``audio_input.track`` directly."""
        self._live_stream: ProviderStream | None = None
        self._on_batch: Callable[[int, int], None] | None = None
        source = fallback.source if fallback is not None else None
        self._machine = RecognitionMachine(
            self.replay_buffer, config, settings, provider=recognizer, fallback=source, rand=rand
        )
        self._streams: dict[StreamState, ProviderStream] = {}
        self._asks: dict[int, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_running = self._is_closing = False
        self._closed: asyncio.Future[None] | None = None

    def _make_live(self, limit_samples: int) -> LiveAudio:
        return LiveAudio(
            self.replay_buffer.track,
            self.clock,
            age=self._metrics.audio_age_seconds,
            wait=self._metrics.batch_wait_seconds,
            limit_samples=limit_samples,
            batch_samples=self.batch_samples,
        )

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self._settings

    # --- audio in -----------------------------------------------------------------------------------

    @property
    def call_samples(self) -> int:
        """The session's call time: samples fed so far, dropped ones included. Any thread."""
        return self.audio_input.fed_samples

    @property
    def dropped_samples(self) -> int:
        """Samples that did not fit into the ring and are sent as silence. Any thread."""
        return self.audio_input.dropped_samples

    @property
    def lost_samples(self) -> int:
        """Unsettled samples that exceeded the replay limit."""
        return self.replay_buffer.lost_samples

    @property
    def settled_samples(self) -> int:
        """The settled end: no later result changes what was said before it."""
        return self._machine.settled_end

    @property
    def active_stream(self) -> StreamState | None:
        """The stream whose finals are accepted; None while there is none."""
        return self._machine.active

    @property
    def failure(self) -> SessionFailed | None:
        """Why the session has no results (for now, or for good), or None. Any thread."""
        return self._machine.failure or self._machine.outage

    def feed(self, audio: bytes) -> bool:
        """Take audio; never blocks, and a full ring drops the newest. Any one producer thread.

        :param audio: in the session's encoding, any length in whole samples
        :return: whether a batch is due, so that the loop should ``pump``
        :raises ClosedError: the session is closing
        :raises ValueError: not a whole number of samples
        """
        if self._is_closing:
            raise ClosedError("the session is closed and accepts no more audio")
        self.audio_input.feed(audio)
        return self.audio_input.waiting_samples >= self.batch_samples

    def feed_silence(self, samples: int) -> bool:
        """The same for ``samples`` samples of silence: a gap in the telephone's audio."""
        self.audio_input.feed_silence(samples)
        return self.audio_input.waiting_samples >= self.batch_samples

    def push_audio(self, audio: bytes) -> None:
        """``feed`` and, if a batch is due, ``pump``: for producers on the loop's own thread."""
        if self.feed(audio):
            self.pump()

    def pump(self) -> None:
        """Send waiting audio. Loop thread."""
        loop = self._loop
        if loop is None:
            self.audio_input.drain()
            return
        if self.live.pump(now=loop.time()):
            return
        now = self._drain(loop)
        for stream in tuple(self._streams.values()):
            stream.pump(now=now)
        if self._machine.wants_audio:
            self._receive(AudioArrived())
        elif any(state.is_paced for state in self._streams):
            self._arm(loop)
        self._bind_live()

    def _drain(self, loop: asyncio.AbstractEventLoop) -> float:
        """Move waiting audio into the replay buffer; returns the time."""
        now = loop.time()
        self.audio_input.drain()
        self.clock.heard(self.replay_buffer.end, now=now)
        return now

    def note_speech(self, speaking: bool, sample: int, *, is_last: bool = False) -> None:
        """From the endpointer: speech began, or ended, at ``sample``. Rotations wait for pauses."""
        self._receive(SpeechChanged(speaking, sample))
        self.note_utterance(speaking, sample, is_last=is_last)

    def note_utterance(self, begins: bool, sample: int, *, is_last: bool = False) -> None:
        """An utterance begins at ``sample``, or the open one ends there: the fallback recognizes it if no stream can,
        and at its end all audio is sent.

        Part of ``note_speech``; call it directly if you know utterances but not exactly when somebody speaks.
        """
        # Only where the audio is needed: what was moved does not count as waiting for a batch any more.
        if self._loop is not None and (not begins or self._machine.wants_audio):
            self._drain(self._loop)
        self._receive(UtteranceChanged(begins, sample, is_last))

    # --- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the first stream. Returns at once; an unreachable recognizer is reported as ``SessionFailed``."""
        self._loop = asyncio.get_running_loop()
        self._closed = self._loop.create_future()
        self._receive(Opened())

    async def close(self, timeout_s: float = 5.0) -> None:
        """Send the rest, half-close, collect the remaining finals, commit the remaining interim.

        :param timeout_s: after this the stream is cancelled; words recognized by then are kept
        """
        if self._is_closing or self._closed is None:
            return
        self._is_closing = True
        self.audio_input.drain()
        try:
            async with asyncio.timeout(timeout_s):
                self._receive(CloseRequested())
                await asyncio.shield(self._closed)
        except TimeoutError:
            self._receive(CloseTimedOut(timeout_s))
        # Here, so that the caller continues in the turn in which the listeners hear of the end.
        self._emit(SessionClosed())
        self._partials.stop()
        self._listeners.clear()

    def watch_batches(self, callback: Callable[[int, int], None] | None) -> None:
        """Call ``callback`` for each batch sent, with its first sample and the one after its last; None: no more."""
        self._on_batch = callback
        self._bind_live()

    def add_listener(self, listener: Callable[[SessionEvent], None]) -> None:
        """Call ``listener`` too with every event. Loop thread."""
        self._listeners.append(self._guarded(listener))

    def _guarded(self, function: Callable[..., object]) -> UserCallback:
        return UserCallback(function, log=self._log, on_exit=_raise_soon)

    # --- the machine ----------------------------------------------------------------------------------

    def _receive(self, event: RecognitionInput) -> None:
        """Tell the machine, and do what it wants."""
        loop = self._loop
        if loop is None:
            return
        if isinstance(event, StreamEnded):
            self._streams.pop(event.stream, None)
        self._machine.receive(event, now=loop.time())
        self._carry_out(loop)

    def _carry_out(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what the machine wants. What a command brings about may add commands, which are done after it."""
        if self._is_running:
            return
        self._is_running = True
        try:
            while commands := self._machine.commands():
                for command in commands:
                    if isinstance(command, RecognitionEvent):  # nearly all of them
                        self._emit_result(command)
                    else:
                        self._do(command, loop)
        finally:
            self._is_running = False
        self._arm(loop)
        self._bind_live()

    def _do(self, command: RecognitionCommand, loop: asyncio.AbstractEventLoop) -> None:
        match command:
            case OpenStream(state):
                self._open_stream(state, now=loop.time())
            case FinishStream(state):
                self._streams[state].finish(now=loop.time())
            case CancelStream(state):
                self._streams.pop(state).cancel()
            case FlushAudio():
                for stream in tuple(self._streams.values()):
                    stream.flush(now=loop.time())
            case AskFallback():
                self._asks[command.number] = task = loop.create_task(self._ask(command))
                task.add_done_callback(lambda _: self._asks.pop(command.number, None))
            case CancelFallback(number):
                self._asks.pop(number).cancel()
            case Log(level, message):
                (self._log.info if level == "info" else self._log.warning)("%s", message)
            case SessionClosed():
                if self._closed is not None and not self._closed.done():
                    self._closed.set_result(None)
            case _:
                self._emit(command)

    def _open_stream(self, state: StreamState, *, now: float) -> None:
        assert self._recognizer is not None
        self._streams[state] = stream = ProviderStream(
            self._recognizer,
            state,
            self.replay_buffer,
            batch_samples=self.batch_samples,
            replay_speed=self._settings.stt_replay_speed,
            receive=self._receive,
            on_writable=self._pump_writable,
            on_sent=self._note_sent,
        )
        stream.pump(now=now)

    def _pump_writable(self, stream: ProviderStream) -> None:
        if self._loop is not None:
            stream.pump(now=self._loop.time())
            self._arm(self._loop)

    def _bind_live(self) -> None:
        """Have compiled code send live audio while nobody else needs to know of it: to one stream, that has had all."""
        stream: ProviderStream | None = None
        if len(self._streams) == 1 and self._on_batch is None and not self._machine.wants_audio:
            (only,) = self._streams.values()
            stream = only if only.is_live else None
        if stream is not self._live_stream:
            self.live.unbind()
            self._live_stream = stream if stream is not None and stream.bind(self.live) else None

    def _note_sent(self, start: int, end: int) -> None:
        if self._loop is not None:
            self._metrics.note_sent(self.clock, start, end, now=self._loop.time())
        if self._on_batch is not None:
            self._on_batch(start, end)

    def _emit(self, event: SessionEvent) -> None:
        for listener in tuple(self._listeners):
            listener(event)

    def _emit_result(self, event: RecognitionEvent) -> None:
        if event.kind == "interim":
            self._emit(event)
            self._partials.offer(event.text)
        else:
            self._partials.reset()
            self._emit(event)
            if event.text and self._on_final is not None:
                self._on_final(event.text)

    async def _ask(self, ask: AskFallback) -> None:
        assert self._fallback is not None
        limit_s = self._settings.stt_fallback_limit_s
        began_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(limit_s) as limit:
                text = await self._fallback.recognize(ask.pcm, self._language, urgent=ask.is_urgent)
        except TimeoutError as error:
            why = f"no response in {limit_s:g} s" if limit.expired() else f"TimeoutError: {error}"
            self._answered(ask, FallbackFailed(ask.number, why))
        except RecognizerError as error:
            self._answered(ask, FallbackFailed(ask.number, str(error)))
        except Exception as error:
            # The user's function may raise anything: it is logged, and the call continues.
            self._log.exception("the fallback failed")
            self._answered(ask, FallbackFailed(ask.number, f"{type(error).__name__}: {error}"))
        else:
            took_s = asyncio.get_running_loop().time() - began_at
            self._log.debug("fallback: %.1f s of audio in %.2f s", len(ask.pcm) / 2 / SAMPLE_RATE_HZ, took_s)
            self._answered(ask, FallbackAnswered(ask.number, " ".join(text.split())))

    def _answered(self, ask: AskFallback, event: FallbackAnswered | FallbackFailed) -> None:
        self._asks.pop(ask.number, None)
        self._receive(event)

    # --- the timer ------------------------------------------------------------------------------------

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer, for whatever is due first. One that is due too early finds nothing to do."""
        due_at = self._machine.next_deadline()
        for stream in self._streams.values():
            stream_at = stream.next_deadline()
            if due_at is None or (stream_at is not None and stream_at < due_at):
                due_at = stream_at
        if self._timer is not None:
            if due_at is not None and self._timer_at <= due_at:
                return
            self._timer.cancel()
            self._timer = None
        if due_at is not None:
            self._timer_at = due_at
            self._timer = loop.call_at(due_at, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = max(self._timer_at, loop.time())  # a loop's timer may fire a tick early
        for stream in tuple(self._streams.values()):
            if now >= (stream.next_deadline() or now):
                self._drain(loop)
                stream.handle_deadline(now=now)
        self._machine.handle_deadline(now=now)
        self._carry_out(loop)


def _raise_soon(error: BaseException) -> None:
    """Raise exceptions that end a program on the loop, outside the session, for its owner."""
    asyncio.get_running_loop().call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
