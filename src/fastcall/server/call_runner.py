"""Runs one call: a ``CallMachine``, its session, its voice detector, its handler, and one timer.

Everything happens on the event loop's thread, in the turn in which a message arrives; the audio path never awaits. The
runner owns the session and the handler's task, and ends both.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from fastcall._codec import MediaFastPath, VadFramer
from fastcall.agent.controller import AgentCommand, AgentController, Handler
from fastcall.audio.audio_input import PayloadDecoder
from fastcall.call_logger import CallLogger, call_logger
from fastcall.events import (
    AudioFormat,
    CallStarted,
    CallStopped,
    MediaFrame,
    Refused,
    Rejected,
    SocketClosed,
    TranscriptEvent,
)
from fastcall.formats import one_line
from fastcall.metrics import Metrics
from fastcall.ports import CallSocket, EndOfTurnModel, Fallback, Recognizer, StreamConfig, TranscriptSink, VoiceDetector
from fastcall.recognition.session import RecognitionSession, SessionEvent
from fastcall.server.admission import Entrance
from fastcall.server.call_metrics import CallMetrics
from fastcall.server.comeback import HeldStream
from fastcall.server.model_questions import ModelQuestions
from fastcall.server.rate_limit import MessageRateLimit
from fastcall.server.watchdog import Expiry, Watchdog
from fastcall.settings import Settings
from fastcall.turns.call_machine import (
    CallMachine,
    CloseSession,
    CloseSocket,
    Command,
    Event,
    NoteSpeech,
    OpenSession,
    PushAudio,
    Warn,
)
from fastcall.turns.turn_policy import AskEndOfTurn, Completeness
from fastcall.twilio.messages import parse_message
from fastcall.twilio.stream_key import StreamKey

__all__ = ["CallRunner", "Handler"]

log = logging.getLogger("fastcall.call")

NORMAL = 1000
POLICY_VIOLATION = 1008

FLOOD = Rejected("flood", "far more messages than a call sends")
MAX_LOG_CHARS = 400  # of a line about input from outside
VAD_FRAME_SAMPLES = 160
CLOSE_TIMEOUT_S = 5.0

NOBODY = StreamKey("-")  # of a socket that has had no start


class CallRunner:
    """One call, from opening its socket to its last words. Loop thread only.

    :param recognizer: shared by all calls; None: the fallback recognizes every utterance
    :param fallback: shared by all calls
    :param voice: this call's own voice detector
    :param sink: gets every transcript event
    :param prompt: mu-law audio for the caller when the handler has failed
    :param rand: random numbers in [0, 1), for the session's jitter
    :param gate: decides whether the call may begin
    :param metrics: the process's metrics
    :param completeness: judges texts, as ``turn_model`` does pauses: see ``TurnPolicy``
    """

    _timer: asyncio.TimerHandle | None
    key: StreamKey
    """The call's key, once it has begun."""
    place: StreamKey | None
    """The key with which it entered the gate, and will leave it."""
    held_streams: list[HeldStream]
    """Newer streams of this call that wait for this one to end."""

    def __init__(
        self,
        socket: CallSocket,
        *,
        settings: Settings,
        recognizer: Recognizer | None,
        config: StreamConfig,
        fallback: Fallback | None = None,
        voice: VoiceDetector,
        sink: TranscriptSink,
        handler: Handler | None = None,
        prompt: bytes = b"",
        rand: Callable[[], float] = random.random,
        gate: Entrance | None = None,
        metrics: Metrics | None = None,
        completeness: Completeness | None = None,
        turn_model: EndOfTurnModel | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket
        self._settings = settings
        self._recognizer = recognizer
        self._fallback = fallback
        self._config = config
        self._sink = sink
        self._handler = handler
        self._prompt = prompt
        self._rand = rand
        self._gate = gate
        self._metrics = metrics or Metrics()
        self.key, self.place = NOBODY, None
        self._held: HeldStream | None = None
        self.held_streams = []
        self._budget = MessageRateLimit()
        self._heard_at = self._loop.time()
        self._machine = CallMachine(settings, completeness, language=config.language, asks_model=bool(turn_model))
        self._turn_model = ModelQuestions(turn_model, self._machine)
        self._watchdog = Watchdog.of(settings, now=self._loop.time())
        self._decoder = PayloadDecoder(AudioFormat())
        self._session: RecognitionSession | None = None
        self._call_metrics = CallMetrics(self._metrics, self._machine)
        self._agent: AgentController | None = None
        self._close_task: asyncio.Task[None] | None = None
        self._timer, self._timer_at = None, 0.0
        self._vad_framer = VadFramer(voice, getattr(voice, "native", None), self._machine.foreground_gate)
        self._fast_path: MediaFastPath | None = None
        self._fast_path_counted = 0
        self._is_flooded = self._is_closing = self._running = False
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._arm()

    # --- from the server ------------------------------------------------------------------------------

    def message_received(self, message: bytes) -> None:
        """A complete text message, as UTF-8 bytes."""
        self._watchdog.heard(now=self._loop.time())
        if not self._may_come(len(message)):
            self._refuse_flood()
        elif self._held is None:
            self._take(message, self._loop.time())
        elif not self._held.keep(message):
            self._refuse_flood()

    def _take(self, message: bytes, came_at: float) -> None:
        event = parse_message(message)
        if isinstance(event, MediaFrame):
            self._step(self._decode(event), came_at)
        elif isinstance(event, CallStarted):
            self._budget.started(now=self._loop.time())
            older = self._older_stream_of(event)
            if older is None and self._gate and self._machine.state == "waiting" and self._gate.pass_on(event):
                self._end_without_a_word()
            elif older is None:
                self._step(self._ask(event))
            else:
                self._watchdog.closed()  # its start was received; waiting has a separate limit
                self._held = HeldStream(event, older, take_over=lambda: self._join(older), give_up=self._begin_late)
                self._held.poll()
        elif not isinstance(event, CallStopped):
            self._step(event)
        elif not self._goes_on():
            self._watchdog.stopped(now=self._loop.time())
            self._step(event)

    def _decode(self, frame: MediaFrame) -> MediaFrame | Rejected:
        try:
            frame.payload = self._decoder.decode(frame.payload)
        except ValueError as error:
            return Rejected("bad_payload", str(error))
        return frame

    def _may_come(self, length: int) -> bool:
        """Whether the connection is within its rate limit, counting the fast path too."""
        budget, fast_path = self._budget, self._fast_path
        if fast_path is None:
            return budget.spend(length) or budget.refill(now=self._loop.time())
        budget.spend_short(fast_path.messages - self._fast_path_counted)
        self._fast_path_counted = fast_path.messages
        is_allowed = budget.spend(length) or budget.refill(now=self._loop.time())
        fast_path.allow(budget.messages_left)
        return is_allowed

    def binary_received(self) -> None:
        """A binary message; Twilio sends none. Charged as a short message: its length is not known here."""
        self._watchdog.heard(now=self._loop.time())
        if self._may_come(0):
            self._step(Rejected("binary", "only text messages are supported"))
        else:
            self._refuse_flood()

    def frame_received(self) -> None:
        """A ping, a pong, or a fragment that is not the last: charged as a short message."""
        if not self._may_come(0):
            self._refuse_flood()

    def _refuse_flood(self) -> None:
        if not self._is_flooded:
            self._is_flooded = True
            self._step(FLOOD)
            self._close_socket(POLICY_VIOLATION, FLOOD.detail)  # after `stop` the machine leaves the socket alone

    def _close_socket(self, code: int, reason: str) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._socket.close_soon(code, reason)

    def socket_closed(self, code: int | None, reason: str) -> None:
        """The socket is gone."""
        if self._goes_on():
            return
        self._watchdog.closed()
        if self._held is not None:
            self._held.cancel()
            self._held = None
        elif self._machine.state == "waiting":
            self._metrics.calls_refused["no_start"] += 1
            log.debug("a socket was closed before its start message, code %s", code)
        self._step(SocketClosed(code, reason))
        if self._machine.state == "over":
            self._finish()

    # --- a call that comes back -------------------------------------------------------------------------

    def _older_stream_of(self, start: CallStarted) -> CallRunner | None:
        """The call's current owner."""
        if self._gate is None or self._machine.state != "waiting":
            return None
        holder = self._gate.holder(StreamKey.of(start))
        return holder if isinstance(holder, CallRunner) else None

    def can_move(self) -> bool:
        """See ``LiveCall``."""
        has_hung_up = self._agent is not None and self._agent.has_hung_up
        return self._machine.state == "live" and not self._is_closing and not has_hung_up

    def _goes_on(self) -> bool:
        """This call's stream has ended; whether a newer one has replaced it."""
        while self.held_streams and self.can_move():
            if self.held_streams[0].take_over():
                return True
        return False

    def _join(self, older: CallRunner) -> bool:
        """Give this stream to the call that it belongs to, if it is admitted."""
        held, self._held = self._held, None
        assert held is not None
        assert self._gate is not None
        refusal = self._gate.enter(held.start, older)
        if refusal is not None:
            self._step(refusal.of(held.start))
            return False
        older._move(held, self._socket, self._budget)
        self._end_without_a_word()
        return True

    def _end_without_a_word(self) -> None:
        """The socket now belongs to another runner."""
        self._machine.receive(SocketClosed(None, ""), now=self._loop.time())
        self._finish()

    def _begin_late(self) -> None:
        """The older stream continues, and the gate refuses this one; or it has ended, and this is a new call."""
        held, self._held = self._held, None
        assert held is not None
        self._step(self._ask(held.start))
        self._retake(held)

    def _retake(self, held: HeldStream) -> None:
        for came_at, message in held.messages:
            self._take(message, came_at)

    def _move(self, held: HeldStream, socket: CallSocket, budget: MessageRateLimit) -> None:
        """Continue the call on another stream."""
        session, older = self._session, self._socket
        assert session is not None
        self._close_fast_path()
        older.deliver_to(None)
        older.close_soon(NORMAL, "the call continues on another stream")
        self._socket, self._budget, self._is_flooded = socket, budget, False
        self._machine.moved(held.start, heard_at=self._heard_at)
        self._watchdog.heard(now=self._loop.time())
        self._heard_at = self._loop.time()
        self._carry_audio_of(held.start, session)
        if self._agent is not None:
            self._agent.carry_over(held.start, socket)
        socket.deliver_to(self)
        self._metrics.calls_moved += 1
        self._log.info("the call continues on another stream")
        self._carry_out()
        self._retake(held)

    # --- CallHolder -------------------------------------------------------------------------------------

    def silent_s(self) -> float:
        """Seconds since the last audio."""
        return self._loop.time() - self._last_audio_s()

    def replaced(self) -> None:
        """Another socket has taken over the call."""
        self.place = None
        self._step(Refused(POLICY_VIOLATION, "the call reconnected on another socket"))

    def revoked(self, code: int, text: str) -> None:
        """The process that admits calls for all workers has refused the call."""
        self.place = None
        self._step(Refused(code, text))

    def _ask(self, start: CallStarted) -> CallStarted | Refused:
        """Ask the gate; a second start on this socket is left to the machine."""
        if self._machine.state != "waiting":
            return start
        key = StreamKey.of(start)
        if self._gate is not None:
            refusal = self._gate.enter(start, self)
            if refusal is not None:
                return refusal.of(start)
            self.place = key
        self.key = key
        self._heard_at = self._loop.time()
        return start

    def _leave(self) -> None:
        place, self.place = self.place, None
        if self._gate is not None and place is not None:
            self._gate.leave(place, self)
        if self._held is not None:
            self._held.cancel()
            self._held = None
        for stream in tuple(self.held_streams):
            stream.give_up()

    # --- for the server -----------------------------------------------------------------------------------

    @property
    def fast_path(self) -> MediaFastPath | None:
        """Takes this call's ordinary media without ``message_received``, while the call is live."""
        return self._fast_path

    def count(self) -> None:
        """Bring the process's metrics up to date with this call's."""
        self._call_metrics.count(self._vad_framer.processed_samples, self._session)

    @property
    def machine(self) -> CallMachine:
        """The rules of the call. Read-only for others: only the runner feeds it."""
        return self._machine

    @property
    def session(self) -> RecognitionSession | None:
        """The recognition session; None until it is opened."""
        return self._session

    def on_over(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, when everything of the call has ended."""
        self._over.add_done_callback(lambda _: callback())

    async def wait_over(self) -> None:
        """Return when the last words are published and everything of the call has ended."""
        await asyncio.shield(self._over)

    @property
    def stream_sid(self) -> str:
        """The call's current stream; empty until it has begun."""
        return self._machine.call.stream_sid if self._machine.call is not None else ""

    # --- the machine -----------------------------------------------------------------------------------

    def _step(self, event: Event, came_at: float | None = None) -> None:
        self._machine.receive(event, now=self._loop.time() if came_at is None else came_at)
        self._carry_out()

    def _carry_out(self) -> None:
        """Do what the machine wants. What a command brings about may add commands, which are done after it."""
        if self._running:
            return
        self._running = True
        try:
            while commands := self._machine.commands():
                for command in commands:
                    self._do(command)
        finally:
            self._running = False
        self._arm()

    def _do(self, command: Command) -> None:
        match command:
            case PushAudio():
                self._hear(command)
            case TranscriptEvent():
                self._publish(command)
            case OpenSession():
                self._watchdog.started(now=self._loop.time())
                self._open_session(command)
            case NoteSpeech(speaking, sample, is_last):
                if self._session is not None:
                    self._session.note_speech(speaking, sample, is_last=is_last)
                self._notify_agent(command)
            case CloseSession():
                self._leave()
                self._notify_agent(command)
                self._close_fast_path()
                self._close_task = self._loop.create_task(self._close_session())
            case CloseSocket(code, reason):
                self._leave()
                self._watchdog.closed()
                self._log.warning("closing the socket: %s (code %d)", one_line(reason[:MAX_LOG_CHARS]), code)
                self._close_socket(code, reason)
            case Warn(message):
                self._log.warning("%s", one_line(message[:MAX_LOG_CHARS]))
            case AskEndOfTurn():
                self._turn_model.ask(command, self._session)
            case _:
                self._notify_agent(command)

    def _notify_agent(self, command: AgentCommand) -> None:
        if self._agent is not None:
            self._agent.note_command(command)

    @property
    def _log(self) -> CallLogger:
        return call_logger(log.name, self.key)

    def _arm(self) -> None:
        """Keep the one timer at or before the next deadline; an early timer only checks again."""
        due_at, watch_at = self._machine.next_deadline(), self._watchdog.next_deadline()
        if due_at is None or (watch_at is not None and watch_at < due_at):
            due_at = watch_at
        if due_at is None:
            return
        if self._timer is not None:
            if self._timer_at <= due_at:
                return
            self._timer.cancel()
        # Kept here: uvloop's handle of an immediate callback has no due time.
        self._timer_at = due_at
        self._timer = self._loop.call_at(due_at, self._timer_fired, due_at)

    def _timer_fired(self, planned: float) -> None:
        self._timer = None
        # A loop's timer may fire a tick early; without the max it would spin until the deadline.
        now = max(planned, self._loop.time())
        taken_s = self._fast_path.taken_s if self._fast_path is not None else None
        if taken_s is not None:
            self._watchdog.heard(now=taken_s)
        self._machine.handle_deadline(now=now)
        expiry = self._watchdog.poll(now=now)
        if expiry is not None:
            self._expire(expiry)
        self._carry_out()

    def _expire(self, expiry: Expiry) -> None:
        self._metrics.expired_connections[expiry.reason] += 1
        if expiry.reason == "stop":
            self._log.warning("closing the socket: %s (code %d)", expiry.text, expiry.code)
            self._close_socket(expiry.code, expiry.text)
        else:
            self._machine.receive(Refused(expiry.code, expiry.text), now=self._loop.time())

    # --- audio ------------------------------------------------------------------------------------------

    def _hear(self, audio: PushAudio) -> None:
        session = self._session
        if audio.silence_samples:
            self._charge(audio.silence_samples)
        if session is not None:
            if audio.cut_samples:
                session.clock.skipped(audio.cut_samples)
            if audio.silence_samples:
                session.feed_silence(audio.silence_samples)
            session.push_audio(audio.mulaw)
        self._heard_at = self._loop.time()
        rule = self._machine.endpoint_rule
        self._vad_framer.process(rule, audio.silence_samples, audio.mulaw, self._heard_at, self._speech_changed)

    def _charge(self, silence_samples: int) -> None:
        """Filling a gap with silence is work too: it is charged as the messages that are missing."""
        self._budget.spend_short(silence_samples // VAD_FRAME_SAMPLES)
        if self._fast_path is not None:
            self._fast_path.allow(self._budget.messages_left)

    def _carry_audio_of(self, call: CallStarted, session: RecognitionSession) -> None:
        """Payloads are of this stream from now on, in its format."""
        self._decoder = PayloadDecoder(call.audio_format)
        if call.audio_format == AudioFormat():
            self._open_fast_path(call.stream_sid, session)

    def _open_fast_path(self, stream_sid: str, session: RecognitionSession) -> None:
        """From now on ordinary media may come in by the fast path: without an event and a command for each frame."""
        self._fast_path = MediaFastPath(
            stream_sid,
            self._machine.timeline,
            session.audio_input.track,
            self._vad_framer,
            self._machine.endpoint_rule,
            limit_samples=session.audio_input.limit_samples,
            batch_samples=session.batch_samples,
            live=session.live,
            on_batch=session.pump,
            on_speech=self._speech_changed,
        )
        self._fast_path_counted = 0
        self._fast_path.allow(self._budget.messages_left)

    def _close_fast_path(self) -> None:
        fast_path = self._fast_path
        if fast_path is not None:
            fast_path.close()
            self._heard_at = self._last_audio_s()
            self._budget.spend_short(fast_path.messages - self._fast_path_counted)
            self._fast_path = None

    def _last_audio_s(self) -> float:
        """When the last audio arrived, by either path; before the first, when the call began."""
        taken_s = self._fast_path.taken_s if self._fast_path is not None else None
        return self._heard_at if taken_s is None else max(self._heard_at, taken_s)

    def _speech_changed(self, change: int) -> None:
        self._machine.speech_changed(change, now=self._loop.time())
        self._carry_out()

    # --- session ------------------------------------------------------------------------------------------

    def _open_session(self, command: OpenSession) -> None:
        self._session = RecognitionSession(
            self._recognizer,
            self._config,
            fallback=self._fallback,
            settings=self._settings,
            on_event=self._session_event,
            rand=self._rand,
            metrics=self._metrics,
            log=call_logger("fastcall.session", self.key),
        )
        self._metrics.calls_started += 1
        self._session.start()
        self._carry_audio_of(command.call, self._session)
        if self._handler is not None:
            self._agent = AgentController(
                self._handler,
                command.call,
                self._socket,
                self._session,
                self._machine,
                publish=self._publish,
                settings=self._settings,
                metrics=self._metrics,
                prompt=self._prompt,
            )

    def _session_event(self, event: SessionEvent) -> None:
        self._call_metrics.note(event)
        self._machine.receive(event, now=self._loop.time())
        self._carry_out()

    async def _close_session(self) -> None:
        try:
            if self._session is not None:
                await self._session.close(CLOSE_TIMEOUT_S)
        finally:
            self._finish()

    # --- what comes out --------------------------------------------------------------------------------------

    def _publish(self, event: TranscriptEvent) -> None:
        call = self._machine.call
        if call is None:
            return
        if self._session is not None:
            self._call_metrics.publish(event, self._session.clock, now=self._loop.time())
        self._sink(self._machine.call_time.placed(event), key=self.key, stream_sid=call.stream_sid)
        if self._agent is not None:
            self._agent.note(event)

    def _finish(self) -> None:
        self._close_fast_path()
        self._leave()
        self.count()
        if self._session is not None and not self._over.done():
            self._metrics.calls_ended += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watchdog.next_deadline() is not None:
            self._arm()  # the peer has yet to close
        self._turn_model.close()
        if self._agent is not None:
            self._agent.finish()
            self._agent = None
        if not self._over.done():
            self._over.set_result(None)
