"""One call's recognition on an event loop: one session to its caller, as many provider streams as it takes.

The producer of audio only writes into the ring. The loop moves that audio into the replay buffer, and each stream
(``ProviderStream``) sends from the buffer with a cursor of its own. The *settled end* is where the last accepted final
ends: audio before it is settled, audio after it is kept. A new stream becomes the active one and hears everything after
the settled end, replayed if need be (``StreamManager`` decides when). Only finals of the active stream are accepted, so
each sample of the call is settled once, by one stream. Nothing here waits, and a call has no task or thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final, Literal

from fastcall.aio.callbacks import UserCallback
from fastcall.audio.audio_clock import CallClock
from fastcall.audio.audio_input import AudioInput
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.call_logger import CallLogger
from fastcall.errors import ClosedError, UsageError
from fastcall.events import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_MS,
    FallbackAsked,
    FallbackSilent,
    NoWords,
    RecognitionEvent,
    SessionClosed,
    SessionFailed,
    SessionRotated,
    SessionStarted,
)
from fastcall.metrics import Metrics
from fastcall.ports import Fallback, Recognizer, StreamConfig, StreamResult
from fastcall.recognition.fallback_controller import FallbackController
from fastcall.recognition.fallback_policy import SettledSpan
from fastcall.recognition.hypothesis import Hypothesis
from fastcall.recognition.partials import PartialTimer
from fastcall.recognition.provider_stream import ProviderStream
from fastcall.recognition.stream_manager import StreamManager
from fastcall.settings import Settings

__all__ = ["RecognitionSession", "SessionEvent"]

SessionEvent = (
    SessionStarted
    | SessionFailed
    | SessionRotated
    | NoWords
    | SessionClosed
    | RecognitionEvent
    | FallbackAsked
    | FallbackSilent
)

LOG: Final = logging.getLogger("fastcall.session")

# An interim that ends this close to the end of speech has its words.
COVER_SAMPLES = 300 * SAMPLES_PER_MS


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
        self._fallback_controller: FallbackController | None = None
        self._config = config
        self._settings = settings or Settings()
        self._log = log or CallLogger(LOG)
        self._listeners = [self._guarded(on_event)] if on_event else []
        self._on_final = self._guarded(on_final) if on_final else None
        self._rand = rand
        sample_bytes = 1 if encoding == "mulaw" else 2
        limit_samples = int(self._settings.stt_replay_s * SAMPLE_RATE_HZ)
        self.replay_buffer = self._replay_buffer = ReplayBuffer(sample_bytes=sample_bytes, limit_samples=limit_samples)
        self.audio_input = AudioInput(self._replay_buffer, sample_bytes=sample_bytes)
        self.batch_samples = self._settings.stt_batch_ms * SAMPLES_PER_MS
        """For callers that feed ``audio_input.track`` directly, on the loop: ``pump`` when so many samples wait."""
        self._partials = PartialTimer(
            self._settings.partial_debounce_s, self._guarded(on_partial) if on_partial else None
        )
        self._hypothesis = Hypothesis()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stream_manager: StreamManager | None = None
        self._finished: asyncio.Future[None] | None = None
        self._closing = self._is_over = False
        self._last_failure: SessionFailed | None = None
        self._oddities: list[str] = []
        self._metrics = metrics or Metrics()
        self.clock = CallClock()
        """Maps samples of the call to the loop's clock. Loop thread."""

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
        return self._replay_buffer.lost_samples

    @property
    def settled_samples(self) -> int:
        """The settled end: no later result changes what was said before it."""
        return self._hypothesis.settled_end

    @property
    def active_stream(self) -> ProviderStream | None:
        """The stream whose finals are accepted; None while there is none."""
        return self._stream_manager.active if self._stream_manager is not None else None

    @property
    def failure(self) -> SessionFailed | None:
        """Why the session has no results (for now, or for good), or None. Any thread."""
        return (
            self._stream_manager.failure or self._stream_manager.outage
            if self._stream_manager is not None
            else self._last_failure
        )

    def feed(self, audio: bytes) -> bool:
        """Take audio; never blocks, and a full ring drops the newest. Any one producer thread.

        :param audio: in the session's encoding, any length in whole samples
        :return: whether a batch is due, so that the loop should ``pump``
        :raises ClosedError: the session is closing
        :raises ValueError: not a whole number of samples
        """
        if self._closing:
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
        self._drain()
        if self._stream_manager is not None:
            self._stream_manager.pump()
        if self._fallback_controller is not None:
            self._fallback_controller.poll()

    def _drain(self) -> None:
        self.audio_input.drain()
        if self._loop is not None:
            self.clock.heard(self._replay_buffer.end, now=self._loop.time())

    def note_speech(self, speaking: bool, sample: int, *, is_last: bool = False) -> None:
        """From the endpointer: speech began, or ended, at ``sample``. Rotations wait for pauses."""
        if self._stream_manager is not None:
            self._stream_manager.note_speech(speaking, sample)
        self.note_utterance(speaking, sample, is_last=is_last)

    def note_utterance(self, begins: bool, sample: int, *, is_last: bool = False) -> None:
        """An utterance begins at ``sample``, or the open one ends there: the fallback recognizes it if no stream can.

        At its end all audio is sent at once: the next may take long, and the last word would wait for a batch.

        Part of ``note_speech``; call it directly if you know utterances but not exactly when somebody speaks.
        """
        if not begins and self._stream_manager is not None:
            self._drain()
            self._stream_manager.flush()
        if self._fallback_controller is not None:
            call_end = None if is_last else self.call_samples
            self._fallback_controller.note_utterance(begins, sample, call_end=call_end)

    # --- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the first stream. Returns at once; an unreachable recognizer is reported as ``SessionFailed``."""
        self._loop = asyncio.get_running_loop()
        self._finished = self._loop.create_future()
        if self._fallback is not None:
            self._fallback_controller = FallbackController(
                self._fallback,
                self._config.language,
                replay_buffer=self._replay_buffer,
                audio_input=self.audio_input,
                settings=self._settings,
                owner=self,
                log=self._log,
            )
        if self._recognizer is None:
            self._emit(SessionStarted(self._source))
            self._note_trouble()
            return
        self._stream_manager = StreamManager(
            self._recognizer,
            self._config,
            self._settings,
            replay_buffer=self._replay_buffer,
            audio_input=self.audio_input,
            hypothesis=self._hypothesis,
            owner=self,
            rand=self._rand,
            on_sent=self._note_sent,
            log=self._log,
        )
        self._emit(SessionStarted(self._source))
        self._stream_manager.start()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Send the rest, half-close, collect the remaining finals, commit the remaining interim.

        :param timeout_s: after this the stream is cancelled; words recognized by then are kept
        """
        if self._closing or self._finished is None:
            return
        self._closing = True
        self.audio_input.drain()
        stream_manager, fallback_controller = self._stream_manager, self._fallback_controller
        try:
            async with asyncio.timeout(timeout_s):
                if stream_manager is not None and stream_manager.finish():
                    await asyncio.shield(self._finished)
                if fallback_controller is not None:
                    await fallback_controller.finish()
        except TimeoutError:
            if stream_manager is not None:
                self._report_unsettled(stream_manager, timeout_s)
        if stream_manager is not None:
            stream_manager.stop()
        self._is_over = True
        if fallback_controller is not None:
            fallback_controller.stop()
        self._commit_interim()
        self._partials.stop()
        self._emit(SessionClosed())
        self._last_failure = self.failure
        self._stream_manager = self._fallback_controller = None  # breaks reference cycles
        self._listeners.clear()

    def _note_sent(self, start: int, end: int) -> None:
        if self._loop is not None:
            self._metrics.note_sent(self.clock, start, end, now=self._loop.time())

    def _report_unsettled(self, stream_manager: StreamManager, timeout_s: float) -> None:
        """The call is over before all of its speech was settled."""
        if stream_manager.outage is None and stream_manager.is_unsettled():
            seconds = (self._replay_buffer.end - self._hypothesis.settled_end) / SAMPLE_RATE_HZ
            message = f"no final for the last {seconds:.1f} s of the call within {timeout_s:g} s of its end"
            advice = "The interim text is used for it; words may be missing at the end of this call."
            self._emit(SessionFailed("DEADLINE_EXCEEDED", message, advice))

    def add_listener(self, listener: Callable[[SessionEvent], None]) -> None:
        """Call ``listener`` too with every event. Loop thread."""
        self._listeners.append(self._guarded(listener))

    def _guarded(self, function: Callable[..., object]) -> UserCallback:
        return UserCallback(function, log=self._log, on_exit=_raise_soon)

    # --- StreamManagerOwner -----------------------------------------------------------------------------------

    def active_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> None:
        """A response: its finals, then the combined hypothesis of its interim results."""
        self._note_oddities(provider_stream)
        for number, result in enumerate(results):
            if result.is_final and not self._take_final(provider_stream, result):
                self.draining_results(provider_stream, results[number:])
                return
        text, end_sample = provider_stream.interim_of(results)
        # After a final without an interim, the previous interim's rest remains.
        if results and (end_sample is None or self._hypothesis.take_interim(text, end_sample)):
            self._emit_interim()
        if self._stream_manager is not None:
            self._stream_manager.active_reported()

    def draining_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> bool:
        """Its finals are not accepted, but their text is the newest known for the audio after the settled end."""
        if not results:
            return False
        finals = [result.text for result in results if result.is_final]
        text, _ = provider_stream.interim_of(results)
        end_sample = provider_stream.map.to_call(max((result.end_sample for result in results), default=0))
        if not self._hypothesis.take_draining(finals, text, end_sample):
            return False
        self._emit_interim()
        return True

    def _note_oddities(self, provider_stream: ProviderStream) -> None:
        for oddity in provider_stream.reports.oddities:
            if oddity not in self._oddities:
                self._oddities.append(oddity)
                self._log.warning("the recognizer's %s", oddity)

    def active_is_authoritative(self) -> None:
        """Words that it has not returned by now do not exist."""
        if self._hypothesis.is_behind and self._hypothesis.caught_up():
            self._emit_interim()

    def audio_evicted(self) -> None:
        """Keep known words, although no stream will settle them."""
        self._commit_interim()

    def stream_manager_event(self, event: SessionFailed | SessionRotated | NoWords) -> None:
        """News for the listeners."""
        self._emit(event)

    def stream_manager_finished(self, *, complete: bool) -> None:
        """No more results will come."""
        if complete:
            self._hypothesis.caught_up()
        else:
            if self._fallback_controller is None:
                self._commit_interim()
            if self.failure is not None:
                self._emit(self.failure)
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    # --- FallbackOwner --------------------------------------------------------------------------------

    def fallback_settles(self, span: SettledSpan) -> None:
        """The fallback's text of ``span``, which settles it: no stream will recognize it again."""
        end_sample = max(span.end, self._hypothesis.settled_end)
        source = self._fallback.source if self._fallback is not None else self._source
        text, _ = self._hypothesis.mended(span.text)
        self._hypothesis.settled_elsewhere(text, end_sample, is_cut=span.is_cut)
        self._after_settling(RecognitionEvent("final", text, end_sample, source, start_sample=span.start))
        if self._stream_manager is not None and not self._is_over:
            self._stream_manager.settled_elsewhere()
        else:
            self._replay_buffer.forget_before(end_sample)

    def fallback_event(self, event: FallbackAsked | FallbackSilent) -> None:
        """News for the listeners."""
        self._emit(event)

    def has_words_to(self, sample: int) -> bool:
        """Whether a working recognizer has results up to ``sample``: its final will settle them."""
        known = self._hypothesis
        serves = self._stream_manager is not None and self.failure is None
        return serves and bool(known.text) and known.end_sample >= sample - COVER_SAMPLES

    def _note_trouble(self) -> None:
        if self._fallback_controller is None:
            return
        if self._stream_manager is None:
            self._fallback_controller.note_trouble("off")
        elif self._stream_manager.failure is not None:
            self._fallback_controller.note_trouble("failed")
        else:
            self._fallback_controller.note_trouble("outage" if self._stream_manager.outage is not None else "")

    # --- results --------------------------------------------------------------------------------------

    @property
    def _source(self) -> str:
        if self._recognizer is not None:
            return self._recognizer.source
        return self._fallback.source if self._fallback is not None else "fallback"

    def _take_final(self, provider_stream: ProviderStream, result: StreamResult) -> bool:
        """Settle a final's text, unless another stream is tried for words that it dropped.

        :return: whether it was accepted
        """
        end_sample = max(provider_stream.map.to_call(result.end_sample), self._hypothesis.settled_end)
        text, words = result.text.strip(), provider_stream.words_of(result)
        forgotten = self._hypothesis.forgotten_before(text, words[0].start_sample if words else None, end_sample)
        if forgotten and self._stream_manager is not None and self._stream_manager.reopen():
            self._hypothesis.recall([text for text, _ in forgotten])
            return False
        provider_stream.map.forget_before(result.end_sample)
        for said, end in forgotten:
            # Known words that will not be settled any more are kept.
            self._settle(RecognitionEvent("final", said, end, self._source))
        text, words = self._hypothesis.mended(text, words)
        self._settle(RecognitionEvent("final", text, end_sample, self._source, words))
        return True

    def _settle(self, event: RecognitionEvent) -> None:
        self._hypothesis.take_final(event.text, event.end_sample)
        self._after_settling(event)

    def _after_settling(self, event: RecognitionEvent) -> None:
        if self._stream_manager is not None:
            self._stream_manager.forget_before(event.end_sample)
        if self._fallback_controller is not None:
            self._fallback_controller.settled(event.end_sample)
        self._partials.reset()
        if event.text or not self._hypothesis.text:  # else known words may have been spoken before its end
            self._emit(event)
        if event.text and self._on_final is not None:
            self._on_final(event.text)

    def _emit_interim(self) -> None:
        known = self._hypothesis
        self._emit(RecognitionEvent("interim", known.text, known.end_sample, self._source))
        self._partials.offer(known.text)

    def _commit_interim(self) -> None:
        """Keep known words that will not be settled any more."""
        known = self._hypothesis
        if known.text:
            self._settle(RecognitionEvent("final", known.text, known.end_sample, self._source))

    def _emit(self, event: SessionEvent) -> None:
        if isinstance(event, SessionFailed | SessionRotated):
            self._note_trouble()
        for listener in tuple(self._listeners):
            listener(event)


def _raise_soon(error: BaseException) -> None:
    """Raise exceptions that end a program on the loop, outside the session, for its owner."""
    asyncio.get_running_loop().call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
