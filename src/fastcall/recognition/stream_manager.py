"""Manages a session's streams: which one owns the call, which one it replaces, when the next is opened.

Make before break: because of age or in a pause, the next stream is opened while the old one, then *outgoing*, still
recognizes current speech. After a failure the next is opened after a back-off, if the breaker shared by all calls
allows it. Each new owner gets everything after F, so that the end of a stream loses nothing; the old one's finals are
not accepted any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from fastcall.audio.audio_input import AudioInput
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.events import SAMPLES_PER_MS, SessionFailed, SessionRotated
from fastcall.ports import Recognizer, StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.dropped_interims import AskLimit
from fastcall.recognition.hypothesis import Hypothesis
from fastcall.recognition.provider_stream import ProviderStream, StreamManagerOwner
from fastcall.recognition.rotation import ANSWER_S, PAUSE_S, PauseRule, RotationPlan
from fastcall.recognition.status_policy import LAST_MODEL, Action, Outcome, outcome_of
from fastcall.recognition.stream_health import StreamHealth
from fastcall.retry import Backoff
from fastcall.settings import Settings

__all__ = ["StreamManager", "StreamManagerOwner"]

log = logging.getLogger("fastcall.session")

MIN_WATCH_S = 0.1
# While closing, attempts do not wait longer, because the time is limited.
CLOSING_BACKOFF_S = 0.5
# A working recognizer returns the rest within this time after a half-close.
CLOSING_ANSWER_S = 1.5


class StreamManager:
    """The streams of one session. Loop thread only; made on the running loop.

    :param hypothesis: F, and the known text after it
    :param intake: drained before silence is sent instead of audio
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
        self._owner: ProviderStream | None = None
        self._outgoing: ProviderStream | None = None
        self._outgoing_told_at = 0.0
        self._backoff = Backoff()
        self._retry_timer: asyncio.TimerHandle | None = None
        self._watch_timer: asyncio.TimerHandle | None = None
        self._is_finishing = False
        self._asked_again = False
        self._has_told_the_rest = False
        self._ask_limit = AskLimit()
        self.outage: SessionFailed | None = None
        """Why there are no results at the moment."""
        self.failure: SessionFailed | None = None
        """Why there will be none any more."""

    @property
    def owner(self) -> ProviderStream | None:
        """The stream whose finals are accepted; None while there is none."""
        return self._owner

    # --- for the session ------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the first stream. Returns at once."""
        self._open()
        self._watch()

    def pump(self) -> None:
        """There is more audio in the history."""
        for provider_stream in (self._owner, self._outgoing):
            if provider_stream is not None:
                provider_stream.pump()

    def flush(self) -> None:
        """Send everything in the history, even an incomplete batch."""
        for provider_stream in (self._owner, self._outgoing):
            if provider_stream is not None:
                provider_stream.flush()

    def note_speech(self, speaking: bool, sample: int) -> None:
        """From the endpointer: speech began, or ended, at ``sample``."""
        now = self._loop.time()
        self._pauses.note_speech(speaking, sample, now=now)
        self._health.note_speech(speaking, sample, now=now)

    def forget_before(self, sample: int) -> None:
        """The history is settled up to ``sample``; audio that the owner has not yet sent is kept."""
        self._replay_buffer.forget_before(min(sample, self._owner.cursor if self._owner else sample))

    def settled_elsewhere(self) -> None:
        """The fallback moved F: an owner that is still to get audio before F would recognize it again."""
        owner, final_end = self._owner, self._hypothesis.final_end
        if owner is not None and owner.start < final_end:
            self._release_outgoing()
            self._owner = None
            owner.cancel()
        if self._is_finishing and not self._pauses.may_hold_speech(final_end):
            self.stop()
            self._session.stream_manager_finished(complete=True)
        elif self._owner is None and self._retry_timer is None and self.failure is None:
            self._try_open() if self.outage is not None else self._open()

    def owner_told(self) -> None:
        """The owner's response was accepted: end the outgoing stream once it knows nothing more."""
        if not self._hypothesis.text and not self._pauses.may_hold_speech(self._hypothesis.final_end):
            self._hypothesis.nothing_follows()
        if self._owner is not None and self._owner.abreast_since is not None and not self._hypothesis.is_behind:
            self._release_outgoing()

    def ask_another(self) -> bool:
        """The owner dropped words after F: try another stream for them.

        :return: whether one is tried; not if enough were, or if the audio is not kept
        """
        final_end = self._hypothesis.final_end
        if may_ask := self._replay_buffer.lost_to <= final_end and self._ask_limit.take(final_end):
            self._rotate("words without a final", start=final_end)
        return may_ask

    def finish(self) -> bool:
        """No more audio will come.

        :return: whether to wait for ``relay_finished``
        """
        self._is_finishing = True
        self._stop(self._watch_timer)
        if self.failure is not None:
            return False
        if self._owner is not None:
            self._owner.finish()
            self._watch_timer = self._loop.call_later(CLOSING_ANSWER_S, self._ask_at_the_end)
        elif self._replay_buffer.end > self._hypothesis.final_end:
            self._stop(self._retry_timer)
            self._try_open()  # the last words are worth an attempt out of turn
        return self._owner is not None or self._retry_timer is not None

    def stop(self) -> None:
        """Cancel all streams; their events are ignored."""
        self._stop(self._watch_timer)
        self._stop(self._retry_timer)
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
        self._release_outgoing()

    # --- streams --------------------------------------------------------------------------------------

    def _open(self, *, start: int | None = None) -> None:
        """A new owner that gets everything from ``start`` (by default F) on."""
        if self._replay_buffer.lost_to > self._hypothesis.final_end:
            self._session.audio_outgrew()
        begin = max(start or 0, self._hypothesis.final_end)
        settings, now = self._settings, self._loop.time()
        self._hypothesis.owner_changed()
        self._owner = provider_stream = ProviderStream(
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
        self._hand_over(start=start)
        self._tell_rotated(reason)

    def _hand_over(self, *, start: int) -> None:
        """The next stream becomes the owner; the old one's interims are used until it has caught up."""
        self._release_outgoing()
        self._outgoing = self._owner
        self._hypothesis.handed_over()
        self._open(start=start)

    def _tell_rotated(self, reason: str) -> None:
        """During an outage a new stream is not reported: only a result shows that the outage is over."""
        if self.outage is None:
            self._session.stream_manager_tells(SessionRotated(reason))

    def _release_outgoing(self) -> None:
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is not None:
            self._hypothesis.outgoing_gone()
            outgoing.cancel()

    # --- the clock ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Keep-alive, and the owner's age and health."""
        now = self._loop.time()
        next_at = now + PAUSE_S
        for provider_stream in filter(None, (self._owner, self._outgoing)):
            if now >= provider_stream.next_keep_alive():
                self._audio_input.drain()  # an incomplete batch; silence follows it
            provider_stream.keep_alive(now=now)
            next_at = min(next_at, provider_stream.next_keep_alive())
        if self._owner is not None:
            self._look_after(self._owner, now)
        if self._owner is not None:
            next_at = min(next_at, self._owner.plan.next_deadline(now=now))
        if self.failure is None:
            self._watch_timer = self._loop.call_at(max(next_at, now + MIN_WATCH_S), self._watch)

    def _look_after(self, owner: ProviderStream, now: float) -> None:
        lack = self._health.lack_of_words(owner, now=now)
        if lack is not None:
            self._session.stream_manager_tells(lack)
        trouble = self._health.trouble_with(owner, now=now)
        if trouble:
            owner.cancel()
            self.provider_stream_ended(owner, StreamEnd("DEADLINE_EXCEEDED", trouble))
            return
        if self._health.is_proven(owner, now=now):
            self._works()
        if owner.abreast_since is not None:
            self._weigh(owner, owner.abreast_since, now)
        pause = self._pause_start(owner, now)
        if pause is not None:
            self.forget_before(pause)
        if owner.plan.is_due(now=now, in_pause=False):
            self._rotate("age", start=self._hypothesis.final_end)
        elif pause is not None and owner.plan.is_due(now=now, in_pause=True):
            self._rotate("pause", start=pause)
        elif self._health.is_in_doubt(owner, now=now):
            self._rotate("unanswered", start=self._hypothesis.final_end)

    def _weigh(self, owner: ProviderStream, abreast_since: float, now: float) -> None:
        """Whether the owner's text replaces the text known before."""
        # The owner may still return what the outgoing stream returned just now.
        known_since = max(abreast_since, self._outgoing_told_at)
        if now - known_since <= ANSWER_S:
            return
        self._release_outgoing()
        # One without results may be stuck, unless there is nothing to recognize.
        if (owner.answered_at or 0.0) > known_since or not self._pauses.may_hold_speech(self._hypothesis.final_end):
            self._session.owner_is_authoritative()

    def _pause_start(self, owner: ProviderStream, now: float) -> int | None:
        if self._hypothesis.text:
            return None
        return self._pauses.pause_start(
            final_end=self._hypothesis.final_end,
            call_end=self._replay_buffer.end,
            abreast_since=owner.abreast_since,
            now=now,
        )

    # --- ProviderStreamOwner -------------------------------------------------------------------------------------

    def provider_stream_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> None:
        """A response; those of cancelled streams are ignored."""
        if provider_stream in (self._owner, self._outgoing) and any(result.text.strip() for result in results):
            self._health.words_came(now=self._loop.time())
        if provider_stream is self._owner:
            self._health.answered(now=self._loop.time())
            self._works()
            self._has_told_the_rest = provider_stream.half_closed
            self._session.owner_results(provider_stream, results)
        elif provider_stream is self._outgoing and self._session.outgoing_results(provider_stream, results):
            self._outgoing_told_at = self._loop.time()

    def provider_stream_outgrown(self, provider_stream: ProviderStream) -> int:
        """The history overflowed before the stream connected, or accepted audio again."""
        if (
            provider_stream is self._owner
            and not provider_stream.map.length_samples
            and self._replay_buffer.lost_to > self._hypothesis.final_end
        ):
            self._session.audio_outgrew()
            self._hypothesis.owner_changed()
            return self._hypothesis.final_end
        return provider_stream.cursor

    def provider_stream_ended(self, provider_stream: ProviderStream, end: StreamEnd) -> None:
        """A stream has ended: the outgoing one's end is ignored, the owner's is looked up in the table."""
        if provider_stream is self._outgoing:
            self._outgoing = None
            self._hypothesis.outgoing_gone()
        if provider_stream is not self._owner:
            return
        self._owner = None
        if provider_stream.half_closed and end.code == "OK":
            self._finished()
        else:
            self._act(
                provider_stream,
                end,
                outcome_of(
                    end.code, end.message, model=provider_stream.config.model, has_worked=provider_stream.has_answered
                ),
            )

    def _finished(self) -> None:
        """The owner has returned everything. If words have no final, or speech at the end no result, try another stream
        once: providers sometimes end without their last final."""
        untold = not self._has_told_the_rest and self._pauses.heard_speech(self._hypothesis.final_end)
        if (self._hypothesis.is_unsettled or untold) and not self._asked_again:
            self._asked_again = True
            self._open()
        else:
            self._session.stream_manager_finished(complete=True)

    def _ask_at_the_end(self) -> None:
        """The owner should return the rest, but does not: try another stream once, while there is time."""
        if self._owner is None or self._asked_again or self._has_told_the_rest:
            return
        if not self._owner.half_closed:
            self._watch_timer = self._loop.call_later(CLOSING_BACKOFF_S, self._ask_at_the_end)
        elif self.is_unsettled():
            self._asked_again = True
            self._hand_over(start=self._hypothesis.final_end)

    def is_unsettled(self) -> bool:
        """Whether there was, or may have been, speech after F that the owner may still return."""
        if self._is_finishing and self._owner is not None and not self._owner.half_closed:
            return True
        return bool(self._hypothesis.text) or self._pauses.may_hold_speech(self._hypothesis.final_end)

    # --- failures -------------------------------------------------------------------------------------

    def _act(self, provider_stream: ProviderStream, end: StreamEnd, outcome: Outcome) -> None:
        if outcome.action is Action.ROTATE and self._loop.time() - provider_stream.opened_at > PAUSE_S:
            self._open()
            self._tell_rotated("limit")
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
            log.warning(
                "model %s does not support language %s (%s): using the model %s from now on. %s",
                *(refused.model, refused.language, end.message, LAST_MODEL, outcome.advice),
            )
        self._config = replace(self._config, model=LAST_MODEL)
        self._open()
        self._tell_rotated("model")

    def _fail(self, end: StreamEnd, advice: str) -> None:
        self.failure = SessionFailed(end.code, end.message, advice)
        self._stop(self._watch_timer)
        self._release_outgoing()
        self._session.stream_manager_finished(complete=False)

    def _back_off(self, provider_stream: ProviderStream, end: StreamEnd, outcome: Outcome) -> None:
        now = self._loop.time()
        if self._health.is_proven(provider_stream, now=now):
            self._works()
        else:
            self._recognizer.breaker.failed(now=now)
        wait_s = self._backoff.failed(jitter=self._rand(), quota=outcome.action is Action.BACK_OFF)
        if self._is_finishing:
            wait_s = min(wait_s, CLOSING_BACKOFF_S)
        self._retry_timer = self._loop.call_later(wait_s, self._try_open)
        # Reported last: a listener may settle the fallback's text, and must see that an attempt is planned.
        if self.outage is None:
            self.outage = SessionFailed(end.code, end.message, outcome.advice, retrying=True)
            self._session.stream_manager_tells(self.outage)

    def _works(self) -> None:
        """The owner gave a result, or lasted: the outage is over."""
        self._backoff.succeeded()
        self._recognizer.breaker.succeeded()
        if self.outage is not None:
            self.outage = None
            self._session.stream_manager_tells(SessionRotated("reconnect"))

    def _stop(self, timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
        if timer is self._retry_timer:
            self._retry_timer = None
