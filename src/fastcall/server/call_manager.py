"""The calls of one process: their shared recognizer, sockets and runners, and waiting for their last words."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from fastcall.aio.descriptors import RESERVE, spare_descriptors
from fastcall.audio.vad import WebRtcVoiceDetector
from fastcall.end_of_turn.loading import load_end_of_turn_model
from fastcall.events import CallStarted, TranscriptEvent
from fastcall.fallbacks import NO_FALLBACK, load_fallback, start_fallback
from fastcall.formats import log_line, one_line, record_line
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.metrics import Metrics
from fastcall.ports import EndOfTurnModel, Fallback, StreamConfig
from fastcall.recognition.probe import Probe
from fastcall.server.admission import CallHolder, Gate, Refusal
from fastcall.server.authorizer import ticket_of
from fastcall.server.call_runner import CallRunner
from fastcall.server.embedded import EmbeddedRecognizer
from fastcall.server.loop_monitor import LoopMonitor
from fastcall.server.options import ServeOptions, check_fallback, choose_recognizer, load_handler, load_prompt
from fastcall.server.own_completeness import load_completeness
from fastcall.server.websocket import MediaConnection, MediaServer, UpgradeRequest
from fastcall.settings import Settings
from fastcall.twilio.stream_key import StreamKey
from fastcall.twilio.stream_tokens import TICKET

__all__ = ["CallManager"]

log = logging.getLogger("fastcall")

SHUTDOWN_S = 8.0
SERVICE_RESTART = 1012
POLICY_VIOLATION = 1008
SHORT_OF_DESCRIPTORS = "nearly out of file descriptors: raise the limit (ulimit -n, LimitNOFILE)"


class CallManager:
    """Loop thread only; ``start``, then ``stop``.

    :param emit: called with every transcript event as a line of JSON; must not block
    :param is_read: whether anybody wants such lines
    :param emit_batch: called with every batch of watched calls: the call's id and a line of JSON
    """

    def __init__(
        self,
        settings: Settings,
        options: ServeOptions,
        metrics: Metrics,
        *,
        emit: Callable[[str], None],
        is_read: Callable[[], bool],
        emit_batch: Callable[[str, str], None],
    ) -> None:
        check_fallback(settings, options)
        self._settings = settings
        self._options = options
        self.metrics = metrics
        self._emit = emit
        self._is_read = is_read
        self._emit_batch = emit_batch
        self._watched: frozenset[str] = frozenset()
        self._kind, self._endpoint = choose_recognizer(settings, options)
        self._handler = load_handler(options.handler) if options.handler else None
        self._completeness = load_completeness(settings.turn_completeness) if settings.turn_completeness else None
        self._turn_model: EndOfTurnModel | None = None
        self._prompt = load_prompt(settings.agent_failure_prompt)
        self._own_fallback = load_fallback(options.fallback) if options.fallback else None
        self._fallback: Fallback | None = None
        self._is_lack_told = False
        self._is_short = False
        self._embedded: EmbeddedRecognizer | None = None
        self._recognizer: GoogleRecognizer | None = None
        self._config = StreamConfig(
            settings.language_or(),
            settings.model,
            phrases=settings.phrases,
            alternative_languages=settings.alternative_language_codes,
        )
        self._calls: set[CallRunner] = set()
        self._gate: Gate | None = None
        self._leave_room: Callable[[Any], None] | None = None
        self._pass_on: Callable[[CallStarted, MediaConnection], bool] | None = None
        self._watch: LoopMonitor | None = None

    @property
    def live_calls(self) -> int:
        """Sockets that are open or whose last words are still coming."""
        return len(self._calls)

    @property
    def runners(self) -> frozenset[CallRunner]:
        """The runners of these sockets."""
        return frozenset(self._calls)

    @property
    def open_sockets(self) -> int:
        """Sockets that are not finished, from their first byte to their calls' last words."""
        return self._media.open_connections

    @property
    def recognizer(self) -> str:
        """Kind, address, uplink, language and model, for the log."""
        where = f" at {self._recognizer.address}" if self._recognizer is not None else ""
        how = f" over the {self._recognizer.uplink} uplink" if self._recognizer is not None else ""
        return f"recognizer {self._kind}{where}{how}, language {self._config.language}, model {self._config.model}"

    async def start(
        self,
        gate: Gate,
        *,
        admit: Callable[[UpgradeRequest], tuple[int, str] | None],
        leave_room: Callable[[Any], None],
        pass_on: Callable[[CallStarted, MediaConnection], bool] | None = None,
        on_poll: Callable[[], None] | None = None,
    ) -> None:
        """Start the recognizer and accept sockets.

        :param gate: decides whether a call may begin
        :param admit: checks upgrades, see ``MediaServer``
        :param leave_room: called with the transport of each socket that became a call or closed
        :param pass_on: gives a connection to the process that has its call; whether it did
        :param on_poll: called ten times a second
        :raises UsageError: something needed is missing; the message says what to do
        """
        if self._kind == "embedded":
            self._embedded = await EmbeddedRecognizer.start()
            self._endpoint = self._embedded.address
            self._config = StreamConfig(self._settings.language_or("en-US"), "default")
            log.warning(
                "no Google credentials: using the embedded recognizer (PocketSphinx, English only, inaccurate; "
                "for trying out). Set GOOGLE_APPLICATION_CREDENTIALS for real recognition."
            )
        if self._kind != "none":
            self._recognizer = self._make_recognizer()
            self._probe = Probe(self._recognizer.reach)
        self._fallback = await start_fallback(self._settings, self._own_fallback, self._config.language)
        self._turn_model = await load_end_of_turn_model(self._settings)
        self._gate = gate
        self._leave_room = leave_room
        self._pass_on = pass_on
        self._media = MediaServer(
            self._make_runner, admit=admit, fast_path=self._options.fast_path, keeps=pass_on is not None
        )
        self._watch = LoopMonitor(
            self.metrics, max_lag_s=self._options.max_lag_ms / 1000, on_poll=partial(self._poll, on_poll)
        )

    def _make_recognizer(self) -> GoogleRecognizer:
        settings = self._settings
        is_google = self._kind == "google"
        return GoogleRecognizer.create(
            "v2" if self._options.stt == "google-v2" else "v1",
            emulator_host=None if is_google else self._endpoint,
            endpoint=self._endpoint if is_google else None,
            project=settings.google_cloud_project,
            location=settings.stt_location,
            sensitivity=settings.stt_sensitivity,
            universe_domain=settings.google_cloud_universe_domain,
            uplink=settings.stt_uplink,
            tls_roots=settings.stt_tls_roots,
        )

    async def stop(self) -> None:
        """Close live calls, wait for their last words (at most 8 s), release everything."""
        if self._watch is not None:
            self._watch.stop()
            try:
                async with asyncio.timeout(SHUTDOWN_S):
                    await self._media.close(SERVICE_RESTART, "the server is stopping")
            except TimeoutError:
                log.error("gave up waiting for the last words of %d calls", len(self._calls))
        if self._recognizer is not None:
            await self._recognizer.aclose()
        if self._fallback is not None:
            await self._fallback.aclose()
        if self._turn_model is not None:
            await self._turn_model.aclose()
        if self._embedded is not None:
            await self._embedded.stop()

    def websocket(self) -> asyncio.Protocol:
        """The protocol of a connection whose first bytes are an upgrade request."""
        return self._media()

    def moved_websocket(self, target: str) -> asyncio.Protocol:
        """The protocol of a WebSocket whose upgrade for ``target`` was answered by another process."""
        return self._media.moved(target)

    def _poll(self, on_poll: Callable[[], None] | None) -> None:
        """Log once when descriptors run out, and once when some are free again: peers get no answer meanwhile."""
        is_short = spare_descriptors() < RESERVE
        if is_short and not self._is_short:
            log.error("%s; no calls are accepted until some are free", SHORT_OF_DESCRIPTORS)
        elif self._is_short and not is_short:
            log.info("file descriptors are available again")
        self._is_short = is_short
        if on_poll is not None:
            on_poll()

    # --- how it is ------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether another call would be served well."""
        assert self._watch is not None
        is_hurt = self._watch.is_saturated or (self.fails and self._fallback is None)
        return not is_hurt and spare_descriptors() >= RESERVE

    async def unready_reasons(self) -> list[str]:
        """Why no more calls should be sent here; nothing if they should."""
        assert self._watch is not None
        reasons = ["the event loop is late"] if self._watch.is_strained else []
        if spare_descriptors() < RESERVE:
            reasons.append(SHORT_OF_DESCRIPTORS)
        if self._recognizer is None:
            return reasons
        if self.fails:
            reasons.append("the recognizer is failing")
        elif not await self._probe.is_reachable():
            reasons.append("the recognizer cannot be reached")
        return reasons

    @property
    def is_strained(self) -> bool:
        """Whether there will soon be no capacity."""
        return self._watch is not None and self._watch.is_strained

    @property
    def fails(self) -> bool:
        """Whether the recognizer fails for all calls."""
        return self._recognizer is not None and self._recognizer.breaker.is_open

    def snapshot(self) -> dict[str, Any]:
        """This process's current metrics."""
        for runner in self._calls:
            runner.count()
        return self.metrics.snapshot()

    def silent_calls(self, at_least_s: float) -> set[StreamKey]:
        """The calls whose socket has been silent for so long."""
        return {runner.place for runner in self._calls if runner.place is not None and runner.silent_s() >= at_least_s}

    # --- calls ----------------------------------------------------------------------------------------------

    def watch(self, call_sids: frozenset[str]) -> None:
        """Report the batches of these calls, live or future, and of no others."""
        self._watched = call_sids
        self._update_watched()

    def _update_watched(self) -> None:
        """Done here only, so that a batch of an unwatched call costs nothing more."""
        for runner in self._calls:
            if runner.session is not None:
                is_watched = runner.key.call_sid in self._watched
                runner.session.watch_batches(partial(self._report_batch, runner) if is_watched else None)

    def _report_batch(self, runner: CallRunner, start: int, end: int) -> None:
        event, call_sid = TranscriptEvent("batch", start_sample=start, end_sample=end), runner.key.call_sid
        line = record_line(event, call_sid=call_sid, stream_sid=runner.stream_sid, at=time.time())
        self._emit_batch(call_sid, line)

    def _make_runner(self, connection: MediaConnection) -> CallRunner:
        assert self._gate is not None
        assert self._leave_room is not None
        runner = CallRunner(
            connection,
            settings=self._settings,
            recognizer=self._recognizer,
            config=self._config,
            fallback=self._fallback,
            voice=WebRtcVoiceDetector(self._settings.vad_mode),
            sink=self._sink,
            handler=self._handler,
            prompt=self._prompt,
            gate=_ConnectionGate(self._gate, connection, self._leave_room, self._pass_on, self.metrics),
            metrics=self.metrics,
            completeness=self._completeness,
            turn_model=self._turn_model,
        )
        self._calls.add(runner)
        runner.on_over(lambda: self._forget(runner))
        return runner

    def _forget(self, runner: CallRunner) -> None:
        self._calls.discard(runner)

    def _sink(self, event: TranscriptEvent, *, key: StreamKey, stream_sid: str) -> None:
        line = log_line(event, key=key)
        if line is not None and log.isEnabledFor(logging.INFO):
            # Not ``log.info``: half of its time goes into finding the calling line, which nobody needs here.
            extra = {"call": one_line(key.call_sid)}
            log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, line, (), None, extra=extra))
        if event.event == "session_started" and key.call_sid in self._watched:
            self._update_watched()
        if event.event == "session_failed" and self._fallback is None and not self._is_lack_told:
            self._is_lack_told = True
            log.info("no fallback for utterances that the recognizer cannot serve: %s", NO_FALLBACK)
        if self._is_read():
            self._emit(record_line(event, call_sid=key.call_sid, stream_sid=stream_sid, at=time.time()))


