"""The rules of one call's recognition: which streams there are, what each hears, whose results count, what is settled.

Inputs and ``now`` go in; commands come out; ``next_deadline`` says when to call even if nothing happened.

The *settled end* is where the last accepted final ends: audio before it is settled, audio after it is kept. One stream
is *active*: only its finals are accepted, so each sample of the call is settled once, by one stream. A new active
stream hears everything after the settled end, replayed if need be, so the end of a stream loses nothing. At a certain
age, in a pause, or for words that the active stream dropped, the next one becomes active while the old one *drains*:
its interims are used until the new one has caught up. ::

    streams             | means                              | next
    --------------------+------------------------------------+------------------------------------------------
    active              | its results count                  | age, pause, doubt: active and draining
                        |                                    | limit, model: the next active one, at once
                        |                                    | end, stall: waiting
    active and draining | so do the older one's interims     | caught up: active
    waiting             | back-off, then the shared breaker  | deadline: active, in an outage until it answers
    none                | no stream can succeed: failed      | -

    session   | means                                        | next
    ----------+----------------------------------------------+-----------------------------------------------
    open      | audio comes                                  | close requested: closing
    closing   | the streams return the rest                  | they have, or cannot: settling
    settling  | the fallback answers what it was asked       | it has: over
    over      | inputs are ignored                           | -

In ``closing`` and ``settling`` a time-out leads to ``over``: then what is known counts. During an outage, and if no
stream can succeed, the fallback recognizes utterances, and settles them as finals do (``FallbackRule``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS, SessionClosed, SessionFailed, SessionRotated, SessionStarted
from fastcall.ports import ProviderState, StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.dropped_interims import ReopenLimit
from fastcall.recognition.fallback_requests import FallbackRequests
from fastcall.recognition.inputs import (
    AudioArrived,
    AudioEvicted,
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
    ResultsReceived,
    SessionEvent,
    SpeechChanged,
    StreamEnded,
    UtteranceChanged,
)
from fastcall.recognition.rotation import ANSWER_S, PAUSE_S, PauseRule, RotationPlan
from fastcall.recognition.settlement import Settlement
from fastcall.recognition.status_policy import LAST_MODEL, Action, Outcome, outcome_of
from fastcall.recognition.stream_health import StreamHealth
from fastcall.recognition.stream_state import StreamState
from fastcall.retry import Backoff
from fastcall.settings import Settings

__all__ = ["RecognitionMachine"]

MIN_WATCH_S = 0.1
# While closing, attempts do not wait longer, because the time is limited.
CLOSING_BACKOFF_S = 0.5
# A working recognizer returns the rest within this time after a half-close.
CLOSING_ANSWER_S = 1.5
# An interim that ends this close to the end of speech has its words.
COVER_SAMPLES = 300 * SAMPLES_PER_MS
NEVER = float("inf")


class RecognitionMachine:
    """One call's recognition. Pure; one thread.

    :param audio: the call's audio; the machine shortens it as it is settled
    :param provider: what all calls of a recognizer know of it; None: the fallback recognizes every utterance
    :param fallback: the ``source`` of the fallback's results; None: there is none
    :param rand: random numbers in [0, 1), for jitter
    """

    def __init__(
        self,
        audio: ReplayBuffer,
        config: StreamConfig,
        settings: Settings,
        *,
        provider: ProviderState | None,
        fallback: str | None,
        rand: Callable[[], float],
    ) -> None:
        self._audio = audio
        self._config = config
        self._settings = settings
        self._provider = provider
        self._rand = rand
        self._now = 0.0
        self._quiet_to = 0  # nobody speaks before this, and nothing is pending
        self._commands: list[RecognitionCommand] = []
        self._state: Literal["open", "closing", "settling", "over"] = "open"
        self.outage: SessionFailed | None = None
        """Why there are no results at the moment."""
        self.failure: SessionFailed | None = None
        """Why there will be none any more."""
        self._active: StreamState | None = None
        self._draining: StreamState | None = None
        self._draining_result_at = 0.0
        self._watch_at = self._retry_at = self._reopen_at = NEVER
        self._has_slot = False  # whether the breaker has assigned the next attempt its time
        self._backoff = Backoff()
        self._reopen_limit = ReopenLimit()
        self._has_reopened = False  # whether another stream was tried for the rest of the call
        self._has_reported_the_rest = False
        limit_samples = int(settings.stt_replay_s * SAMPLE_RATE_HZ)
        self._fallback = FallbackRequests(audio, fallback, limit_samples=limit_samples) if fallback else None
        self._source = provider.source if provider is not None else fallback or ""
        self._settlement = Settlement(self._source, self._fallback, self._commands)
        self._known = self._settlement.known
        self._pauses = PauseRule()
        self._health = StreamHealth(self._known, audio)

    # --- for the driver -------------------------------------------------------------------------------

    @property
    def settled_end(self) -> int:
        """Where the last accepted final ends: no later result changes what was said before it."""
        return self._settlement.end

    @property
    def active(self) -> StreamState | None:
        """The stream whose finals are accepted; None while there is none."""
        return self._active

    @property
    def wants_audio(self) -> bool:
        """Whether to report ``AudioArrived``."""
        return self._fallback is not None and self._fallback.is_needed

    def commands(self) -> list[RecognitionCommand]:
        """What is to be done, in order; each is returned once."""
        commands = self._commands.copy()
        self._commands.clear()  # the settlement has the same list
        return commands

    def receive(self, event: RecognitionInput, *, now: float) -> None:
        """Something happened."""
        if self._state == "over":
            return
        self._now = now
        match event:
            case ResultsReceived(stream, results):
                self._receive_results(stream, results)
            case AudioArrived():
                self._poll_fallback()
            case SpeechChanged(is_speaking, sample):
                self._pauses.note_speech(is_speaking, sample, now=now)
                self._health.note_speech(is_speaking, sample, now=now)
            case UtteranceChanged():
                self._change_utterance(event)
            case StreamEnded(stream, end):
                self._end_stream(stream, end)
            case AudioEvicted(stream):
                self._evict(stream)
            case FallbackAnswered() | FallbackFailed():
                self._take_answer(event)
            case Opened():
                self._begin()
            case CloseRequested():
                self._close()
            case CloseTimedOut(timeout_s):
                self._report_unsettled(timeout_s)
                self._conclude()
        self._end_step()

    def next_deadline(self) -> float | None:
        """When to call ``handle_deadline``, if nothing happens before; None: not by time alone."""
        if self._state == "over":
            return None
        ask_at = self._fallback.next_deadline() if self._fallback is not None else None
        due_at = min(self._watch_at, self._retry_at, self._reopen_at, NEVER if ask_at is None else ask_at)
        return None if due_at == NEVER else due_at

    def handle_deadline(self, *, now: float) -> None:
        """Do what is due."""
        if self._state == "over":
            return
        self._now = now
        if now >= self._watch_at:
            self._watch()
        if now >= self._retry_at:
            self._retry_at = NEVER
            self._try_open()
        if now >= self._reopen_at:
            self._reopen_at_the_end()
        self._poll_fallback()
        self._end_step()

    # --- begin and end --------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._emit(SessionStarted(self._source))
        if self._provider is None:
            self._note_trouble()
        else:
            self._open()
            self._watch()

    def _close(self) -> None:
        """No more audio comes: wait for the streams, then for the fallback."""
        if self._state != "open":
            return
        self._state = "closing"
        self._watch_at = NEVER
        if self._provider is not None and self.failure is None:
            if self._active is not None:
                self._commands.append(FinishStream(self._active))
                self._reopen_at = self._now + CLOSING_ANSWER_S
            elif self._audio.end > self.settled_end:
                self._try_open()  # the last words are worth an attempt out of turn
        if self._active is None and self._retry_at == NEVER:
            self._settle_the_rest()

    def _settle_the_rest(self) -> None:
        """The streams have returned everything, or cannot."""
        if self._state == "closing":
            self._state = "settling"
            if self._fallback is not None:
                self._fallback.finish(now=self._now)
                self._poll_fallback()

    def _end_step(self) -> None:
        """Forget what is settled, but not what the active stream was not sent yet; end what has settled everything."""
        end = max(self.settled_end, self._quiet_to)
        self._audio.forget_before(min(end, self._active.cursor) if self._active is not None else end)
        if self._state == "settling" and (self._fallback is None or not self._fallback.is_waiting):
            self._conclude()

    def _conclude(self) -> None:
        self._cancel_streams()
        self._state = "over"
        if self._fallback is not None:
            self._commands += self._fallback.give_up()
            self._take_texts()
        self._settlement.commit_interim()
        self._emit(SessionClosed())

    def _report_unsettled(self, timeout_s: float) -> None:
        """The call is over before all of its speech was settled."""
        if self._provider is not None and self.outage is None and self._is_unsettled():
            seconds = (self._audio.end - self.settled_end) / SAMPLE_RATE_HZ
            message = f"no final for the last {seconds:.1f} s of the call within {timeout_s:g} s of its end"
            advice = "The interim text is used for it; words may be missing at the end of this call."
            self._emit(SessionFailed("DEADLINE_EXCEEDED", message, advice))

    def _is_unsettled(self) -> bool:
        """Whether there was, or may have been, speech after the settled end that the active stream may still return."""
        if self._state != "open" and self._active is not None and not self._active.half_closed:
            return True
        return bool(self._known.text) or self._pauses.may_hold_speech(self.settled_end)

    # --- streams --------------------------------------------------------------------------------------

    def _open(self, reason: str = "", *, start: int = 0) -> None:
        """Open a new active stream that hears everything from ``start`` on, but nothing settled.

        :param reason: for the listeners. During an outage it is not reported: only a result shows that it is over
        """
        assert self._provider is not None
        if self._audio.lost_to > self.settled_end:
            self._settlement.commit_interim()  # no stream will hear that audio
        self._known.active_changed()
        settings, now = self._settings, self._now
        self._active = StreamState(
            self._provider.model_for(self._config),
            start=max(start, self.settled_end, self._audio.start),
            plan=RotationPlan.of(
                after_s=settings.stt_rotate_after_s, by_s=settings.stt_rotate_by_s, now=now, spread=self._rand()
            ),
            now=now,
        )
        self._retry_at = NEVER
        self._commands.append(OpenStream(self._active))
        if self._state != "open":
            self._commands.append(FinishStream(self._active))
        if reason and self.outage is None:
            self._emit(SessionRotated(reason))

    def _try_open(self) -> None:
        """An attempt after a failure, when the breaker shared by all calls allows one."""
        assert self._provider is not None
        breaker = self._provider.breaker
        wait_s = breaker.wait_s(now=self._now, has_slot=self._has_slot)
        self._has_slot = bool(wait_s) and not breaker.is_open
        if not wait_s:
            self._open()
        else:
            self._retry_at = self._now + (wait_s * (1 + self._rand()) if breaker.is_open else wait_s)

    def _replace_active(self, reason: str, *, start: int) -> None:
        """The next stream becomes active while this one drains."""
        self._release_draining()
        self._draining = self._active
        self._known.handed_over()
        self._open(reason, start=start)

    def _release_draining(self) -> None:
        draining, self._draining = self._draining, None
        if draining is not None:
            self._known.draining_gone()
            self._commands.append(CancelStream(draining))

    def _cancel_streams(self) -> None:
        self._watch_at = self._retry_at = self._reopen_at = NEVER
        active, self._active = self._active, None
        if active is not None:
            self._commands.append(CancelStream(active))
        self._release_draining()

    def _reopen(self) -> bool:
        """The active stream dropped words after the settled end: try another stream for them.

        :return: whether one is tried; not if enough were, or if the audio is not kept
        """
        if may_reopen := self._audio.lost_to <= self.settled_end and self._reopen_limit.take(self.settled_end):
            self._replace_active("words without a final", start=self.settled_end)
        return may_reopen

    def _reopen_at_the_end(self) -> None:
        """The active stream should return the rest, but does not: try another stream once, while there is time."""
        self._reopen_at = NEVER
        if self._active is None or self._has_reopened or self._has_reported_the_rest:
            return
        if not self._active.half_closed:
            self._reopen_at = self._now + CLOSING_BACKOFF_S
        elif self._is_unsettled():
            self._has_reopened = True
            self._replace_active("", start=self.settled_end)

    def _evict(self, stream: StreamState) -> None:
        """If the active stream has heard nothing, words known of the lost audio stay, and it begins after them."""
        if stream is self._active and not stream.map.length_samples and self._audio.lost_to > self.settled_end:
            self._settlement.commit_interim()
            self._known.active_changed()
            stream.position.cursor = self.settled_end

    # --- the clock ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """The active stream's age and health."""
        if self._active is not None:
            self._check_active(self._active)
        if self.failure is None and self._state == "open":
            next_at = self._now + PAUSE_S
            if self._active is not None:
                next_at = min(next_at, self._active.plan.next_deadline(now=self._now))
            self._watch_at = max(next_at, self._now + MIN_WATCH_S)

    def _check_active(self, active: StreamState) -> None:
        now, health = self._now, self._health
        lack = health.lack_of_words(active, now=now)
        if lack is not None:
            self._emit(lack)
        trouble = health.trouble_with(active, now=now)
        if trouble:
            self._commands.append(CancelStream(active))
            self._end_stream(active, StreamEnd("DEADLINE_EXCEEDED", trouble))
            return
        if health.is_proven(active, now=now):
            self._note_recovery()
        if active.caught_up_since is not None:
            self._check_promotion(active, active.caught_up_since)
        pause = None
        if not self._known.text:
            pause = self._pauses.pause_start(
                settled_end=self.settled_end, call_end=self._audio.end, caught_up_since=active.caught_up_since, now=now
            )
        if pause is not None:
            self._quiet_to = pause
        if active.plan.is_due(now=now, in_pause=False):
            self._replace_active("age", start=self.settled_end)
        elif pause is not None and active.plan.is_due(now=now, in_pause=True):
            self._replace_active("pause", start=pause)
        elif health.is_in_doubt(active, now=now):
            self._replace_active("unanswered", start=self.settled_end)

    def _check_promotion(self, active: StreamState, caught_up_since: float) -> None:
        """Whether the active stream's text replaces the text known before."""
        # The active stream may still return what the draining stream returned just now.
        known_since = max(caught_up_since, self._draining_result_at)
        if self._now - known_since <= ANSWER_S:
            return
        self._release_draining()
        # One without results may be stuck, unless there is nothing to recognize.
        is_answering = (active.answered_at or 0.0) > known_since or not self._pauses.may_hold_speech(self.settled_end)
        if is_answering and self._known.is_behind and self._known.caught_up():
            self._settlement.emit_interim()

    # --- results --------------------------------------------------------------------------------------

    def _receive_results(self, stream: StreamState, results: Sequence[StreamResult]) -> None:
        """A response; those of other streams are ignored."""
        stream.answered_at = self._now
        results = stream.sound(results)
        if stream not in (self._active, self._draining):
            return
        if any(result.text and not result.text.isspace() for result in results):
            self._health.words_came(now=self._now)
        if stream is self._active:
            self._health.answered(now=self._now)
            self._note_recovery()
            self._has_reported_the_rest = stream.half_closed
            self._settlement.note_oddities(stream)
            self._take_results(stream, results)
        elif results and self._settlement.take_draining(stream, results):
            self._draining_result_at = self._now

    def _take_results(self, stream: StreamState, results: Sequence[StreamResult]) -> None:
        """The active stream's: its finals, then the interim, which is everything else that it heard."""
        settlement = self._settlement
        for number, result in enumerate(results):
            if result.is_final and not self._take_final(stream, result):
                settlement.take_draining(stream, results[number:])
                return
        if results:
            settlement.take_interim(stream, None if results[-1].is_final else results[-1])
        if not self._known.text and not self._pauses.may_hold_speech(self.settled_end):
            self._known.nothing_follows()
        active = self._active
        if active is not None and active.caught_up_since is not None and not self._known.is_behind:
            self._release_draining()

    def _take_final(self, stream: StreamState, result: StreamResult) -> bool:
        """Settle a final, unless another stream is tried for words that it dropped.

        :return: whether it was accepted
        """
        dropped = self._settlement.dropped_before(stream, result)
        if dropped and self._reopen():
            self._known.recall([text for text, _ in dropped])
            return False
        self._settlement.take_final(stream, result, dropped)
        return True

    def _emit(self, event: SessionEvent) -> None:
        if isinstance(event, SessionFailed | SessionRotated):
            self._note_trouble()
        self._commands.append(event)

    # --- ends of streams, and failures ----------------------------------------------------------------

    def _end_stream(self, stream: StreamState, end: StreamEnd) -> None:
        """The draining stream's end is ignored, the active stream's is looked up in the table."""
        if stream is self._draining:
            self._draining = None
            self._known.draining_gone()
        if stream is not self._active:
            return
        self._active = None
        if stream.half_closed and end.code == "OK":
            self._finish_streams()
        else:
            outcome = outcome_of(end.code, end.message, model=stream.config.model, has_worked=stream.has_answered)
            self._apply(stream, end, outcome)

    def _finish_streams(self) -> None:
        """The active stream has returned everything. If words have no final, or speech at the end no result, try
        another stream once: providers sometimes end without their last final."""
        is_unreported = not self._has_reported_the_rest and self._pauses.heard_speech(self.settled_end)
        if (self._known.is_unsettled or is_unreported) and not self._has_reopened:
            self._has_reopened = True
            self._open()
        else:
            self._known.caught_up()
            self._settle_the_rest()

    def _apply(self, stream: StreamState, end: StreamEnd, outcome: Outcome) -> None:
        if outcome.action is Action.ROTATE and self._now - stream.opened_at > PAUSE_S:
            self._open("limit")
        elif outcome.action is Action.CHANGE_MODEL:
            self._change_model(stream.config, end, outcome)
        elif outcome.action in (Action.RECONNECT, Action.BACK_OFF, Action.ROTATE):
            self._back_off(stream, end, outcome)
        else:
            self._fail(end, outcome.advice)

    def _change_model(self, refused: StreamConfig, end: StreamEnd, outcome: Outcome) -> None:
        """Another call may have been refused the same model before, while this call's stream was open."""
        assert self._provider is not None
        if self._provider.model_for(refused) == refused:
            self._provider.model_refused(refused)
            why = f"model {refused.model} does not support language {refused.language} ({end.message})"
            advice = f"using the model {LAST_MODEL} from now on. {outcome.advice}"
            self._commands.append(Log("warning", f"{why}: {advice}"))
        self._config = replace(self._config, model=LAST_MODEL)
        self._open("model")

    def _fail(self, end: StreamEnd, advice: str) -> None:
        self.failure = SessionFailed(end.code, end.message, advice)
        self._watch_at = NEVER
        self._release_draining()
        if self._fallback is None:
            self._settlement.commit_interim()
        self._emit(self.failure)
        self._settle_the_rest()

    def _back_off(self, stream: StreamState, end: StreamEnd, outcome: Outcome) -> None:
        assert self._provider is not None
        if self._health.is_proven(stream, now=self._now):
            self._note_recovery()
        else:
            self._provider.breaker.failed(now=self._now)
        wait_s = self._backoff.failed(jitter=self._rand(), quota=outcome.action is Action.BACK_OFF)
        if self._state != "open":
            wait_s = min(wait_s, CLOSING_BACKOFF_S)
        self._retry_at, self._has_slot = self._now + wait_s, False
        if self.outage is None:
            self.outage = SessionFailed(end.code, end.message, outcome.advice, retrying=True)
            self._emit(self.outage)

    def _note_recovery(self) -> None:
        """The active stream gave a result, or lasted: the outage is over."""
        assert self._provider is not None
        self._backoff.succeeded()
        self._provider.breaker.succeeded()
        if self.outage is not None:
            self.outage = None
            self._emit(SessionRotated("reconnect"))

    # --- the fallback ---------------------------------------------------------------------------------

    def _change_utterance(self, event: UtteranceChanged) -> None:
        """At an utterance's end all audio is sent: the next may take long, and the last word would wait for a batch."""
        if not event.begins:
            self._commands.append(FlushAudio())
        if self._fallback is not None:
            self._fallback.change_utterance(event.begins, event.sample, is_last=event.is_last, now=self._now)
            self._poll_fallback()

    def _note_trouble(self) -> None:
        reason = "off" if self._provider is None else "failed" if self.failure else "outage" if self.outage else ""
        if self._fallback is not None and self._fallback.note_trouble(reason, now=self._now):
            self._poll_fallback()

    def _poll_fallback(self) -> None:
        """Settle what it has answered, and send due requests."""
        fallback = self._fallback
        if fallback is not None and fallback.is_needed:
            self._take_texts()  # a final may have settled a span that a text waited for
            fallback.forget_lost()
            self._commands += fallback.due(self.settled_end, now=self._now)
            self._take_texts()  # spans that needed no request

    def _take_answer(self, event: FallbackAnswered | FallbackFailed) -> None:
        if self._fallback is not None:
            if isinstance(event, FallbackAnswered):
                silent = self._fallback.answered(event.number, event.text)
                self._take_texts()
                self._commands += silent
            else:
                self._commands += self._fallback.failed(event.number, event.reason, now=self._now)
                self._take_texts()
            self._poll_fallback()

    def _take_texts(self) -> None:
        """Settle the fallback's texts, in order: no stream will recognize that speech again."""
        fallback = self._fallback
        while fallback is not None and (span := fallback.take_settled(self._has_words_to)) is not None:
            self._settlement.take_span(span, fallback.source)
            if self._provider is not None and self._state != "over":
                self._follow_the_settled_end()

    def _follow_the_settled_end(self) -> None:
        """The fallback moved it: a stream still to get audio before it would recognize it again."""
        active, settled_end = self._active, self.settled_end
        if active is not None and active.start < settled_end:
            self._release_draining()
            self._active = None
            self._commands.append(CancelStream(active))
        if self._state == "closing" and not self._pauses.may_hold_speech(settled_end):
            self._cancel_streams()
            self._known.caught_up()
            self._settle_the_rest()
        elif self._active is None and self._retry_at == NEVER and self.failure is None:
            self._try_open() if self.outage is not None else self._open()

    def _has_words_to(self, sample: int) -> bool:
        """Whether a working recognizer has results up to ``sample``: its final will settle them."""
        known = self._known
        serves = self._provider is not None and self.failure is None and self.outage is None
        return serves and bool(known.text) and known.end_sample >= sample - COVER_SAMPLES
