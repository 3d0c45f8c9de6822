"""Several processes behind one port: this one accepts, answers requests, and monitors the workers, which run the calls.

An upgrade's connection, descriptor and first bytes, goes to the worker with the fewest sockets: the number that it last
reported, plus those sent since. A stream that reconnects to a call of another worker is passed on to that one. A worker
that does not respond gets no more connections, and is killed if it still does not; a crashed worker and its lost calls
are logged, and it is restarted. Metrics, readiness and the live stream cover all workers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import replace
from typing import Any

from fastcall.errors import UsageError
from fastcall.events import CallStarted
from fastcall.fallbacks import load_fallback
from fastcall.metrics import Metrics, merge, without_gauges
from fastcall.recognition.probe import Probe
from fastcall.server.comeback import HOLD_S
from fastcall.server.http_frontend import HttpFrontend
from fastcall.server.loop_monitor import LoopMonitor
from fastcall.server.options import (
    ServeOptions,
    check_exposure,
    check_fallback,
    choose_recognizer,
    google_endpoint,
    load_handler,
    log_listening,
)
from fastcall.server.output import TranscriptFile
from fastcall.server.workers.fd_forwarder import Upgrade, adopt, read_message
from fastcall.server.workers.handle import RemoteCall, WorkerHandle
from fastcall.settings import Settings
from fastcall.twilio.stream_key import StreamKey

__all__ = ["Supervisor"]

log = logging.getLogger("fastcall")

START_TIMEOUT_S = 60.0


class Supervisor:
    """Loop thread only; ``start``, then ``drain`` if calls may end, then ``stop``. A ``CallPool`` of workers."""

    def __init__(self, settings: Settings, options: ServeOptions) -> None:
        kind, endpoint = choose_recognizer(settings, options)
        check_exposure(settings, options)
        check_fallback(settings, options)
        if kind == "embedded":
            raise UsageError("the embedded recognizer serves one process: leave --workers at 1, or set up another one")
        if options.tls_cert:
            raise UsageError("with --workers, TLS must be terminated by a proxy: leave out --tls-cert")
        if options.handler:
            load_handler(options.handler)
        if options.fallback:
            load_fallback(options.fallback)
        self._settings = settings
        self._options = options
        self.metrics = Metrics()
        self._gone = Metrics().snapshot()
        self._file = TranscriptFile(options.transcripts) if options.transcripts else None
        self._probe = _probe(endpoint or google_endpoint(settings, options)) if kind != "none" else None
        self._frontend: HttpFrontend | None = None
        self._watch: LoopMonitor | None = None
        self._workers: list[WorkerHandle] = []
        self._refusing: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._doubles: dict[RemoteCall, asyncio.TimerHandle] = {}
        """Calls that two workers have, oldest first."""

    async def start(self) -> int:
        """Start the workers, then listen.

        :return: the port
        :raises UsageError: something needed is missing; the message says what to do
        """
        log.info("[CFG] ENABLE_STREAMING_STT=%s", self._settings.enable_streaming_stt)
        self._frontend = frontend = HttpFrontend(self._settings, self._options, self, self.metrics)
        self._watch = LoopMonitor(self.metrics, max_lag_s=self._options.max_lag_ms / 1000, on_poll=self._poll)
        self._workers = [WorkerHandle(number, self) for number in range(1, self._options.workers + 1)]
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await asyncio.gather(*(worker.wait_ready() for worker in self._workers))
            port = await frontend.listen()
        except TimeoutError:
            await self.stop()
            raise UsageError(f"the workers did not start within {START_TIMEOUT_S:.0f} s") from None
        except UsageError:
            await self.stop()
            raise
        log_listening(
            self._settings, self._options, port, f"{self._workers[0].recognizer}, workers {len(self._workers)}"
        )
        return port

    async def drain(self) -> None:
        """Accept no more calls; return when the last has ended, or after ``drain_timeout_s``."""
        if self._frontend is not None:
            await self._frontend.drain()

    async def stop(self) -> None:
        """Stop accepting, let the workers close their calls and collect their last words, end everything."""
        self._is_stopping = True
        if self._frontend is not None:
            self._frontend.close()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        if self._watch is not None:
            self._watch.stop()
        if self._frontend is not None:
            await self._frontend.finish()
        if self._file is not None:
            self._file.close()

    # --- CallPool -------------------------------------------------------------------------------------------

    @property
    def live_calls(self) -> int:
        """See ``CallPool``."""
        return sum(worker.load for worker in self._workers)

    def websocket(self) -> asyncio.Protocol:
        """See ``CallPool``."""
        assert self._frontend is not None
        return Upgrade(self._forward, self._frontend.plain)

    def has_room(self) -> bool:
        """See ``CallPool``."""
        return any(worker.is_ready and worker.has_room for worker in self._workers)

    async def unready_reasons(self) -> list[str]:
        """See ``CallPool``."""
        ready = [worker for worker in self._workers if worker.is_ready]
        if not ready:
            return [worker.unready_reason for worker in self._workers]
        reasons = ["the event loops are late"] if all(worker.is_strained for worker in ready) else []
        if all(worker.fails for worker in ready):
            reasons.append("the recognizer is failing")
        elif self._probe is not None and not await self._probe.is_reachable():
            reasons.append("the recognizer cannot be reached")
        return reasons

    def warnings(self) -> list[str]:
        """See ``CallPool``."""
        troubles = [worker.unready_reason for worker in self._workers]
        return [each for each in (*troubles, self._file.trouble if self._file is not None else "") if each]

    def reopen(self) -> None:
        """Continue in a new transcript file, because the old one was renamed."""
        if self._file is not None:
            self._file.reopen()

    async def numbers(self) -> dict[str, Any]:
        """See ``CallPool``."""
        assert self._frontend is not None
        self.metrics.sockets_waiting = len(self._frontend.room)
        if self._file is not None:
            self.metrics.transcript_lines_dropped = self._file.dropped_lines
            self.metrics.transcript_lines_waiting = self._file.waiting_lines
        theirs = await asyncio.gather(*(worker.numbers() for worker in self._workers))
        return merge([self._gone, self.metrics.snapshot(), *theirs])

    def watch(self, call_sids: frozenset[str]) -> None:
        """See ``CallPool``."""
        for worker in self._workers:
            worker.send("watch", call_sids=sorted(call_sids))

    # --- the workers' matters ---------------------------------------------------------------------------------

    @property
    def is_stopping(self) -> bool:
        """Whether workers are supposed to exit."""
        return self._is_stopping

    @property
    def worker_timeout_s(self) -> float:
        """How long a worker may not respond before it is killed."""
        return self._settings.worker_timeout_s

    @property
    def worker_options(self) -> ServeOptions:
        """The settings for workers."""
        return replace(self._options, transcripts=None, workers=1)

    @property
    def worker_arguments(self) -> list[str]:
        """A worker's command-line options, for what its settings do not include."""
        model = self._settings.whisper_model
        told = ["--log-format", self._options.log_format, "--uplink", self._settings.stt_uplink]
        return [*told, *(["--whisper-model", model] if model else [])]

    def on_call_entered(self, call: CallStarted, holder: RemoteCall) -> None:
        """A worker has begun a call: revoke it if it is not admitted. If another worker has the call too, unknown to
        this one, the older may be about to end (``server/comeback.py``): the newer is revoked only if the older
        continues."""
        assert self._frontend is not None
        refusal = self._frontend.enter(call, holder, may_wait=True)
        if refusal is None:
            self._announce(holder.key, holder.worker)
        elif refusal.reason == "second_socket":
            self._doubles[holder] = asyncio.get_running_loop().call_later(HOLD_S, self._decide, holder)
        else:
            holder.revoke(refusal.code, refusal.text)

    def _decide(self, holder: RemoteCall) -> None:
        """The older call has ended, or continued for long enough."""
        assert self._frontend is not None
        self._doubles.pop(holder).cancel()
        if holder.is_live:
            refusal = self._frontend.enter(holder.call, holder, has_waited=True)
            if refusal is None:
                self._announce(holder.key, holder.worker)
            else:
                holder.revoke(refusal.code, refusal.text)

    def on_call_left(self, holder: RemoteCall) -> None:
        """The socket of a worker's call closed."""
        assert self._frontend is not None
        self._frontend.leave(holder.key, holder)
        if self._frontend.holder(holder.key) is None:
            self._announce(holder.key, None)
        if holder in self._doubles:
            self._doubles.pop(holder).cancel()
        elif (next_one := next((each for each in self._doubles if each.key == holder.key), None)) is not None:
            self._decide(next_one)

    def _announce(self, key: StreamKey, worker: WorkerHandle | None) -> None:
        """Inform the workers whether another has the call, so that they can pass on a stream that reconnects to it."""
        for each in self._workers:
            each.send("remote", key=key.words(), is_live=worker is not None and each is not worker)

    def remote_calls(self, worker: WorkerHandle) -> list[StreamKey]:
        """The calls that other workers have."""
        assert self._frontend is not None
        streams = self._frontend.gate.streams
        return [key for key, _ in streams if self._worker_of(key) not in (None, worker)]

    def _worker_of(self, key: StreamKey) -> WorkerHandle | None:
        assert self._frontend is not None
        holder = self._frontend.holder(key)
        return holder.worker if isinstance(holder, RemoteCall) else None

    def publish(self, line: str) -> None:
        """A line of the transcript stream."""
        assert self._frontend is not None
        self._frontend.broadcast.write(line)
        if self._file is not None:
            self._file.write(line)

    def publish_batch(self, call_sid: str, line: str) -> None:
        """A batch of a watched call."""
        assert self._frontend is not None
        self._frontend.broadcast.write_batch(call_sid, line)

    @property
    def watched(self) -> list[str]:
        """The calls whose batches are reported."""
        return sorted(self._frontend.broadcast.watched) if self._frontend is not None else []

    def retain_counters(self, numbers: dict[str, Any]) -> None:
        """A worker exited: keep its counters."""
        self._gone = merge([self._gone, without_gauges(numbers)])

    def redirect(self, descriptor: int, message: bytes) -> None:
        """A worker did not receive a connection, or passes one on: another takes it, or the caller is refused."""
        assert self._frontend is not None
        about, received = read_message(message)
        if about is not None:
            self._bring(descriptor, message, self._worker_of(StreamKey.of_words(about["key"])))
            os.close(descriptor)
            return
        if not self._is_stopping and self._forward(descriptor, message):
            os.close(descriptor)
            return
        task = asyncio.get_running_loop().create_task(adopt(descriptor, received, self._frontend.plain))
        self._refusing.add(task)
        task.add_done_callback(self._refusing.discard)

    def _poll(self) -> None:
        assert self._frontend is not None
        self._frontend.poll()
        now = time.monotonic()
        for worker in self._workers:
            worker.poll(now=now)

    def _forward(self, descriptor: int, message: bytes) -> bool:
        assert self._frontend is not None
        return self._frontend.may_upgrade() and self._bring(descriptor, message)

    def _bring(self, descriptor: int, message: bytes, first: WorkerHandle | None = None) -> bool:
        """Send it to ``first`` if possible, else to the worker with the fewest sockets."""
        ready = [worker for worker in self._workers if worker.is_ready and not worker.is_full]
        for worker in sorted(ready, key=lambda each: (each is not first, not each.has_room, each.load)):
            if worker.take(descriptor, message):
                return True
        self.metrics.calls_refused["no_worker"] += 1
        return False


def _probe(address: str) -> Probe:
    # Imported here: it loads Google's packages, which this process does not otherwise need.
    from fastcall.google.route import Route

    return Probe(Route.to(address).reach)
