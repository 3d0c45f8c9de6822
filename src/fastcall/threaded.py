"""The session for threaded code.

One loop thread and a few callback threads serve all sessions of the process (``fastcall.aio.background``). Audio is
written directly into the session's ring by the caller's thread; only a full batch wakes the loop. Recognizers and
fallbacks are created once for all sessions with the same settings, and never block the loop.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

from fastcall.aio.background import Background, shared_background
from fastcall.aio.callbacks import UserCallback
from fastcall.call_logger import CallLogger
from fastcall.errors import ClosedError, UsageError, missing_extra
from fastcall.events import SessionFailed
from fastcall.fallbacks import start_fallback
from fastcall.formats import field_value, one_line
from fastcall.google.endpoints import GLOBAL, V1_REGIONS, speech_endpoint
from fastcall.ports import Fallback, Recognizer, StreamConfig
from fastcall.recognition.callable_fallback import CallableFallback, FallbackFunction
from fastcall.recognition.pending_streams import PendingFallback, PendingRecognizer
from fastcall.recognition.session import RecognitionSession, SessionEvent
from fastcall.settings import Settings
from fastcall.whisper.policy import language_of

__all__ = ["StreamingSTTSession"]

LOG: Final = logging.getLogger("fastcall.session")

CLOSE_TIMEOUT_S: Final = 2.0
# The first session that needs a Whisper model loads it.
OPEN_TIMEOUT_S: Final = 300.0
NO_FALLBACK_HERE: Final = (
    "set WHISPER_MODEL to a Whisper model (pip install 'fastcall[whisper]'), or pass your own function to the session "
    "as fallback="
)
# Part of the 2 s, reserved for the callbacks with the last finals.
CALLBACK_TIMEOUT_S: Final = 0.2
VERSIONS: Final = ("v1", "v2")
# Models that exist only in version 2 of Google's API.
MODELS_OF_V2: Final = ("chirp", "telephony", "long", "short")

T = TypeVar("T")


class _Shared:
    """What the sessions of a process share: recognizers, fallbacks, and the list of open sessions. Loop thread only.

    A recognizer with the user's own credentials is closed with its last session, because a program may create
    credentials for each call.
    """

    def __init__(self, background: Background) -> None:
        self.background = background
        self.sessions: set[RecognitionSession] = set()
        self._makings: dict[Hashable, _Making] = {}
        self._closing: set[asyncio.Future[None]] = set()
        background.at_exit(self._close_made)
        background.at_exit(self._close_sessions)

    def take(self, key: Hashable, make: Callable[[], Awaitable[Any]], *, is_kept: bool) -> _Making:
        """The result of ``make``, shared by all sessions with ``key``; failures are not cached.

        Call ``give_back`` in the end.

        :param is_kept: whether to keep it when no session uses it
        """
        making = self._makings.get(key)
        if making is None:
            making = self._makings[key] = _Making(key, asyncio.ensure_future(make()), is_kept)
            making.made.add_done_callback(lambda made: self._forget(making) if _has_failed(made) else None)
        making.users += 1
        return making

    def give_back(self, making: _Making) -> None:
        """A session that took it has ended."""
        making.users -= 1
        if not making.users and not making.is_kept:
            self._forget(making)
            making.made.add_done_callback(self._close)

    def _forget(self, making: _Making) -> None:
        if self._makings.get(making.key) is making:
            del self._makings[making.key]

    def _close(self, made: asyncio.Future[Any]) -> None:
        if not _has_failed(made):
            closing = asyncio.ensure_future(made.result().aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _close_sessions(self, timeout_s: float) -> None:
        await asyncio.gather(*(session.close(timeout_s) for session in tuple(self.sessions)))

    async def _close_made(self, timeout_s: float) -> None:
        done = [each.made for each in self._makings.values() if each.made.done()]
        made = [each.result() for each in done if not _has_failed(each)]
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*(each.aclose() for each in made), *self._closing)


@dataclass(slots=True, eq=False)
class _Making:
    """A recognizer or a fallback, ready or being created."""

    key: Hashable
    made: asyncio.Future[Any]
    is_kept: bool
    users: int = 0


def _has_failed(made: asyncio.Future[Any]) -> bool:
    return made.cancelled() or made.exception() is not None


async def _in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function in a daemon thread: neither the loop nor the interpreter's exit waits for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            result = function()
        except BaseException as error:
            is_ordinary = isinstance(error, Exception)
            reported = error if is_ordinary else RuntimeError(f"{type(error).__name__}: {error}")
            loop.call_soon_threadsafe(settle, None, reported)
        else:
            loop.call_soon_threadsafe(settle, result, None)

    threading.Thread(target=run, name="fastcall-opening", daemon=True).start()
    return await done


class StreamingSTTSession:
    """One streaming recognition session for a whole call, for threaded code.

    Callbacks of one session run one at a time and in order, never on the caller's thread. They should return at once:
    append to a queue, set an event. A callback that blocks delays only its own session's callbacks, as long as fewer
    than eight sessions do so. Exceptions of callbacks are logged, and have no other effect. Call ``push_audio`` from
    one thread at a time; ``close`` may be called from any thread.

    The constructor waits until the recognizer is ready, and raises its errors. On a running event loop it does not
    wait: audio is buffered meanwhile, and errors are reported as a ``SessionFailed`` event, in the log, and by
    :attr:`failure`.

    A session belongs to the process that created it. In a fork of that process all methods raise ``UsageError``.

    :param on_partial: called with the text since the last final, when it changes, at intervals of at least
        ``STT_PARTIAL_DEBOUNCE_MS``
    :param on_final: called with each final
    :param settings: by default from the environment
    :param fallback: your own, ``pcm, language -> text``; by default Whisper, if ``WHISPER_MODEL`` names a model. It
        recognizes the utterances reported by a ``UtteranceDispatcher`` on this session, or by ``note_utterance``
    :param language: BCP 47, such as ``he-IL``; by default ``GCP_STT_LANGUAGE``
    :param model: by default ``GCP_STT_MODEL``
    :param version: of Google's API, ``"v1"`` or ``"v2"``; by default v2 if the model or the location requires it
    :param location: such as ``eu``; by default ``GCP_STT_LOCATION``
    :param credentials: google-auth's, instead of Application Default Credentials
    :param phrases: words and phrases to expect; by default ``GCP_STT_PHRASES``
    :param call_id: shown in the session's log lines
    :param encoding: of the pushed audio: ``linear16`` (little-endian) or ``mulaw``; 8 kHz mono
    :raises UsageError: the arguments contradict each other, there are neither credentials nor
        ``SPEECH_EMULATOR_HOST``, ``ENABLE_STREAMING_STT=false`` without a fallback, or a package is missing
    :raises TimeoutError: the recognizer, or the fallback, was not ready after 300 s
    """

    def __init__(
        self,
        on_partial: Callable[[str], object] | None = None,
        on_final: Callable[[str], object] | None = None,
        *,
        settings: Settings | None = None,
        fallback: FallbackFunction | None = None,
        language: str | None = None,
        model: str | None = None,
        version: Literal["v1", "v2"] | None = None,
        location: str | None = None,
        credentials: Any = None,
        phrases: Sequence[str] | None = None,
        call_id: str = "",
        encoding: Literal["linear16", "mulaw"] = "linear16",
    ) -> None:
        settings = _settings_with(settings or Settings(), language, model, location, phrases)
        self._settings = settings
        self._version = _version_of(settings, version)
        self._credentials = credentials
        self._log = CallLogger(LOG, *((f"call={field_value(call_id)}", {"call": one_line(call_id)}) if call_id else ()))
        self._own_fallback = CallableFallback(fallback) if fallback is not None else None
        if encoding not in ("linear16", "mulaw"):
            raise UsageError(f"encoding={encoding!r}: use linear16 or mulaw")
        _check_packages(settings, has_fallback=self._own_fallback is not None)
        self._config = _config_of(settings)
        self._encoding = encoding
        self._background = shared_background()
        self._shared = self._background.once(_Shared)
        self._queue = self._background.callbacks.queue()
        self._on_partial = self._via_queue(on_partial)
        self._on_final = self._via_queue(on_final)
        self._closed = False
        self._close_lock = threading.Lock()
        self._pump_is_queued = False
        self._makings: list[_Making] = []
        waits = not _is_on_event_loop()
        self._session: RecognitionSession = self._background.run(
            self._open(), OPEN_TIMEOUT_S, "the session did not open"
        )
        if waits:
            try:
                self._background.run(self._ready(), OPEN_TIMEOUT_S, "the recognizer was not ready")
            except BaseException:
                self._background.call_soon(self._abandon)
                raise

    @property
    def settings(self) -> Settings:
        """The session's settings, including its own language, model and location."""
        return self._settings

    @property
    def call_samples(self) -> int:
        """Audio pushed so far, in samples at 8 kHz. Any thread."""
        return self._session.call_samples

    @property
    def dropped_samples(self) -> int:
        """Samples that did not fit into the ring (10 s) and were sent as silence. Any thread."""
        return self._session.dropped_samples

    @property
    def failure(self) -> SessionFailed | None:
        """Why the session returns no more results, or None. Any thread."""
        return self._session.failure

    def push_audio(self, pcm: bytes | bytearray | memoryview) -> None:
        """Send audio to the recognizer. Never blocks.

        :param pcm: in the session's encoding, by default LINEAR16; any length in whole samples, any bytes-like object
        :raises ClosedError: after ``close``
        :raises UsageError: this process is a fork of the session's
        :raises ValueError: an odd number of bytes of LINEAR16
        """
        if self._closed:
            raise ClosedError("the session is closed; it accepts no more audio")
        self._background.check()
        due = self._session.feed(pcm if isinstance(pcm, bytes) else bytes(memoryview(pcm)))
        if due and not self._pump_is_queued:
            self._pump_is_queued = True
            self._background.call_soon(self._pump)

    def close(self) -> None:
        """Send the rest, wait for the last finals and their callbacks (at most 2 s in total), end the session.

        An interim without a final is passed to ``on_final``. Closing twice does nothing.

        :raises UsageError: this process is a fork of the session's, or this thread is the loop's (``attach``), which
            cannot wait for itself
        :raises TimeoutError: the loop was blocked for all that time; the session still closes
        """
        self._background.check()
        self._background.check_may_wait()
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
        closing = self._close(CLOSE_TIMEOUT_S - 2 * CALLBACK_TIMEOUT_S)
        self._background.run(closing, CLOSE_TIMEOUT_S, "the session did not close")
        if not self._queue.is_current:
            delivered = threading.Event()
            self._queue.put(delivered.set)
            delivered.wait(CALLBACK_TIMEOUT_S)

    def note_utterance(self, begins: bool, sample: int) -> None:
        """An utterance begins at ``sample`` (of ``call_samples``), or the open one ends there. The fallback recognizes
        it if the recognizer cannot. Any thread; returns at once.

        :raises UsageError: this process is a fork of the session's
        """
        self._background.check()
        self._background.call_soon(self._session.note_utterance, begins, sample)

    def add_listener(self, listener: Callable[[SessionEvent], object]) -> None:
        """Also pass every event of the session to ``listener``, in order, on a callback thread. Any thread."""
        queue, guarded = self._background.callbacks.queue(), UserCallback(listener, log=self._log)
        self.attach(lambda event: queue.put(lambda: guarded(event)))

    def attach(self, listener: Callable[[SessionEvent], None]) -> None:
        """As ``add_listener``, but on the loop's thread, which serves other sessions, too: it must return at once."""
        self._background.check()
        self._background.call_soon(self._session.add_listener, listener)

    def __enter__(self) -> StreamingSTTSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- loop thread --------------------------------------------------------------------------------------

    async def _open(self) -> RecognitionSession:
        session = RecognitionSession(
            self._recognizer(),
            self._config,
            fallback=self._fallback(),
            settings=self._settings,
            on_event=self._log_failure,
            on_partial=self._on_partial,
            on_final=self._on_final,
            encoding=self._encoding,
            log=self._log,
        )
        session.start()
        self._shared.sessions.add(session)
        return session

    async def _ready(self) -> None:
        """Return when what the session needs is ready. :raises: why it cannot be"""
        for making in self._makings:
            await asyncio.shield(making.made)

    def _abandon(self) -> None:
        """Close the session, because its constructor raised."""
        self._closing = asyncio.ensure_future(self._close(0.0))

    async def _close(self, timeout_s: float) -> None:
        try:
            await self._session.close(timeout_s)
        finally:
            self._shared.sessions.discard(self._session)
            for making in self._makings:
                self._shared.give_back(making)

    def _recognizer(self) -> Recognizer | None:
        settings = self._settings
        if not settings.enable_streaming_stt:
            return None
        version, credentials = self._version, self._credentials
        key = (
            settings.speech_emulator_host,
            settings.stt_uplink,
            settings.stt_tls_roots,
            settings.google_cloud_project,
            settings.google_cloud_universe_domain,
            settings.stt_location,
            settings.stt_sensitivity,
            version,
            credentials,
        )
        making = self._shared.take(
            ("recognizer", *key),
            lambda: _in_thread(lambda: _make_recognizer(settings, version, credentials)),
            is_kept=credentials is None,
        )
        self._makings.append(making)
        return PendingRecognizer(making.made, "emulator" if settings.speech_emulator_host else "google")

    def _fallback(self) -> Fallback | None:
        if self._own_fallback is not None or self._settings.whisper_model is None:
            return self._own_fallback
        settings, language = self._settings, self._settings.language_or()
        key = (
            settings.whisper_model,
            settings.whisper_compute_type,
            settings.whisper_threads,
            settings.whisper_workers,
            settings.stt_fallback_limit_s,
            language_of(language),  # it checks this language at the start; each utterance has its own
        )

        async def load() -> Fallback:
            fallback = await start_fallback(settings, None, language)
            assert fallback is not None, "a model is named"
            return fallback

        making = self._shared.take(("fallback", *key), load, is_kept=True)
        self._makings.append(making)
        return PendingFallback(making.made, "whisper")

    def _pump(self) -> None:
        self._pump_is_queued = False
        self._session.pump()

    def _via_queue(self, callback: Callable[[str], object] | None) -> Callable[[str], None] | None:
        if callback is None:
            return None
        guarded, queue = UserCallback(callback, log=self._log), self._queue
        return lambda text: queue.put(lambda: guarded(text))

    def _log_failure(self, event: SessionEvent) -> None:
        if isinstance(event, SessionFailed):
            self._log.error("recognition failed: %s: %s. %s", event.code, event.message, event.advice)


