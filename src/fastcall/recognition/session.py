"""One call's recognition, on an event loop: one session to its caller, as many streams of the provider's as it takes.

Strategy: the producer of audio only writes into the ring. The loop moves what is there into the call's history, and
streams (``ProviderStream``) send from the history, each from a cursor of its own. F is the end of the last final that
was accepted: what was said before it is settled, what was said after it is kept. A new stream owns everything after F
and hears it, in replay if need be (``StreamManager`` decides when); only the owner's finals are taken, so each sample
of the call is settled once, by one stream. Nothing here waits, and there is no task or thread of a call's own.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Literal

from fastcall.aio.callbacks import UserCallback
from fastcall.audio.audio_clock import CallClock
from fastcall.audio.audio_input import AudioInput
from fastcall.audio.replay_buffer import ReplayBuffer
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

log = logging.getLogger("fastcall.session")

# An interim that ends this close to the end of speech has its words.
COVER_SAMPLES = 300 * SAMPLES_PER_MS


class RecognitionSession:
    """The one recognition session of a call. All methods but ``feed`` and ``feed_silence`` belong to the loop's thread.

    :param recognizer: who opens streams; None with ``ENABLE_STREAMING_STT=false``: the fallback hears every utterance
    :param config: language and model
    :param fallback: who hears what the recognizer cannot serve; it needs ``note_speech`` to know utterances
    :param settings: batch, debounce, rotation, replay, fallback
    :param on_event: called on the loop with every event, interims undebounced and in call time
    :param on_partial: called on the loop with the text since the last final, debounced: never unchanged, never
        closer than ``STT_PARTIAL_DEBOUNCE_MS``, never stale
    :param on_final: called on the loop with the text of each final
    :param encoding: what is fed: ``mulaw`` (one byte a sample) or ``linear16`` (two, little-endian); 8 kHz mono
    :param rand: random numbers in [0, 1), for jitter
    :param metrics: where the age of what is sent is counted
    :param call_id: stands in log lines about callbacks that failed

    What ``on_event``, ``on_partial``, ``on_final`` or a listener raises is logged, and changes nothing else.
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
        call_id: str = "",
    ) -> None:
        if recognizer is None and fallback is None:
            raise UsageError("a session needs a recognizer or a fallback")
        self._recognizer = recognizer
        self._fallback = fallback
        self._fallback_controller: FallbackController | None = None
        self._config = config
        self._settings = settings or Settings()
        self._label = f" call={call_id}" if call_id else ""
        self._listeners = [self._guarded(on_event)] if on_event else []
        self._on_final = self._guarded(on_final) if on_final else None
        self._rand = rand
        sample_bytes = 1 if encoding == "mulaw" else 2
        limit_samples = int(self._settings.stt_replay_s * SAMPLE_RATE_HZ)
        self.replay_buffer = self._replay_buffer = ReplayBuffer(sample_bytes=sample_bytes, limit_samples=limit_samples)
        self.audio_input = AudioInput(self._replay_buffer, sample_bytes=sample_bytes)
        self.batch_samples = self._settings.stt_batch_ms * SAMPLES_PER_MS
        """For who feeds ``intake.track`` itself, on the loop and only what fits: ``pump`` when so many samples wait."""
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
        """When a sample of the call was said, on the loop's clock. Loop thread."""

    @property
    def settings(self) -> Settings:
        """What it was made with."""
        return self._settings

    # --- audio in -----------------------------------------------------------------------------------

    @property
    def call_samples(self) -> int:
        """The session's call time: samples that were fed so far, dropped ones included. Any thread."""
        return self.audio_input.fed_samples

    @property
    def dropped_samples(self) -> int:
        """Samples that did not fit into the ring and are sent as silence. Any thread."""
        return self.audio_input.dropped_samples

    @property
    def lost_samples(self) -> int:
        """Samples that outgrew the replay bound unsettled."""
        return self._replay_buffer.lost_samples

    @property
    def settled_samples(self) -> int:
        """F: what was said before it is settled, and no later result changes it."""
        return self._hypothesis.final_end

    @property
    def owner(self) -> ProviderStream | None:
        """The stream whose finals are taken, while there is one."""
        return self._stream_manager.owner if self._stream_manager is not None else None

    @property
    def failure(self) -> SessionFailed | None:
        """Why the session gives no results (for now, or any more), or None. Any thread."""
        return (
            self._stream_manager.failure or self._stream_manager.outage
            if self._stream_manager is not None
            else self._last_failure
        )

    def feed(self, audio: bytes) -> bool:
        """Take audio; never blocks, and a full ring drops the newest. One producer thread, which may be any.

        :param audio: in the session's encoding, any length in whole samples
        :return: whether a batch is due, so that the loop should ``pump``
        :raises ClosedError: the session is closing
        :raises ValueError: not a whole number of samples
        """
        if self._closing:
            raise ClosedError("the session is closed; it takes no more audio")
        self.audio_input.feed(audio)
        return self.audio_input.waiting_samples >= self.batch_samples

    def feed_silence(self, samples: int) -> bool:
        """The same for ``samples`` samples of silence: a gap in what came from the telephone."""
        self.audio_input.feed_silence(samples)
        return self.audio_input.waiting_samples >= self.batch_samples

    def push_audio(self, audio: bytes) -> None:
        """``feed`` and, if a batch is due, ``pump``: for producers on the loop's own thread."""
        if self.feed(audio):
            self.pump()

    def pump(self) -> None:
        """Send what waits. Loop thread."""
        self._drain()
        if self._stream_manager is not None:
            self._stream_manager.pump()
        if self._fallback_controller is not None:
            self._fallback_controller.look()

    def _drain(self) -> None:
        self.audio_input.drain()
        if self._loop is not None:
            self.clock.heard(self._replay_buffer.end, now=self._loop.time())

    def note_speech(self, speaking: bool, sample: int, *, is_last: bool = False) -> None:
        """The endpointer says: someone speaks since, or is silent since ``sample``. Rotations wait for pauses."""
        if self._stream_manager is not None:
            self._stream_manager.note_speech(speaking, sample)
        self.note_utterance(speaking, sample, is_last=is_last)

    def note_utterance(self, begins: bool, sample: int, *, is_last: bool = False) -> None:
        """An utterance begins at ``sample``, or the open one ends there: the fallback hears it if no stream can.

        At its end all audio goes out at once: no more may come for long, and its last word would wait for a batch.

        Part of ``note_speech``; by itself for who knows utterances and not exactly when somebody speaks.
        """
        if not begins and self._stream_manager is not None:
            self._drain()
            self._stream_manager.flush()
        if self._fallback_controller is not None:
            call_end = None if is_last else self.call_samples
            self._fallback_controller.note_utterance(begins, sample, call_end=call_end)

    # --- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the first stream. Returns at once; a recognizer that cannot be reached comes as ``SessionFailed``."""
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
            )
        if self._recognizer is None:
            self._tell(SessionStarted(self._source))
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
        )
        self._tell(SessionStarted(self._source))
        self._stream_manager.start()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Send the rest, half-close, collect finals that still come, commit the remaining interim.

        :param timeout_s: after so long the stream is given up; what was recognized by then counts
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
                self._tell_of_the_unsettled(stream_manager, timeout_s)
        if stream_manager is not None:
            stream_manager.stop()
        self._is_over = True
        if fallback_controller is not None:
            fallback_controller.stop()
        self._commit_interim()
        self._partials.stop()
        self._tell(SessionClosed())
        self._last_failure = self.failure
        self._stream_manager = self._fallback_controller = None  # they know the session, and are needed no more
        self._listeners.clear()

    def _note_sent(self, start: int, end: int) -> None:
        if self._loop is not None:
            self._metrics.note_sent(self.clock, start, end, now=self._loop.time())

    def _tell_of_the_unsettled(self, stream_manager: StreamManager, timeout_s: float) -> None:
        """The call is over before the recognizer had settled all that was said in it."""
        if stream_manager.outage is None and stream_manager.is_unsettled():
            seconds = (self._replay_buffer.end - self._hypothesis.final_end) / SAMPLE_RATE_HZ
            message = f"no final for the last {seconds:.1f} s of the call within {timeout_s:g} s of its end"
            advice = "What was heard of it counts as said; words may be missing at the end of this call."
            self._tell(SessionFailed("DEADLINE_EXCEEDED", message, advice))

    def add_listener(self, listener: Callable[[SessionEvent], None]) -> None:
        """Also tell ``listener`` every event. Loop thread."""
        self._listeners.append(self._guarded(listener))

    def _guarded(self, function: Callable[..., object]) -> UserCallback:
        return UserCallback(function, label=self._label, on_exit=_raise_soon)

    # --- StreamManagerOwner -----------------------------------------------------------------------------------

    def owner_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> None:
        """A response: its finals, then the one hypothesis that all its interim results make together."""
        self._note_oddities(provider_stream)
        for number, result in enumerate(results):
            if result.is_final and not self._take_final(provider_stream, result):
                self.outgoing_results(provider_stream, results[number:])
                return
        text, end_sample = provider_stream.interim_of(results)
        # After a final without an interim there is left what the final leaves of the one before.
        if results and (end_sample is None or self._hypothesis.take_interim(text, end_sample)):
            self._tell_interim()
        if self._stream_manager is not None:
            self._stream_manager.owner_told()

    def outgoing_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> bool:
        """Its finals are not taken; their text is still the newest that is known of what follows F."""
        if not results:
            return False
        finals = [result.text for result in results if result.is_final]
        text, _ = provider_stream.interim_of(results)
        end_sample = provider_stream.map.to_call(max((result.end_sample for result in results), default=0))
        if not self._hypothesis.take_outgoing(finals, text, end_sample):
            return False
        self._tell_interim()
        return True

    def _note_oddities(self, provider_stream: ProviderStream) -> None:
        for oddity in provider_stream.reports.oddities:
            if oddity not in self._oddities:
                self._oddities.append(oddity)
                log.warning("the recognizer's %s", oddity)

    def owner_is_authoritative(self) -> None:
        """What it has not told of by now is not there."""
        if self._hypothesis.is_behind and self._hypothesis.caught_up():
            self._tell_interim()

    def audio_outgrew(self) -> None:
        """Words that were heard stay said, although no stream will settle them."""
        self._commit_interim()

    def stream_manager_tells(self, event: SessionFailed | SessionRotated | NoWords) -> None:
        """News for the listeners."""
        self._tell(event)

    def stream_manager_finished(self, *, complete: bool) -> None:
        """Nothing more will come, or can."""
        if complete:
            self._hypothesis.caught_up()
        else:
            if self._fallback_controller is None:
                self._commit_interim()
            if self.failure is not None:
                self._tell(self.failure)
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    # --- FallbackOwner --------------------------------------------------------------------------------

    def fallback_settles(self, span: SettledSpan) -> None:
        """The fallback's text of ``span``, which is settled by it: no stream tells it again."""
        end_sample = max(span.end, self._hypothesis.final_end)
        source = self._fallback.source if self._fallback is not None else self._source
        text, _ = self._hypothesis.mended(span.text)
        self._hypothesis.settled_elsewhere(text, end_sample, is_cut=span.is_cut)
        self._after_settling(RecognitionEvent("final", text, end_sample, source, start_sample=span.start))
        if self._stream_manager is not None and not self._is_over:
            self._stream_manager.settled_elsewhere()
        else:
            self._replay_buffer.forget_before(end_sample)

    def fallback_tells(self, event: FallbackAsked | FallbackSilent) -> None:
        """News for the listeners."""
        self._tell(event)

    def has_words_to(self, sample: int) -> bool:
        """Whether a recognizer that serves has told of the speech up to ``sample``: its final will settle it."""
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
        """Settle what a final says, unless another stream is asked for what it forgot.

        :return: whether it was taken
        """
        end_sample = max(provider_stream.map.to_call(result.end_sample), self._hypothesis.final_end)
        text, words = result.text.strip(), provider_stream.words_of(result)
        forgotten = self._hypothesis.forgotten_before(text, words[0].start_sample if words else None, end_sample)
        if forgotten and self._stream_manager is not None and self._stream_manager.ask_another():
            self._hypothesis.recall([text for text, _ in forgotten])
            return False
        provider_stream.map.forget_before(result.end_sample)
        for said, end in forgotten:
            # What was heard and will not be settled any more counts as said.
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
        if event.text or not self._hypothesis.text:  # else words are known that may have been said before its end
            self._tell(event)
        if event.text and self._on_final is not None:
            self._on_final(event.text)

    def _tell_interim(self) -> None:
        known = self._hypothesis
        self._tell(RecognitionEvent("interim", known.text, known.end_sample, self._source))
        self._partials.offer(known.text)

    def _commit_interim(self) -> None:
        """What was heard and will not be settled any more counts as said."""
        known = self._hypothesis
        if known.text:
            self._settle(RecognitionEvent("final", known.text, known.end_sample, self._source))

    def _tell(self, event: SessionEvent) -> None:
        if isinstance(event, SessionFailed | SessionRotated):
            self._note_trouble()
        for listener in tuple(self._listeners):
            listener(event)


def _raise_soon(error: BaseException) -> None:
    """On the loop, outside of the session: what ends a program is for the loop's owner to act on."""
    asyncio.get_running_loop().call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
