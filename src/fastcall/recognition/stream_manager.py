"""A session's streams: which one is active, which one is draining, and when the next one is opened.

Make before break: at a certain age, or in a pause, the next stream becomes active while the old one drains and still
hears what is said. After a failure the next stream is opened after a back-off, when the breaker that all calls share
allows it. Each new active stream hears everything after the settled end, so the end of a stream loses nothing; finals
of the draining stream are not accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from fastcall.audio.audio_input import AudioInput
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.call_logger import CallLogger
from fastcall.events import SAMPLES_PER_MS, SessionFailed, SessionRotated
from fastcall.ports import Recognizer, StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.dropped_interims import ReopenLimit
from fastcall.recognition.hypothesis import Hypothesis
from fastcall.recognition.provider_stream import ProviderStream, StreamManagerOwner
from fastcall.recognition.rotation import ANSWER_S, PAUSE_S, PauseRule, RotationPlan
from fastcall.recognition.status_policy import LAST_MODEL, Action, Outcome, outcome_of
from fastcall.recognition.stream_health import StreamHealth
from fastcall.retry import Backoff
from fastcall.settings import Settings

__all__ = ["StreamManager", "StreamManagerOwner"]

MIN_WATCH_S = 0.1
# While closing, attempts do not wait longer, because the time is limited.
CLOSING_BACKOFF_S = 0.5
# A working recognizer returns the rest within this time after a half-close.
CLOSING_ANSWER_S = 1.5


class StreamManager:
    """The streams of one session. Loop thread only; made on the running loop.

    :param hypothesis: the settled end, and the known text after it
    :param audio_input: drained before silence is sent instead of audio
    :param rand: random numbers in [0, 1), for jitter
    :param on_sent: see ``ProviderStream.on_sent``
    """

    def __init__(
        self,
        recognizer: Recognizer,
        config: StreamConfig,
        settings: Settings,
        *,
        replay_buffer: ReplayBuffer,
        audio_input: AudioInput,
        hypothesis: Hypothesis,
        owner: StreamManagerOwner,
        rand: Callable[[], float],
        on_sent: Callable[[int, int], None] | None = None,
        log: CallLogger,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._recognizer = recognizer
        self._config = config
        self._settings = settings
        self._replay_buffer = replay_buffer
        self._audio_input = audio_input
        self._hypothesis = hypothesis
        self._pauses = PauseRule()
        self._health = StreamHealth(hypothesis, replay_buffer)
        self._session = owner
        self._rand = rand
        self._on_sent = on_sent
        self._log = log
        self._active: ProviderStream | None = None
        self._draining: ProviderStream | None = None
        self._draining_result_at = 0.0
        self._backoff = Backoff()
        self._retry_timer: asyncio.TimerHandle | None = None
        self._watch_timer: asyncio.TimerHandle | None = None
        self._is_finishing = False
        self._has_reopened = False
        self._has_reported_the_rest = False
        self._reopen_limit = ReopenLimit()
        self.outage: SessionFailed | None = None
        """Why there are no results at the moment."""
        self.failure: SessionFailed | None = None
        """Why there will be none any more."""

    @property
    def active(self) -> ProviderStream | None:
        """The stream whose finals are accepted; None while there is none."""
        return self._active

    # --- for the session ------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the first stream. Returns at once."""
        self._open()
        self._watch()

    def pump(self) -> None:
        """There is more audio in the replay buffer."""
        for provider_stream in (self._active, self._draining):
            if provider_stream is not None:
                provider_stream.pump()

    def flush(self) -> None:
        """Send everything in the replay buffer, even an incomplete batch."""
        for provider_stream in (self._active, self._draining):
            if provider_stream is not None:
                provider_stream.flush()

    def note_speech(self, speaking: bool, sample: int) -> None:
        """From the endpointer: speech began, or ended, at ``sample``."""
        now = self._loop.time()
        self._pauses.note_speech(speaking, sample, now=now)
        self._health.note_speech(speaking, sample, now=now)

    def forget_before(self, sample: int) -> None:
        """The history is settled up to ``sample``; audio that the active stream has not yet sent is kept."""
        self._replay_buffer.forget_before(min(sample, self._active.cursor if self._active else sample))

    def settled_elsewhere(self) -> None:
        """The fallback moved the settled end: a stream still to get audio before it would recognize it again."""
        active, settled_end = self._active, self._hypothesis.settled_end
        if active is not None and active.start < settled_end:
            self._release_draining()
            self._active = None
            active.cancel()
        if self._is_finishing and not self._pauses.may_hold_speech(settled_end):
            self.stop()
            self._session.stream_manager_finished(complete=True)
        elif self._active is None and self._retry_timer is None and self.failure is None:
            self._try_open() if self.outage is not None else self._open()

    def active_reported(self) -> None:
        """The active stream's response was accepted: end the draining stream once it knows nothing more."""
        if not self._hypothesis.text and not self._pauses.may_hold_speech(self._hypothesis.settled_end):
            self._hypothesis.nothing_follows()
        if self._active is not None and self._active.caught_up_since is not None and not self._hypothesis.is_behind:
            self._release_draining()

    def reopen(self) -> bool:
        """The active stream dropped words after the settled end: try another stream for them.

        :return: whether one is tried; not if enough were, or if the audio is not kept
        """
        settled_end = self._hypothesis.settled_end
        if may_reopen := self._replay_buffer.lost_to <= settled_end and self._reopen_limit.take(settled_end):
            self._rotate("words without a final", start=settled_end)
        return may_reopen

    def finish(self) -> bool:
        """No more audio will come.

        :return: whether to wait for ``stream_manager_finished``
        """
        self._is_finishing = True
        self._cancel_timer(self._watch_timer)
        if self.failure is not None:
            return False
        if self._active is not None:
            self._active.finish()
            self._watch_timer = self._loop.call_later(CLOSING_ANSWER_S, self._reopen_at_the_end)
        elif self._replay_buffer.end > self._hypothesis.settled_end:
            self._cancel_timer(self._retry_timer)
            self._try_open()  # the last words are worth an attempt out of turn
        return self._active is not None or self._retry_timer is not None

    def stop(self) -> None:
        """Cancel all streams; their events are ignored."""
        self._cancel_timer(self._watch_timer)
        self._cancel_timer(self._retry_timer)
        active, self._active = self._active, None
        if active is not None:
            active.cancel()
        self._release_draining()

    # --- streams --------------------------------------------------------------------------------------

    def _open(self, *, start: int | None = None) -> None:
        """Open a new active stream that gets everything from ``start`` on, by default from the settled end."""
        if self._replay_buffer.lost_to > self._hypothesis.settled_end:
            self._session.audio_evicted()
        begin = max(start or 0, self._hypothesis.settled_end)
        settings, now = self._settings, self._loop.time()
        self._hypothesis.active_changed()
        self._active = provider_stream = ProviderStream(
            self._recognizer,
            self._recognizer.model_for(self._config),
            self._replay_buffer,
            self,
            start=max(begin, self._replay_buffer.start),
            plan=RotationPlan.of(
                after_s=settings.stt_rotate_after_s, by_s=settings.stt_rotate_by_s, now=now, spread=self._rand()
            ),
            batch_samples=settings.stt_batch_ms * SAMPLES_PER_MS,
            replay_speed=settings.stt_replay_speed,
        )
        provider_stream.on_sent = self._on_sent
        if self._is_finishing:
            provider_stream.finish()
        else:
            provider_stream.pump()

    def _try_open(self, has_slot: bool = False) -> None:
        """An attempt after a failure, when the breaker shared by all calls allows one."""
        self._retry_timer = None
        breaker = self._recognizer.breaker
        wait_s = breaker.wait_s(now=self._loop.time(), has_slot=has_slot)
        if not wait_s:
            self._open()
        elif breaker.is_open:
            self._retry_timer = self._loop.call_later(wait_s * (1 + self._rand()), self._try_open)
        else:
            self._retry_timer = self._loop.call_later(wait_s, self._try_open, True)

    def _rotate(self, reason: str, *, start: int) -> None:
        self._replace_active(start=start)
        self._emit_rotated(reason)

    def _replace_active(self, *, start: int) -> None:
        """The next stream becomes the active stream; the old one's interims are used until it has caught up."""
        self._release_draining()
        self._draining = self._active
        self._hypothesis.handed_over()
        self._open(start=start)

    def _emit_rotated(self, reason: str) -> None:
        """During an outage a new stream is not reported: only a result shows that the outage is over."""
        if self.outage is None:
            self._session.stream_manager_event(SessionRotated(reason))

    def _release_draining(self) -> None:
        draining, self._draining = self._draining, None
        if draining is not None:
            self._hypothesis.draining_gone()
            draining.cancel()

    # --- the clock ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Keep-alive, and the active stream's age and health."""
        now = self._loop.time()
        next_at = now + PAUSE_S
        for provider_stream in filter(None, (self._active, self._draining)):
            if now >= provider_stream.next_keep_alive():
                self._audio_input.drain()  # an incomplete batch; silence follows it
            provider_stream.keep_alive(now=now)
            next_at = min(next_at, provider_stream.next_keep_alive())
        if self._active is not None:
            self._check_active(self._active, now)
        if self._active is not None:
            next_at = min(next_at, self._active.plan.next_deadline(now=now))
        if self.failure is None:
            self._watch_timer = self._loop.call_at(max(next_at, now + MIN_WATCH_S), self._watch)

    def _check_active(self, active: ProviderStream, now: float) -> None:
        lack = self._health.lack_of_words(active, now=now)
        if lack is not None:
            self._session.stream_manager_event(lack)
        trouble = self._health.trouble_with(active, now=now)
        if trouble:
            active.cancel()
            self.provider_stream_ended(active, StreamEnd("DEADLINE_EXCEEDED", trouble))
            return
        if self._health.is_proven(active, now=now):
            self._note_recovery()
        if active.caught_up_since is not None:
            self._check_promotion(active, active.caught_up_since, now)
        pause = self._pause_start(active, now)
        if pause is not None:
            self.forget_before(pause)
        if active.plan.is_due(now=now, in_pause=False):
            self._rotate("age", start=self._hypothesis.settled_end)
        elif pause is not None and active.plan.is_due(now=now, in_pause=True):
            self._rotate("pause", start=pause)
        elif self._health.is_in_doubt(active, now=now):
            self._rotate("unanswered", start=self._hypothesis.settled_end)

    def _check_promotion(self, active: ProviderStream, caught_up_since: float, now: float) -> None:
        """Whether the active stream's text replaces the text known before."""
        # The active stream may still return what the draining stream returned just now.
        known_since = max(caught_up_since, self._draining_result_at)
        if now - known_since <= ANSWER_S:
            return
        self._release_draining()
        # One without results may be stuck, unless there is nothing to recognize.
        if (active.answered_at or 0.0) > known_since or not self._pauses.may_hold_speech(self._hypothesis.settled_end):
            self._session.active_is_authoritative()

    def _pause_start(self, active: ProviderStream, now: float) -> int | None:
        if self._hypothesis.text:
            return None
        return self._pauses.pause_start(
            settled_end=self._hypothesis.settled_end,
            call_end=self._replay_buffer.end,
            caught_up_since=active.caught_up_since,
            now=now,
        )

    # --- ProviderStreamOwner -------------------------------------------------------------------------------------

    def provider_stream_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> None:
        """A response; those of cancelled streams are ignored."""
        if provider_stream in (self._active, self._draining) and any(result.text.strip() for result in results):
            self._health.words_came(now=self._loop.time())
        if provider_stream is self._active:
            self._health.answered(now=self._loop.time())
            self._note_recovery()
            self._has_reported_the_rest = provider_stream.half_closed
            self._session.active_results(provider_stream, results)
        elif provider_stream is self._draining and self._session.draining_results(provider_stream, results):
            self._draining_result_at = self._loop.time()

    def provider_stream_evicted(self, provider_stream: ProviderStream) -> int:
        """The history overflowed before the stream connected, or accepted audio again."""
        if (
            provider_stream is self._active
            and not provider_stream.map.length_samples
            and self._replay_buffer.lost_to > self._hypothesis.settled_end
        ):
            self._session.audio_evicted()
            self._hypothesis.active_changed()
            return self._hypothesis.settled_end
        return provider_stream.cursor

    def provider_stream_ended(self, provider_stream: ProviderStream, end: StreamEnd) -> None:
        """A stream has ended: the draining one's end is ignored, the active stream's is looked up in the table."""
        if provider_stream is self._draining:
            self._draining = None
            self._hypothesis.draining_gone()
        if provider_stream is not self._active:
            return
        self._active = None
        if provider_stream.half_closed and end.code == "OK":
            self._finished()
        else:
            self._apply(
                provider_stream,
                end,
                outcome_of(
                    end.code, end.message, model=provider_stream.config.model, has_worked=provider_stream.has_answered
                ),
            )

    def _finished(self) -> None:
        """The active stream has returned everything. If words have no final, or speech at the end no result, try
        another stream once: providers sometimes end without their last final."""
        is_unreported = not self._has_reported_the_rest and self._pauses.heard_speech(self._hypothesis.settled_end)
        if (self._hypothesis.is_unsettled or is_unreported) and not self._has_reopened:
            self._has_reopened = True
            self._open()
        else:
            self._session.stream_manager_finished(complete=True)

    def _reopen_at_the_end(self) -> None:
        """The active stream should return the rest, but does not: try another stream once, while there is time."""
        if self._active is None or self._has_reopened or self._has_reported_the_rest:
            return
        if not self._active.half_closed:
            self._watch_timer = self._loop.call_later(CLOSING_BACKOFF_S, self._reopen_at_the_end)
        elif self.is_unsettled():
            self._has_reopened = True
            self._replace_active(start=self._hypothesis.settled_end)

    def is_unsettled(self) -> bool:
        """Whether there was, or may have been, speech after the settled end that the active stream may still return."""
        if self._is_finishing and self._active is not None and not self._active.half_closed:
            return True
        return bool(self._hypothesis.text) or self._pauses.may_hold_speech(self._hypothesis.settled_end)

    # --- failures -------------------------------------------------------------------------------------

    def _apply(self, provider_stream: ProviderStream, end: StreamEnd, outcome: Outcome) -> None:
        if outcome.action is Action.ROTATE and self._loop.time() - provider_stream.opened_at > PAUSE_S:
            self._open()
            self._emit_rotated("limit")
        elif outcome.action is Action.CHANGE_MODEL:
            self._change_model(provider_stream.config, end, outcome)
        elif outcome.action in (Action.RECONNECT, Action.BACK_OFF, Action.ROTATE):
            self._back_off(provider_stream, end, outcome)
        else:
            self._fail(end, outcome.advice)

    def _change_model(self, refused: StreamConfig, end: StreamEnd, outcome: Outcome) -> None:
        """Another call may have been refused the same model before, while this call's stream was open."""
        if self._recognizer.model_for(refused) == refused:
            self._recognizer.model_refused(refused)
            self._log.warning(
                "model %s does not support language %s (%s): using the model %s from now on. %s",
                *(refused.model, refused.language, end.message, LAST_MODEL, outcome.advice),
            )
        self._config = replace(self._config, model=LAST_MODEL)
        self._open()
        self._emit_rotated("model")

    def _fail(self, end: StreamEnd, advice: str) -> None:
        self.failure = SessionFailed(end.code, end.message, advice)
        self._cancel_timer(self._watch_timer)
        self._release_draining()
        self._session.stream_manager_finished(complete=False)

    def _back_off(self, provider_stream: ProviderStream, end: StreamEnd, outcome: Outcome) -> None:
        now = self._loop.time()
        if self._health.is_proven(provider_stream, now=now):
            self._note_recovery()
        else:
            self._recognizer.breaker.failed(now=now)
        wait_s = self._backoff.failed(jitter=self._rand(), quota=outcome.action is Action.BACK_OFF)
        if self._is_finishing:
            wait_s = min(wait_s, CLOSING_BACKOFF_S)
        self._retry_timer = self._loop.call_later(wait_s, self._try_open)
        # Reported last: a listener may settle the fallback's text, and must see that an attempt is planned.
        if self.outage is None:
            self.outage = SessionFailed(end.code, end.message, outcome.advice, retrying=True)
            self._session.stream_manager_event(self.outage)

    def _note_recovery(self) -> None:
        """The active stream gave a result, or lasted: the outage is over."""
        self._backoff.succeeded()
        self._recognizer.breaker.succeeded()
        if self.outage is not None:
            self.outage = None
            self._session.stream_manager_event(SessionRotated("reconnect"))

    def _cancel_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
        if timer is self._retry_timer:
            self._retry_timer = None
