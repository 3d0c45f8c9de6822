"""One call's recognition, on an event loop: one session to its caller, as many streams of the provider's as it takes.

Strategy: the producer of audio only writes into the ring. The loop moves what is there into the call's history, and
legs (``StreamLeg``) send from the history, each from a cursor of its own. F is the end of the last final that was
accepted: what was said before it is settled, what was said after it is kept. A new leg owns everything after F and
hears it, in replay if need be; only the owner's finals are taken, so each sample of the call is settled once, by one
stream. Nothing here waits, and there is no task or thread of a call's own.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Literal

from fastcall.drivers.intake import AudioIntake
from fastcall.drivers.leg import StreamLeg
from fastcall.drivers.partials import PartialTimer
from fastcall.errors import ClosedError
from fastcall.events import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_MS,
    RecognitionEvent,
    SessionClosed,
    SessionFailed,
    SessionRotated,
    SessionStarted,
    Word,
)
from fastcall.ports import Recognizer, StreamConfig, StreamEnd, StreamResult
from fastcall.rules.history import AudioHistory
from fastcall.rules.outcomes import Action, Outcome, outcome_of
from fastcall.rules.rollover import PAUSE_S, Backoff, PauseRule, RotationPlan
from fastcall.settings import Settings

__all__ = ["RecognitionSession", "SessionEvent"]

SessionEvent = SessionStarted | SessionFailed | SessionRotated | SessionClosed | RecognitionEvent

log = logging.getLogger("fastcall.session")

MIN_WATCH_S = 0.1
# A stream that lived so long before it broke was a working one: its end is a new failure, not another of the last.
PROVEN_S = 5.0


class RecognitionSession:
    """The one recognition session of a call. All methods but ``feed`` and ``feed_silence`` belong to the loop's thread.

    :param recognizer: who opens streams
    :param config: language and model
    :param settings: batch, debounce, rotation, replay
    :param on_event: called on the loop with every event, interims undebounced and in call time
    :param on_partial: called on the loop with the text since the last final, debounced: never unchanged, never
        closer than ``STT_PARTIAL_DEBOUNCE_MS``, never stale
    :param on_final: called on the loop with the text of each final
    :param encoding: what is fed: ``mulaw`` (one byte a sample) or ``linear16`` (two, little-endian); 8 kHz mono
    :param rand: random numbers in [0, 1), for jitter
    """

    def __init__(
        self,
        recognizer: Recognizer,
        config: StreamConfig,
        *,
        settings: Settings | None = None,
        on_event: Callable[[SessionEvent], None] | None = None,
        on_partial: Callable[[str], None] | None = None,
        on_final: Callable[[str], None] | None = None,
        encoding: Literal["mulaw", "linear16"] = "mulaw",
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._recognizer = recognizer
        self._config = config
        self._settings = settings or Settings()
        self._listeners = [on_event] if on_event else []
        self._on_final = on_final
        self._rand = rand
        sample_bytes = 1 if encoding == "mulaw" else 2
        self._history = AudioHistory(
            sample_bytes=sample_bytes, limit_samples=int(self._settings.stt_replay_s * SAMPLE_RATE_HZ)
        )
        self._intake = AudioIntake(self._history, sample_bytes=sample_bytes)
        self._batch_samples = self._settings.stt_batch_ms * SAMPLES_PER_MS
        self._partials = PartialTimer(self._settings.partial_debounce_s, on_partial)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner: StreamLeg | None = None
        self._outgoing: StreamLeg | None = None
        self._outgoing_text = ""
        self._final_end = 0
        self._interim = ""
        self._interim_end = 0
        self._pauses = PauseRule()
        self._backoff = Backoff()
        self._retry_timer: asyncio.TimerHandle | None = None
        self._watch_timer: asyncio.TimerHandle | None = None
        self._outage: SessionFailed | None = None
        self._failure: SessionFailed | None = None
        self._closing = False
        self._drained: asyncio.Future[None] | None = None

    # --- audio in -----------------------------------------------------------------------------------

    @property
    def call_samples(self) -> int:
        """The session's call time: samples that were fed so far, dropped ones included. Any thread."""
        return self._intake.fed_samples

    @property
    def dropped_samples(self) -> int:
        """Samples that did not fit into the ring and are sent as silence. Any thread."""
        return self._intake.dropped_samples

    @property
    def lost_samples(self) -> int:
        """Samples that outgrew the replay bound unsettled."""
        return self._history.lost_samples

    @property
    def failure(self) -> SessionFailed | None:
        """Why the session gives no results (for now, or any more), or None. Any thread."""
        return self._failure or self._outage

    def feed(self, audio: bytes) -> bool:
        """Take audio; never blocks, and a full ring drops the newest. One producer thread, which may be any.

        :param audio: in the session's encoding, any length in whole samples
        :return: whether a batch is due, so that the loop should ``pump``
        :raises ClosedError: the session is closing
        :raises ValueError: not a whole number of samples
        """
        if self._closing:
            raise ClosedError("the session is closed; it takes no more audio")
        self._intake.feed(audio)
        return self._intake.waiting_samples >= self._batch_samples

    def feed_silence(self, samples: int) -> bool:
        """The same for ``samples`` samples of silence: a gap in what came from the telephone."""
        self._intake.feed_silence(samples)
        return self._intake.waiting_samples >= self._batch_samples

    def push_audio(self, audio: bytes) -> None:
        """``feed`` and, if a batch is due, ``pump``: for producers on the loop's own thread."""
        if self.feed(audio):
            self.pump()

    def pump(self) -> None:
        """Send what waits. Loop thread."""
        self._intake.drain()
        for leg in filter(None, (self._owner, self._outgoing)):
            leg.pump()

    def note_speech(self, speaking: bool, sample: int) -> None:
        """The endpointer says: someone speaks since, or is silent since ``sample``. Rotations wait for pauses."""
        if self._loop is not None:
            self._pauses.note_speech(speaking, sample, now=self._loop.time())

    # --- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the first stream. Returns at once; a recogniser that cannot be reached comes as ``SessionFailed``."""
        self._loop = asyncio.get_running_loop()
        self._drained = self._loop.create_future()
        self._tell(SessionStarted(self._recognizer.source))
        self._open()
        self._watch()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Send the rest, half-close, collect finals that still come, commit the remaining interim.

        :param timeout_s: after so long the stream is given up; what was recognised by then counts
        """
        if self._closing or self._drained is None:
            return
        self._closing = True
        self._intake.drain()
        if self._owner is None and self._failure is None:
            self._stop_timer("_retry_timer")
            self._try_open()  # the last words are worth an attempt out of turn
        if self._owner is not None:
            self._owner.finish()
            try:
                async with asyncio.timeout(timeout_s):
                    await asyncio.shield(self._drained)
            except TimeoutError:
                log.info("gave up waiting for the last finals after %g s", timeout_s)
        for leg in filter(None, (self._owner, self._outgoing)):
            leg.cancel()
        self._stop_timer("_retry_timer")
        self._stop_timer("_watch_timer")
        self._commit_interim()
        self._partials.stop()
        self._tell(SessionClosed())

    def add_listener(self, listener: Callable[[SessionEvent], None]) -> None:
        """Also tell ``listener`` every event. Loop thread."""
        self._listeners.append(listener)

    # --- streams --------------------------------------------------------------------------------------

    def _open(self, *, start: int | None = None) -> None:
        """A new owner that hears everything from ``start`` (by default F) on."""
        assert self._loop is not None
        begin = self._final_end if start is None else start
        self._owner = StreamLeg(
            self._recognizer,
            self._recognizer.model_for(self._config),
            self._history,
            self,
            start=max(begin, self._history.start),
            plan=RotationPlan.of(
                after_s=self._settings.stt_rotate_after_s,
                by_s=self._settings.stt_rotate_by_s,
                now=self._loop.time(),
                spread=self._rand(),
            ),
            batch_samples=self._batch_samples,
            replay_speed=self._settings.stt_replay_speed,
        )
        self._owner.pump()
        if self._closing:
            self._owner.finish()

    def _try_open(self) -> None:
        """An attempt after a failure, if the breaker that all calls share allows one."""
        assert self._loop is not None
        self._retry_timer = None
        wait_s = self._recognizer.breaker.wait_s(now=self._loop.time())
        if wait_s:
            self._retry_timer = self._loop.call_later(wait_s * (1 + self._rand()), self._try_open)
        else:
            self._open()

    def _rotate(self, reason: str, *, start: int) -> None:
        """Make before break: the next stream becomes the owner; the old one's interims serve until it caught up."""
        if self._outgoing is not None:
            self._outgoing.cancel()
        self._outgoing, self._outgoing_text = self._owner, ""
        self._open(start=start)
        self._tell(SessionRotated(reason))

    def _watch(self) -> None:
        """The session's clock: age of the stream and keep-alive."""
        assert self._loop is not None
        now = self._loop.time()
        owner = self._owner
        next_at = now + PAUSE_S
        if owner is not None:
            owner.keep_alive(now=now)
            if self._outage is not None and now - owner.opened_at > PROVEN_S:
                self._works()
            pause = self._pauses.pause_start(final_end=self._final_end, call_end=self._history.end, now=now)
            pause = None if self._interim else pause
            if pause is not None:
                self._history.forget_before(min(pause, owner.cursor))
            if owner.plan.is_due(now=now, in_pause=False):
                self._rotate("age", start=self._final_end)
            elif pause is not None and owner.plan.is_due(now=now, in_pause=True):
                self._rotate("pause", start=pause)
            elif now < owner.plan.in_a_pause_from:
                next_at = min(owner.next_keep_alive(), owner.plan.next_deadline(now=now))
            next_at = min(next_at, owner.next_keep_alive(), owner.plan.at_the_latest)
        self._watch_timer = self._loop.call_at(max(next_at, now + MIN_WATCH_S), self._watch)

    # --- LegOwner -------------------------------------------------------------------------------------

    def leg_results(self, leg: StreamLeg, results: Sequence[StreamResult]) -> None:
        """A response: its finals, then the one hypothesis that all its interim results make together."""
        interims = [result for result in results if not result.is_final]
        if leg is self._owner:
            self._works()
            for result in results:
                if result.is_final:
                    self._take_final(leg, result)
        elif leg is self._outgoing:
            # Its finals are not taken; their text is still the newest that is known of what follows F.
            self._outgoing_text += "".join(f" {result.text.strip()}" for result in results if result.is_final)
        else:
            return
        if interims:
            self._take_interims(leg, interims)

    def leg_caught_up(self, leg: StreamLeg) -> None:
        """The owner has heard all; the old stream is not needed any more."""
        if leg is self._owner and self._outgoing is not None:
            outgoing, self._outgoing = self._outgoing, None
            outgoing.cancel()

    def leg_ended(self, leg: StreamLeg, end: StreamEnd) -> None:
        """A stream is over: the outgoing one's end is of no matter, the owner's is looked up in the table."""
        if leg is self._outgoing:
            self._outgoing = None
        if leg is not self._owner:
            return
        self._owner = None
        if self._closing and end.code in ("OK", "CANCELLED"):
            self._drain_is_over()
            return
        outcome = outcome_of(end.code, end.message)
        self._act(leg, end, outcome)

    def _act(self, leg: StreamLeg, end: StreamEnd, outcome: Outcome) -> None:
        assert self._loop is not None
        config = self._recognizer.model_for(self._config)
        if outcome.action is Action.ROTATE and self._loop.time() - leg.opened_at > PAUSE_S:
            self._open()
            self._tell(SessionRotated("limit"))
        elif outcome.action is Action.CHANGE_MODEL and config.model != "default":
            self._recognizer.model_refused(config)
            log.warning(
                "model %s does not serve language %s (%s): using the model default from now on. %s",
                *(config.model, config.language, end.message, outcome.advice),
            )
            self._open()
            self._tell(SessionRotated("model"))
        elif outcome.action in (Action.RECONNECT, Action.BACK_OFF, Action.ROTATE):
            self._back_off(leg, end, outcome)
        else:
            self._fail(end, outcome)

    def _back_off(self, leg: StreamLeg, end: StreamEnd, outcome: Outcome) -> None:
        assert self._loop is not None
        now = self._loop.time()
        if now - leg.opened_at > PROVEN_S:
            self._works()
        else:
            self._recognizer.breaker.failed(now=now)
        if self._outage is None:
            self._outage = SessionFailed(end.code, end.message, outcome.advice, retrying=True)
            self._tell(self._outage)
        wait_s = self._backoff.failed(jitter=self._rand(), quota=outcome.action is Action.BACK_OFF)
        self._retry_timer = self._loop.call_later(wait_s, self._try_open)

    def _works(self) -> None:
        """The owner gave a result, or lived: whatever was wrong is over."""
        self._backoff.succeeded()
        self._recognizer.breaker.succeeded()
        if self._outage is not None:
            self._outage = None
            self._tell(SessionRotated("reconnect"))

    def _fail(self, end: StreamEnd, outcome: Outcome) -> None:
        self._failure = SessionFailed(end.code, end.message, outcome.advice)
        self._stop_timer("_watch_timer")
        self._commit_interim()
        self._tell(self._failure)
        self._drain_is_over()

    def _drain_is_over(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # --- results --------------------------------------------------------------------------------------

    def _take_final(self, leg: StreamLeg, result: StreamResult) -> None:
        to_call = leg.map.to_call
        end_sample = max(to_call(result.end_sample), self._final_end)
        words = tuple(Word(w.text, to_call(w.start_sample), to_call(w.end_sample)) for w in result.words)
        leg.map.forget_before(result.end_sample)
        self._settle(RecognitionEvent("final", result.text.strip(), end_sample, self._recognizer.source, words))

    def _settle(self, event: RecognitionEvent) -> None:
        self._final_end = event.end_sample
        self._history.forget_before(min(event.end_sample, self._owner.cursor if self._owner else event.end_sample))
        self._interim = self._outgoing_text = ""
        self._partials.reset()
        if event.text:
            self._tell(event)
            if self._on_final is not None:
                self._on_final(event.text)

    def _take_interims(self, leg: StreamLeg, interims: list[StreamResult]) -> None:
        text = "".join(result.text for result in interims).strip()
        if leg is self._outgoing:
            text = f"{self._outgoing_text} {text}".strip()
        end_sample = max(leg.map.to_call(max(result.end_sample for result in interims)), self._final_end)
        if leg is self._owner and not leg.caught_up and end_sample < self._interim_end:
            return  # a replay that has not come as far as what is known already
        self._interim = text
        self._interim_end = end_sample
        self._tell(RecognitionEvent("interim", text, end_sample, self._recognizer.source))
        self._partials.offer(text)

    def _commit_interim(self) -> None:
        """What was heard and will not be settled any more counts as said."""
        if self._interim:
            end_sample = max(self._interim_end, self._final_end)
            self._settle(RecognitionEvent("final", self._interim, end_sample, self._recognizer.source))

    def _tell(self, event: SessionEvent) -> None:
        for listener in tuple(self._listeners):
            listener(event)

    def _stop_timer(self, name: str) -> None:
        timer: asyncio.TimerHandle | None = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)