def _is_on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _settings_with(
    settings: Settings, language: str | None, model: str | None, location: str | None, phrases: Sequence[str] | None
) -> Settings:
    """The settings, with a session's own values. :raises UsageError: one has a wrong type"""
    if isinstance(phrases, str):
        raise UsageError(f"phrases={phrases!r}: pass a list of phrases, not one string")
    given: dict[str, Any] = {
        "language": language,
        "model": model,
        "stt_location": location,
        "phrases": None if phrases is None else tuple(phrases),
    }
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def _config_of(settings: Settings) -> StreamConfig:
    return StreamConfig(
        settings.language_or(),
        settings.model,
        phrases=settings.phrases,
        alternative_languages=settings.alternative_language_codes,
    )


def _version_of(settings: Settings, version: str | None) -> str:
    """The version of Google's API. :raises UsageError: it does not exist, or not at the configured location"""
    if version not in (None, *VERSIONS):
        raise UsageError(f"version={version!r}: use {' or '.join(VERSIONS)}")
    if version is None:
        is_regional = settings.stt_location not in (GLOBAL, *V1_REGIONS)
        version = "v2" if is_regional or settings.model.split("_")[0] in MODELS_OF_V2 else "v1"
    if settings.speech_emulator_host is None:
        speech_endpoint(version, settings.stt_location, settings.google_cloud_universe_domain)
    return version


