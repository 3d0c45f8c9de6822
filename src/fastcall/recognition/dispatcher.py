"""Assigns a session's partials and finals to the current utterance.

For code that detects utterances itself (a voice detector, push-to-talk): ``begin`` when one starts,
``end`` when it is over. The rules are those of ``TranscriptLedger``; this adds the clock, the timer and the lock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol, runtime_checkable

from fastcall.aio.background import Background, shared_background
from fastcall.aio.callbacks import CallbackQueue, UserCallback
from fastcall.events import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_MS,
    FallbackAsked,
    FallbackSilent,
    RecognitionEvent,
    TranscriptEvent,
)
from fastcall.recognition.ledger import TranscriptLedger
from fastcall.settings import Settings

__all__ = ["PendingText", "TranscriptSource", "UtteranceDispatcher"]


class TranscriptSource(Protocol):
    """A session, as a dispatcher sees it: implemented by ``RecognitionSession`` and ``StreamingSTTSession``."""

    @property
    def call_samples(self) -> int:
        """Audio pushed so far, in samples at 8 kHz."""

    def add_listener(self, listener: Callable[..., None]) -> None:
        """Call ``listener`` with every event, on the session's thread."""


@runtime_checkable
class UtteranceListener(Protocol):
    """A session that needs the utterances, for its fallback: both of the above."""

    def note_utterance(self, begins: bool, sample: int) -> None:
        """An utterance begins at ``sample`` of the audio, or the open one ends there. Returns at once."""


@runtime_checkable
class _BackgroundSession(Protocol):
    """A session on the background loop: a listener that does not block needs no callback thread."""

    def attach(self, listener: Callable[..., None]) -> None: ...


class PendingText(Coroutine[Any, Any, str]):
    """The pending text of an ended utterance. ``await`` it, or call :meth:`result`.

    It is a coroutine too, for ``asyncio.create_task``. Cancelling the wait cancels nothing else. Any thread, any loop.
    """

    __slots__ = ("_future", "_steps")

    def __init__(self) -> None:
        self._future: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._future.set_running_or_notify_cancel()  # so that cancelling one wait does not cancel it for others
        self._steps: dict[object, Generator[Any, Any, str]] = {}  # one per task that runs it as a coroutine

    @property
    def done(self) -> bool:
        """Whether the text is ready."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> str:
        """Wait for the text. Blocks: for threads, not for an event loop.

        :param timeout: seconds; None: no limit but the dispatcher's own waits
        :raises TimeoutError: it was not ready by then
        """
        return self._future.result(timeout)

    def settle(self, text: str) -> None:
        """The dispatcher's."""
        if not self._future.done():
            self._future.set_result(text)

    def __await__(self) -> Generator[Any, Any, str]:
        if self._future.done():
            return self._future.result()
        return (yield from asyncio.wrap_future(self._future).__await__())

    def send(self, value: Any) -> Any:
        """A coroutine's."""
        return self._step("send", value)

    def throw(self, *error: Any) -> Any:
        """A coroutine's."""
        return self._step("throw", *error)

    def close(self) -> None:
        """Of the coroutine protocol. There is nothing to close."""

    def _step(self, method: str, *arguments: Any) -> Any:
        task = asyncio.current_task()
        steps = self._steps.setdefault(task, self.__await__())
        try:
            return getattr(steps, method)(*arguments)
        except BaseException:  # it ended; StopIteration has the text
            self._steps.pop(task, None)
            raise