class _ConnectionGate:
    """The gate as one connection sees it: once its call begins it leaves the pending connections, and a ticket
    admits only the call that it was issued for."""

    def __init__(
        self,
        gate: Gate,
        connection: MediaConnection,
        leave_room: Callable[[Any], None],
        pass_on: Callable[[CallStarted, MediaConnection], bool] | None,
        metrics: Metrics,
    ) -> None:
        self._gate = gate
        self._connection = connection
        self._leave_room = leave_room
        self._pass_on = pass_on
        self._metrics = metrics

    def enter(self, call: CallStarted, holder: CallHolder) -> Refusal | None:
        if ticket_of(self._connection.target)[0] not in ("", call.custom_parameters.get(TICKET)):
            refusal = Refusal("ticket_of_another", POLICY_VIOLATION, "the ticket is for another call", is_auth=True)
            self._metrics.note_refusal(refusal.reason, is_auth=refusal.is_auth)
            return refusal
        answer = self._gate.enter(call, holder)
        if answer is None:
            self._leave_room(self._connection.transport)
            self._connection.stay()
        return answer

    def pass_on(self, call: CallStarted) -> bool:
        """See ``Entrance``."""
        if self._pass_on is None or not self._pass_on(call, self._connection):
            return False
        self._leave_room(self._connection.transport)
        return True

    def holder(self, key: StreamKey) -> CallHolder | None:
        """See ``Gate``."""
        return self._gate.holder(key)

    def leave(self, key: StreamKey, holder: CallHolder) -> None:
        self._gate.leave(key, holder)