def _make_recognizer(settings: Settings, version: str, credentials: Any) -> Recognizer:
    """Blocks: looks for credentials and reads certificates."""
    from fastcall.google.recognizer import GoogleRecognizer

    return GoogleRecognizer.create(
        version,
        emulator_host=settings.speech_emulator_host,
        credentials=credentials,
        project=settings.google_cloud_project,
        location=settings.stt_location,
        sensitivity=settings.stt_sensitivity,
        universe_domain=settings.google_cloud_universe_domain,
        uplink=settings.stt_uplink,
        tls_roots=settings.stt_tls_roots,
    )


def _check_packages(settings: Settings, *, has_fallback: bool) -> None:
    """Check for missing packages.

    :raises UsageError: what to install, or another way out
    """
    if not settings.enable_streaming_stt:
        if not has_fallback and settings.whisper_model is None:
            raise UsageError(f"ENABLE_STREAMING_STT=false needs a fallback: {NO_FALLBACK_HERE}")
        return
    for package in ("google.cloud.speech_v1p1beta1", "grpc"):  # the first one's types need the second
        try:
            is_installed = importlib.util.find_spec(package) is not None
        except ModuleNotFoundError:  # of its parent package
            is_installed = False
        if not is_installed:
            raise UsageError(f"StreamingSTTSession: {missing_extra(ModuleNotFoundError(name=package))}")
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading") and _is_by_grpcio(settings.stt_uplink):
        raise UsageError(
            "gevent has patched this program's threads, with which grpcio hangs: use STT_UPLINK=native, which needs "
            "libnghttp2 (Debian: libnghttp2-14), or create sessions in a process that gevent has not patched"
        )


def _is_by_grpcio(uplink: str) -> bool:
    from fastcall import _http2

    if uplink == "auto":
        try:
            _http2.load()
        except OSError:
            return True
    return uplink == "grpcio"
