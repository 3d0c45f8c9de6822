"""The session for plain threaded code.

One loop thread and one callback thread serve all sessions of the process, however many there are. Audio goes from the
caller's thread straight into the session's ring; only a full batch wakes the loop.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from fastcall.drivers.own_fallback import FallbackFunction, OwnFallback
from fastcall.drivers.session import RecognitionSession, SessionEvent
from fastcall.errors import ClosedError, UsageError
from fastcall.events import SessionFailed
from fastcall.fallbacks import start_fallback
from fastcall.ports import Fallback, Recognizer, StreamConfig
from fastcall.settings import Settings

__all__ = ["StreamingSTTSession"]

log = logging.getLogger("fastcall.session")

CLOSE_TIMEOUT_S = 2.0
# A Whisper model is loaded by the first session that needs it.
OPEN_TIMEOUT_S = 300.0
NO_FALLBACK_HERE = (
    "set WHISPER_MODEL to a Whisper model (pip install 'fastcall[whisper]'), or give the session a function of your "
    "own as fallback="
)
# Of the 2 s, what is kept for the callbacks that the last finals bring.
CALLBACK_TIMEOUT_S = 0.2


class _Threads:
    """The process's loop thread, its callback thread, and the recognisers that live on the loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._recognizers: dict[tuple[str | None, ...], Recognizer] = {}
        self._fallbacks: dict[tuple[object, ...], Fallback] = {}
        self._loading = asyncio.Lock()
        self._threads = [
            threading.Thread(target=self.loop.run_forever, name="fastcall-loop", daemon=True),
            threading.Thread(target=self._call_back, name="fastcall-callbacks", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self._stop)

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
        """Run ``coroutine`` on the loop thread and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)

    def call_back(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` on the callback thread, after those before it."""
        self._calls.put(callback)

    def on_callback_thread(self) -> bool:
        """Whether the caller is a callback."""
        return threading.current_thread() is self._threads[1]

    async def recognizer(self, settings: Settings) -> Recognizer:
        """The recogniser that all sessions with these settings share."""
        key = host, uplink, roots = settings.speech_emulator_host, settings.stt_uplink, settings.stt_tls_roots
        if key not in self._recognizers:
            from fastcall.adapters.google import GoogleRecognizer

            self._recognizers[key] = GoogleRecognizer.create(emulator_host=host, uplink=uplink, tls_roots=roots)
        return self._recognizers[key]

    async def fallback(self, settings: Settings) -> Fallback | None:
        """Whisper, if a model is named: the one that all sessions with these settings share."""
        language = settings.language_or()
        key = (settings.whisper_model, settings.whisper_compute_type, settings.whisper_threads, language)
        async with self._loading:  # a model is loaded once, however many sessions open meanwhile
            if key not in self._fallbacks:
                fallback = await start_fallback(settings, None, language)
                if fallback is None:
                    return None
                self._fallbacks[key] = fallback
        return self._fallbacks[key]

    def _call_back(self) -> None:
        while (callback := self._calls.get()) is not None:
            try:
                callback()
            except Exception:
                # User code: its failure is told, and other sessions' callbacks go on.
                log.exception("a callback failed")

    def _stop(self) -> None:
        async def close_all() -> None:
            for recognizer in self._recognizers.values():
                await recognizer.aclose()
            for fallback in self._fallbacks.values():
                await fallback.aclose()

        try:
            self.run(close_all(), CLOSE_TIMEOUT_S)
        except concurrent.futures.TimeoutError:
            log.warning("the recogniser's connections did not close in time")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._calls.put(None)


_threads: _Threads | None = None
_threads_lock = threading.Lock()


def _shared_threads() -> _Threads:
    global _threads
    with _threads_lock:
        if _threads is None:
            _threads = _Threads()
        return _threads


class StreamingSTTSession:
    """One streaming recognition session for a whole call, for threaded code.

    Callbacks run on one thread that all sessions share, so they must return at once: append, set an event, point.
    ``push_audio`` belongs to one thread at a time; ``close`` may be called from any.

    :param on_partial: called with the text since the last final; never unchanged, never closer than
        ``STT_PARTIAL_DEBOUNCE_MS``
    :param on_final: called with each final
    :param settings: by default those of the environment
    :param fallback: your own, ``pcm, language -> text``; by default Whisper, if ``WHISPER_MODEL`` names a model. It
        hears the utterances that a ``UtteranceDispatcher`` on this session, or ``note_utterance``, tells of
    :raises UsageError: no credentials and no ``SPEECH_EMULATOR_HOST``; or ``ENABLE_STREAMING_STT=false`` without a
        fallback
    """

    def __init__(
        self,
        on_partial: Callable[[str], None] | None = None,
        on_final: Callable[[str], None] | None = None,
        *,
        settings: Settings | None = None,
        fallback: FallbackFunction | None = None,
    ) -> None:
        self._settings = settings or Settings.from_environ(os.environ)
        self._on_partial = on_partial
        self._on_final = on_final
        self._threads = _shared_threads()
        self._closed = False
        self._close_lock = threading.Lock()
        self._pump_is_queued = False
        self._own_fallback = OwnFallback(fallback) if fallback is not None else None
        self._session: RecognitionSession = self._threads.run(self._open(), OPEN_TIMEOUT_S)

    @property
    def call_samples(self) -> int:
        """Audio that was pushed so far, in samples at 8 kHz. Any thread."""
        return self._session.call_samples

    @property
    def dropped_samples(self) -> int:
        """Samples that did not fit into the ring (10 s) and are sent as silence. Any thread."""
        return self._session.dropped_samples

    @property
    def failure(self) -> SessionFailed | None:
        """Why the session gives no more results, or None. Any thread."""
        return self._session.failure

    def push_audio(self, pcm: bytes | bytearray | memoryview) -> None:
        """Hand audio to the recogniser. Never blocks.

        :param pcm: LINEAR16 (little-endian), 8 kHz mono, any length in whole samples, any bytes-like object
        :raises ClosedError: after ``close``
        :raises ValueError: an odd number of bytes
        """
        if self._closed:
            raise ClosedError("the session is closed; it takes no more audio")
        due = self._session.feed(pcm if isinstance(pcm, bytes) else bytes(memoryview(pcm)))
        if due and not self._pump_is_queued:
            self._pump_is_queued = True
            self._threads.loop.call_soon_threadsafe(self._pump)

    def close(self) -> None:
        """Send the rest, wait for the last finals and their callbacks (at most 2 s in all), end the session.

        The interim that no final came for is given to ``on_final``. Closing twice does nothing.
        """
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        self._threads.run(self._session.close(CLOSE_TIMEOUT_S - 2 * CALLBACK_TIMEOUT_S), CLOSE_TIMEOUT_S)
        if not self._threads.on_callback_thread():
            delivered = threading.Event()
            self._threads.call_back(delivered.set)
            delivered.wait(CALLBACK_TIMEOUT_S)

    def note_utterance(self, begins: bool, sample: int) -> None:
        """An utterance begins at ``sample`` (of ``call_samples``), or the open one ends there: the fallback hears it
        when the recogniser cannot serve. Any thread; returns at once."""
        self._threads.loop.call_soon_threadsafe(self._session.note_utterance, begins, sample)

    def add_listener(self, listener: Callable[[SessionEvent], None]) -> None:
        """Also tell ``listener`` every event of the session, on the loop thread: it must return at once."""
        self._threads.loop.call_soon_threadsafe(self._session.add_listener, listener)

    def __enter__(self) -> StreamingSTTSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _open(self) -> RecognitionSession:
        settings = self._settings
        fallback = self._own_fallback or await self._threads.fallback(settings)
        if fallback is None and not settings.enable_streaming_stt:
            raise UsageError(f"ENABLE_STREAMING_STT=false needs a fallback: {NO_FALLBACK_HERE}")
        session = RecognitionSession(
            await self._threads.recognizer(settings) if settings.enable_streaming_stt else None,
            StreamConfig(settings.language_or(), settings.model),
            fallback=fallback,
            settings=self._settings,
            on_event=self._log_failure,
            on_partial=self._via_thread(self._on_partial),
            on_final=self._via_thread(self._on_final),
            encoding="linear16",
        )
        session.start()
        return session

    def _pump(self) -> None:
        self._pump_is_queued = False
        self._session.pump()

    def _via_thread(self, callback: Callable[[str], None] | None) -> Callable[[str], None] | None:
        if callback is None:
            return None
        return lambda text: self._threads.call_back(lambda: callback(text))

    def _log_failure(self, event: SessionEvent) -> None:
        if isinstance(event, SessionFailed):
            log.error("recognition failed: %s: %s. %s", event.code, event.message, event.advice)
