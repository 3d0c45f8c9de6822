"""One call's recognition, on an event loop.

Strategy: the producer of audio only writes into the ring; ``pump`` moves batches from the ring to the stream, in the
loop turn in which the completing frame arrived; results come back as calls on the loop and go out as events in call
time. Nothing here waits, and there is no task or thread of a call's own.

Audio that does not fit into the ring is dropped at its newest end, counted, and sent as silence later, so that
call time and what the recogniser hears stay in step.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from fastcall._codec import AudioRing, Debouncer
from fastcall.errors import ClosedError
from fastcall.events import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_MS,
    RecognitionEvent,
    SessionClosed,
    SessionFailed,
    SessionStarted,
    Word,
)
from fastcall.ports import Recognizer, RecognizerStream, StreamConfig, StreamEnd, StreamResult
from fastcall.rules.outcomes import advice_for
from fastcall.rules.streammap import StreamMap

__all__ = ["RecognitionSession", "SessionEvent"]

SessionEvent = SessionStarted | SessionFailed | SessionClosed | RecognitionEvent

# Under 15,000 bytes of LINEAR16: the smallest limit that Google's documentation names for one request.
MAX_PIECE_SAMPLES = 900 * SAMPLES_PER_MS
# Google gives up after about 10 s without audio.
KEEPALIVE_AFTER_S = 5.0
KEEPALIVE_SAMPLES = MAX_PIECE_SAMPLES
RING_S = 10


class RecognitionSession:
    """The one recognition session of a call. All methods but ``feed`` belong to the event loop's thread.

    :param recognizer: who opens streams
    :param config: language and model
    :param on_event: called on the loop with every event, interims undebounced and in call time
    :param on_partial: called on the loop with the text since the last final, debounced: never unchanged, never
        closer than ``debounce_ms``, never stale
    :param on_final: called on the loop with the text of each final
    :param encoding: what is fed: ``mulaw`` (one byte a sample) or ``linear16`` (two, little-endian); 8 kHz mono
    :param batch_ms: audio that makes a request, counted in samples
    """

    def __init__(
        self,
        recognizer: Recognizer,
        config: StreamConfig,
        *,
        on_event: Callable[[SessionEvent], None] | None = None,
        on_partial: Callable[[str], None] | None = None,
        on_final: Callable[[str], None] | None = None,
        encoding: Literal["mulaw", "linear16"] = "mulaw",
        batch_ms: int = 150,
        debounce_ms: int = 180,
    ) -> None:
        self._recognizer = recognizer
        self._config = config
        self._listeners = [on_event] if on_event else []
        self._on_partial = on_partial
        self._on_final = on_final
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ring = AudioRing(RING_S * SAMPLE_RATE_HZ, sample_bytes=1 if encoding == "mulaw" else 2)
        self._batch_samples = batch_ms * SAMPLES_PER_MS
        # Places in the ring's count of samples at which audio is missing, and how much. Appended by the producer,
        # taken by the loop: the two ends of a deque are safe between two threads.
        self._holes: deque[tuple[int, int]] = deque()
        self._stream: RecognizerStream | None = None
        self._map = StreamMap()
        self._call_cursor = 0
        self._final_end = 0
        self._interim = ""
        self._interim_end = 0
        self._debouncer = Debouncer(debounce_ms / 1000)
        self._debounce_timer: asyncio.TimerHandle | None = None
        self._keepalive_timer: asyncio.TimerHandle | None = None
        self._last_write_at = 0.0
        self._failed: SessionFailed | None = None
        self._closing = False
        self._ended: asyncio.Future[None] | None = None

    # --- audio in -----------------------------------------------------------------------------------

    @property
    def call_samples(self) -> int:
        """The session's call time: samples that were fed so far, dropped ones included. Any thread."""
        return self._ring.pushed_samples + self._ring.dropped_samples

    @property
    def dropped_samples(self) -> int:
        """Samples that did not fit into the ring and are sent as silence. Any thread."""
        return self._ring.dropped_samples

    @property
    def failure(self) -> SessionFailed | None:
        """Why the session cannot go on, or None."""
        return self._failed

    def feed(self, audio: bytes) -> bool:
        """Take audio; never blocks and never raises for being full. One producer thread, which may be any.

        :param audio: in the session's encoding, any length in whole samples
        :return: whether a batch is due, so that the loop should ``pump``
        :raises ClosedError: the session is closing
        :raises ValueError: not a whole number of samples
        """
        if self._closing:
            raise ClosedError("the session is closed; it takes no more audio")
        accepted = self._ring.push(audio)
        samples = len(audio) // self._ring.sample_bytes
        if accepted != samples:
            self._holes.append((self._ring.pushed_samples, samples - accepted))
        return self._ring.waiting_samples >= self._batch_samples

    def feed_silence(self, samples: int) -> bool:
        """The same for ``samples`` samples of silence: a gap in what came from the telephone."""
        accepted = self._ring.push_silence(samples)
        if accepted != samples:
            self._holes.append((self._ring.pushed_samples, samples - accepted))
        return self._ring.waiting_samples >= self._batch_samples

    def push_audio(self, audio: bytes) -> None:
        """``feed`` and, if a batch is due, ``pump``: for producers on the loop's own thread."""
        if self.feed(audio):
            self.pump()

    def pump(self) -> None:
        """Send all that waits if that makes a batch. Loop thread."""
        self._send(self._batch_samples)

    # --- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the stream. Returns at once; a recogniser that cannot be reached comes as ``SessionFailed``."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._stream = self._recognizer.open(self._config, self)
        self._last_write_at = self._loop.time()
        self._keepalive_timer = self._loop.call_later(KEEPALIVE_AFTER_S, self._keep_alive)
        self._tell(SessionStarted(self._recognizer.source))
        self.pump()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Send the rest, half-close, collect finals that still come, commit the remaining interim.

        :param timeout_s: after so long the stream is given up; what was recognised by then counts
        """
        if self._closing or self._ended is None:
            return
        self._closing = True
        deadline = asyncio.get_running_loop().time() + timeout_s
        if self._keepalive_timer is not None:
            self._keepalive_timer.cancel()
        if self._stream is not None:
            self._send(0)
            if not self._ring.waiting_samples and not self._holes:
                self._stream.half_close()
            try:
                async with asyncio.timeout_at(deadline):
                    await asyncio.shield(self._ended)
            except TimeoutError:
                self._stream.cancel()
        self._commit_interim()
        if self._debounce_timer is not None:
            self._debounce_timer.cancel()
        self._tell(SessionClosed())

    def add_listener(self, listener: Callable[[SessionEvent], None]) -> None:
        """Also tell ``listener`` every event. Loop thread."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[SessionEvent], None]) -> None:
        """No longer tell ``listener``. Loop thread."""
        self._listeners.remove(listener)

    # --- audio out ------------------------------------------------------------------------------------

    def _send(self, at_least_samples: int) -> None:
        """Write everything that waits, in pieces, if it is ``at_least_samples`` or more."""
        stream = self._stream
        if stream is None or self._loop is None or self._ring.waiting_samples < at_least_samples:
            return
        while stream.writable:
            piece = self._next_piece()
            if piece is None:
                break
            stream.write(piece)
            self._last_write_at = self._loop.time()

    def _next_piece(self) -> bytes | None:
        limit = MAX_PIECE_SAMPLES
        if self._holes:
            position, missing = self._holes[0]
            limit = min(limit, position - self._ring.taken_samples)
            if limit == 0:
                samples = min(missing, MAX_PIECE_SAMPLES)
                self._holes.popleft()
                if samples < missing:
                    self._holes.appendleft((position, missing - samples))
                return self._account(bytes(2 * samples))
        piece = self._ring.take_batch(1, limit)
        return None if piece is None else self._account(piece)

    def _account(self, pcm: bytes) -> bytes:
        samples = len(pcm) // 2
        self._map.add_audio(self._call_cursor, samples)
        self._call_cursor += samples
        return pcm

    def _keep_alive(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        due_at = self._last_write_at + KEEPALIVE_AFTER_S
        stream = self._stream
        if now >= due_at and stream is not None:
            if stream.writable and not self._ring.waiting_samples:
                stream.write(bytes(2 * KEEPALIVE_SAMPLES))
                self._map.add_keepalive(KEEPALIVE_SAMPLES)
            else:
                self._send(1)
            due_at = now + KEEPALIVE_SAMPLES / SAMPLE_RATE_HZ
        if stream is not None:
            self._keepalive_timer = self._loop.call_at(due_at, self._keep_alive)

    # --- StreamListener -------------------------------------------------------------------------------

    def stream_writable(self) -> None:
        """The stream takes audio again."""
        if not self._closing:
            self.pump()
        elif self._stream is not None:
            self._send(0)
            if not self._ring.waiting_samples and not self._holes:
                self._stream.half_close()

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        """A response: its finals, then the one hypothesis that all its interim results make together."""
        interims = [result for result in results if not result.is_final]
        for result in results:
            if result.is_final:
                self._take_final(result)
        if interims:
            text = "".join(result.text for result in interims).strip()
            end = self._map.to_call(max(result.end_sample for result in interims))
            self._take_interim(text, max(end, self._final_end))

    def stream_ended(self, end: StreamEnd) -> None:
        """The stream is over."""
        self._stream = None
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if not (self._closing and end.code in ("OK", "CANCELLED")):
            self._fail(end)

    # --- results ----------------------------------------------------------------------------------------

    def _take_final(self, result: StreamResult) -> None:
        text = result.text.strip()
        end_sample = max(self._map.to_call(result.end_sample), self._final_end)
        to_call = self._map.to_call
        words = tuple(Word(w.text, to_call(w.start_sample), to_call(w.end_sample)) for w in result.words)
        self._map.forget_before(result.end_sample)
        self._settle(RecognitionEvent("final", text, end_sample, self._recognizer.source, words))

    def _settle(self, event: RecognitionEvent) -> None:
        self._final_end = event.end_sample
        self._interim = ""
        self._debouncer.reset()
        if event.text:
            self._tell(event)
            if self._on_final is not None:
                self._on_final(event.text)

    def _take_interim(self, text: str, end_sample: int) -> None:
        assert self._loop is not None
        self._interim = text
        self._interim_end = end_sample
        self._tell(RecognitionEvent("interim", text, end_sample, self._recognizer.source))
        if self._on_partial is not None and text:
            out = self._debouncer.offer(text, now=self._loop.time())
            if out is not None:
                self._on_partial(out)
            self._arm_debounce()

    def _arm_debounce(self) -> None:
        due_at = self._debouncer.deadline
        if due_at is not None and self._debounce_timer is None and self._loop is not None:
            self._debounce_timer = self._loop.call_at(due_at, self._fire_debounce)

    def _fire_debounce(self) -> None:
        assert self._loop is not None
        self._debounce_timer = None
        # A timer may fire a clock tick early; the planned time is then the truth.
        now = max(self._loop.time(), self._debouncer.deadline or 0.0)
        text = self._debouncer.fire(now=now) if self._debouncer.deadline is not None else None
        if text is not None and self._on_partial is not None:
            self._on_partial(text)
        self._arm_debounce()

    def _commit_interim(self) -> None:
        """What was heard and will not be settled any more counts as said."""
        if self._interim:
            self._settle(RecognitionEvent("final", self._interim, self._interim_end, self._recognizer.source))

    def _fail(self, end: StreamEnd) -> None:
        if self._failed is not None:
            return
        code, message = end.code, end.message
        if code == "OK":
            code, message = "UNKNOWN", "the recogniser ended the stream although the call goes on"
        self._failed = SessionFailed(code, message, advice_for(code, message))
        if self._keepalive_timer is not None:
            self._keepalive_timer.cancel()
        self._commit_interim()
        self._tell(self._failed)

    def _tell(self, event: SessionEvent) -> None:
        for listener in tuple(self._listeners):
            listener(event)