class UtteranceDispatcher:
    """The utterances of one session.

    Created on a running event loop, it calls back on that loop; call ``begin`` and ``end`` on its thread then. Created
    without one, it calls back on the callback threads, one callback at a time, and its methods may be called from any
    thread. The session's events may come from another thread in either case.

    :param session: the source of results and, by its audio, of time. Without one, pass ``on_partial`` and ``on_final``
        as a session's callbacks: results are then timed by their arrival, which is less exact
    :param settings: defaults of the following; by default the session's, else the environment's
    :param commit_ms: how long ``end`` waits for a final; by default ``UTTERANCE_COMMIT_MS``
    :param debounce_ms: minimum interval between partials; by default ``STT_PARTIAL_DEBOUNCE_MS``
    :param preroll_ms: audio before ``begin`` that belongs to the utterance; by default ``VAD_PREROLL_MS``
    :param fallback_timeout_ms: how long ``end`` waits for the fallback during an outage; by default
        ``STT_FALLBACK_TIMEOUT_MS``
    :param on_amended: called with an utterance's id and its complete new text when a late final changes it
    """

    def __init__(
        self,
        session: TranscriptSource | None = None,
        *,
        settings: Settings | None = None,
        commit_ms: int | None = None,
        debounce_ms: int | None = None,
        preroll_ms: int | None = None,
        fallback_timeout_ms: int | None = None,
        on_amended: Callable[[int, str], object] | None = None,
    ) -> None:
        settings = settings or getattr(session, "settings", None) or Settings()
        commit_ms = settings.utterance_commit_ms if commit_ms is None else commit_ms
        preroll_ms = settings.vad_preroll_ms if preroll_ms is None else preroll_ms
        wait_ms = settings.stt_fallback_timeout_ms if fallback_timeout_ms is None else fallback_timeout_ms
        debounce_s = settings.partial_debounce_s if debounce_ms is None else debounce_ms / 1000
        self._background: Background | None = None
        self._queue: CallbackQueue | None = None
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._background = shared_background()
            self._loop = self._background.loop
            self._queue = self._background.callbacks.queue()
        self._lock = threading.Lock()
        self._ledger = TranscriptLedger(commit_s=commit_ms / 1000, debounce_s=debounce_s)
        self._fallback_wait_s = wait_ms / 1000
        self._preroll_samples = preroll_ms * SAMPLES_PER_MS
        self._on_amended = self._guarded(on_amended)
        self._started_at = self._loop.time()
        self._session = session
        self._partial_cbs: dict[int, UserCallback] = {}
        self._ends: dict[int, PendingText] = {}
        self._floor_sample = 0
        self._timer: asyncio.TimerHandle | None = None
        if isinstance(session, _BackgroundSession):
            session.attach(self._heard)
        elif session is not None:
            session.add_listener(self._heard)

    def begin(self, partial_cb: Callable[[str], object] | None = None) -> int:
        """An utterance begins now.

        :param partial_cb: called with the utterance's text so far, debounced
        :return: the utterance's id
        :raises UsageError: this process is a fork of the one that created the dispatcher
        """
        if self._background is not None:
            self._background.check()
        callback = self._guarded(partial_cb)
        now_sample = self._now_sample()
        with self._lock:
            start = max(self._floor_sample, now_sample - self._preroll_samples, 0)
            utterance_id = self._ledger.begin(start, now=self._loop.time(), voice_sample=max(start, now_sample))
            if callback is not None:
                self._partial_cbs[utterance_id] = callback
        self._note_utterance(True, start)
        self._step()
        return utterance_id

    def end(self, *, silence_ms: int = 0) -> PendingText:
        """The utterance ends now. Its text is ready when finals cover it, else after ``commit_ms``, with the words
        known by then. Use ``await dispatcher.end()``, or ``dispatcher.end().result()``.

        :param silence_ms: how much silence the audio ends with (a voice detector's hangover)
        :return: the committed text; empty if no utterance was begun
        :raises UsageError: this process is a fork of the one that created the dispatcher
        """
        if self._background is not None:
            self._background.check()
        pending = PendingText()
        now_sample = self._now_sample()
        with self._lock:
            end_sample = max(self._floor_sample, now_sample - silence_ms * SAMPLES_PER_MS)
            utterance_id = self._ledger.end(end_sample, now=self._loop.time())
            if utterance_id is not None:
                self._floor_sample = end_sample
                self._ends[utterance_id] = pending
        if utterance_id is None:
            pending.settle("")
            return pending
        self._note_utterance(False, end_sample)
        self._step()
        return pending

    # --- results, from any thread -----------------------------------------------------------------------

    def on_partial(self, text: str) -> None:
        """A session's text since its last final, for use without a ``session``. Any thread."""
        self._heard(RecognitionEvent("interim", text, self._now_sample(), "callback"))

    def on_final(self, text: str) -> None:
        """A session's final, for use without a ``session``. Any thread."""
        self._heard(RecognitionEvent("final", text, self._now_sample(), "callback"))

    def _heard(self, event: object) -> None:
        if isinstance(event, RecognitionEvent | FallbackAsked | FallbackSilent):
            self._loop.call_soon_threadsafe(self._receive, event)

    def _receive(self, event: RecognitionEvent | FallbackAsked | FallbackSilent) -> None:
        now = self._loop.time()
        with self._lock:
            if isinstance(event, RecognitionEvent):
                self._ledger.receive(event, now=now)
            else:
                wait_s = self._fallback_wait_s if isinstance(event, FallbackAsked) else 0.0
                self._ledger.reschedule(event.end_sample, commit_at=now + wait_s)
        self._step()

    def _note_utterance(self, begins: bool, sample: int) -> None:
        if isinstance(self._session, UtteranceListener):
            self._session.note_utterance(begins, sample)

    # --- the ledger's clock -----------------------------------------------------------------------------

    def _now_sample(self) -> int:
        if self._session is not None:
            return self._session.call_samples
        return int((self._loop.time() - self._started_at) * SAMPLE_RATE_HZ)

    def _step(self) -> None:
        """Publish the ledger's events, and set the timer. Any thread, without the lock."""
        with self._lock:
            for event in self._ledger.take():
                self._deliver(event)
        if _running_loop() is self._loop:
            self._arm()
        else:
            self._loop.call_soon_threadsafe(self._arm)

    def _arm(self) -> None:
        """Loop thread."""
        with self._lock:
            due_at = self._ledger.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_at is not None:
            self._timer = self._loop.call_at(due_at, self._timer_fired, due_at)

    def _timer_fired(self, planned: float) -> None:
        self._timer = None
        with self._lock:
            self._ledger.handle_deadline(now=max(planned, self._loop.time()))
        self._step()

    def _deliver(self, event: TranscriptEvent) -> None:
        """With the lock."""
        utterance_id, text = event.utterance_id or 0, event.text or ""
        if event.event == "partial":
            self._call_back(self._partial_cbs.get(utterance_id), text)
        elif event.event == "utterance_end":
            self._partial_cbs.pop(utterance_id, None)
            pending = self._ends.pop(utterance_id, None)
            if pending is not None:
                pending.settle(text)
        elif event.event == "amended":
            self._call_back(self._on_amended, utterance_id, text)

    # --- callbacks --------------------------------------------------------------------------------------

    def _guarded(self, function: Callable[..., object] | None) -> UserCallback | None:
        if function is None:
            return None
        return UserCallback(function, on_exit=None if self._queue is not None else self._raise_soon)

    def _call_back(self, callback: UserCallback | None, *arguments: object) -> None:
        if callback is None:
            return
        if self._queue is not None:
            self._queue.put(lambda: callback(*arguments))
        else:
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _raise_soon(self, error: BaseException) -> None:
        """Raise exceptions that end a program on the loop, for its owner."""
        self._loop.call_soon(_raise, error)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _raise(error: BaseException) -> None:
    raise error
