"""Several processes behind one port: this one accepts, answers requests, and has an eye on those that have the calls.

A connection's upgrade goes, descriptor and first bytes, to the worker with the fewest; how many that are is what the
worker last told of, and what was sent to it since. A worker that dies is told of with the calls that died with it, and
another is started. Numbers, readiness and the live stream speak for all.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from fastcall.adapters.handover import Sender, Upgrade, handover_pair
from fastcall.adapters.output import TranscriptFile
from fastcall.door import Door
from fastcall.drivers.loopwatch import LoopWatch
from fastcall.drivers.probe import Probe
from fastcall.errors import UsageError
from fastcall.events import CallStarted, TranscriptEvent
from fastcall.options import ServeOptions, check_exposure, choose_recogniser, load_handler, tell_where
from fastcall.rules.metrics import COUNTERS, HISTOGRAMS, LABELLED, Metrics, merge
from fastcall.rules.records import one_line, record_line
from fastcall.rules.streamtoken import PARAMETER
from fastcall.settings import Settings
from fastcall.worker import LINE_LIMIT_BYTES

__all__ = ["Supervisor"]

log = logging.getLogger("fastcall")

START_TIMEOUT_S = 60.0
NUMBERS_TIMEOUT_S = 1.0
# The worker's own bound for last words, and some.
STOP_TIMEOUT_S = 15.0
# A worker that dies at once is not started again at once.
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
STEADY_S = 10.0
MAX_CALLS_NAMED = 20


class Supervisor:
    """Loop thread only; ``start``, then ``drain`` if calls may end, then ``stop``. A ``CallPool`` by its workers."""

    def __init__(self, settings: Settings, options: ServeOptions) -> None:
        kind, endpoint = choose_recogniser(settings, options)
        check_exposure(settings, options)
        if kind == "embedded":
            raise UsageError("the embedded recogniser is for one process: leave --workers at 1, or set another up")
        if options.tls_cert:
            raise UsageError("with --workers TLS must end before this server, in a proxy: leave --tls-cert out")
        if options.handler:
            load_handler(options.handler)
        self._settings = settings
        self._options = options
        self.metrics = Metrics()
        self._gone = Metrics().snapshot()
        self._file = TranscriptFile(options.transcripts) if options.transcripts else None
        self._probe = Probe(endpoint or "speech.googleapis.com:443")
        self._door: Door | None = None
        self._watch: LoopWatch | None = None
        self._workers: list[_Worker] = []
        self._is_stopping = False

    async def start(self) -> int:
        """Start the workers, then listen.

        :return: the port
        :raises UsageError: something needed is not there; the message says what to do
        """
        log.info("[CFG] ENABLE_STREAMING_STT=%s", self._settings.enable_streaming_stt)
        self._door = door = Door(self._settings, self._options, self, self.metrics)
        self._watch = LoopWatch(self.metrics, max_lag_s=self._options.max_lag_ms / 1000, on_look=door.look)
        self._workers = [_Worker(number, self) for number in range(1, self._options.workers + 1)]
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await asyncio.gather(*(worker.began() for worker in self._workers))
            port = await door.listen()
        except TimeoutError:
            await self.stop()
            raise UsageError(f"the workers did not start within {START_TIMEOUT_S:.0f} s") from None
        except UsageError:
            await self.stop()
            raise
        tell_where(self._settings, self._options, port, f"{self._workers[0].recogniser}, workers {len(self._workers)}")
        return port

    async def drain(self) -> None:
        """Take no more calls; return when the last has ended, or after ``drain_timeout_s``."""
        if self._door is not None:
            await self._door.drain()

    async def stop(self) -> None:
        """Stop accepting, let the workers close their calls and collect their last words, end everything."""
        self._is_stopping = True
        if self._door is not None:
            self._door.close()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        if self._watch is not None:
            self._watch.stop()
        if self._door is not None:
            await self._door.finish()
        if self._file is not None:
            self._file.close()

    # --- CallPool -------------------------------------------------------------------------------------------

    @property
    def live_calls(self) -> int:
        """See ``CallPool``."""
        return sum(worker.load for worker in self._workers)

    def websocket(self) -> asyncio.Protocol:
        """See ``CallPool``."""
        assert self._door is not None
        return Upgrade(self._hand_over, self._door.plain)

    def has_room(self) -> bool:
        """See ``CallPool``."""
        return any(worker.is_ready and worker.has_room for worker in self._workers)

    async def trouble(self) -> list[str]:
        """See ``CallPool``."""
        ready = [worker for worker in self._workers if worker.is_ready]
        if not ready:
            return ["no worker is running"]
        reasons = ["the event loops are late"] if all(worker.is_strained for worker in ready) else []
        if all(worker.fails for worker in ready):
            reasons.append("the recogniser fails")
        elif not await self._probe.is_reachable():
            reasons.append("the recogniser cannot be reached")
        return reasons

    async def numbers(self) -> dict[str, Any]:
        """See ``CallPool``."""
        assert self._door is not None
        self.metrics.sockets_waiting = len(self._door.room)
        theirs = await asyncio.gather(*(worker.numbers() for worker in self._workers))
        return merge([self._gone, self.metrics.snapshot(), *theirs])

    # --- the workers' matters ---------------------------------------------------------------------------------

    @property
    def is_stopping(self) -> bool:
        """Whether workers may end."""
        return self._is_stopping

    @property
    def worker_options(self) -> ServeOptions:
        """What a worker is told."""
        return replace(self._options, transcripts=None, workers=1)

    def entered(self, call: CallStarted, holder: _Remote) -> None:
        """A worker has begun a call: revoke it if it may not be."""
        assert self._door is not None
        refusal = self._door.enter(call, holder)
        if refusal is not None:
            holder.revoke(refusal.code, refusal.text)

    def left(self, call_sid: str, holder: _Remote) -> None:
        """A worker's call has no socket any more."""
        assert self._door is not None
        self._door.leave(call_sid, holder)

    def publish(self, line: str) -> None:
        """A line of the transcript stream."""
        assert self._door is not None
        self._door.broadcast.write(line)
        if self._file is not None:
            self._file.write(line)

    def bury(self, numbers: dict[str, Any]) -> None:
        """A worker is gone: what it counted stays counted."""
        kept = {name: numbers[name] for name in (*COUNTERS, *LABELLED, *HISTOGRAMS)}
        self._gone = merge([self._gone, {**Metrics().snapshot(), **kept}])

    def _hand_over(self, descriptor: int, early: bytes) -> bool:
        assert self._door is not None
        if not self._door.may_upgrade():
            return False
        ready = [worker for worker in self._workers if worker.is_ready]
        for worker in sorted(ready, key=lambda each: (not each.has_room, each.load)):
            if worker.take(descriptor, early):
                return True
        self.metrics.calls_refused["no_worker"] += 1
        return False


class _Remote:
    """A call in a worker. Fulfils ``CallHolder``."""

    def __init__(self, worker: _Worker, call: CallStarted) -> None:
        self._worker = worker
        self.call = call

    def silent_s(self) -> float:
        return float("inf") if self.call.call_sid in self._worker.silent else 0.0

    def replaced(self) -> None:
        self.revoke(1008, "the call came back on another socket")

    def revoke(self, code: int, text: str) -> None:
        self._worker.say("revoke", call_sid=self.call.call_sid, code=code, text=text)


class _Worker:
    """One worker, over all its lives."""

    def __init__(self, number: int, supervisor: Supervisor) -> None:
        self._number = number
        self._supervisor = supervisor
        self._loop = asyncio.get_running_loop()
        self._calls: dict[str, _Remote] = {}
        self._sent = 0
        self._received = 0
        self._open = 0
        self._numbers = Metrics().snapshot()
        self._asked: asyncio.Future[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._sender: Sender | None = None
        self._began: asyncio.Future[None] = self._loop.create_future()
        self.is_ready = False
        self.has_room = True
        self.is_strained = False
        self.fails = False
        self.silent: frozenset[str] = frozenset()
        self.recogniser = ""
        self._task = self._loop.create_task(self._live())

    @property
    def load(self) -> int:
        """Its sockets: those it told of, and those sent to it since."""
        return self._open + self._sent - self._received

    async def began(self) -> None:
        """Return when it is ready for the first time.

        :raises UsageError: it cannot be
        """
        await asyncio.shield(self._began)

    def take(self, descriptor: int, early: bytes) -> bool:
        """Send it a connection; see ``Sender.send``."""
        if self._sender is None or not self._sender.send(descriptor, early):
            return False
        self._sent += 1
        return True

    def say(self, what: str, **more: Any) -> None:
        """Tell it something; a worker that is gone hears nothing."""
        if self._writer is not None:
            self._writer.write(json.dumps({"do": what, **more}).encode() + b"\n")

    async def numbers(self) -> dict[str, Any]:
        """What it has counted; what it last told, if it does not answer in a second."""
        if self.is_ready:
            if self._asked is None or self._asked.done():
                self._asked = self._loop.create_future()
                self.say("numbers")
            await asyncio.wait((self._asked,), timeout=NUMBERS_TIMEOUT_S)
        return self._numbers

    async def stop(self) -> None:
        """Let it end, or end it."""
        self.say("stop")
        done, _ = await asyncio.wait((self._task,), timeout=STOP_TIMEOUT_S)
        if not done:
            log.error("worker %d does not end; killing it", self._number)
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._began.done() and not self._began.cancelled():
            self._began.exception()  # told by who waited for it

    # --- its lives ------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._supervisor.is_stopping:
            began_at = self._loop.time()
            await self._live_once()
            if self._supervisor.is_stopping or (self._began.done() and self._began.exception() is not None):
                return
            if self._loop.time() - began_at > STEADY_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def _live_once(self) -> None:
        control, theirs = socket.socketpair()
        connections, their_connections = handover_pair()
        self._sender = Sender(connections)
        with theirs, their_connections:
            descriptors = theirs.fileno(), their_connections.fileno()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fastcall", "serve", "--as-worker", f"{descriptors[0]},{descriptors[1]}"),
                *("--log-format", self._supervisor.worker_options.log_format),
                pass_fds=descriptors,
                start_new_session=True,
            )
        reader, self._writer = await asyncio.open_connection(sock=control, limit=LINE_LIMIT_BYTES)
        try:
            self._writer.write(json.dumps(asdict(self._supervisor.worker_options)).encode() + b"\n")
            await self._listen(reader)
        finally:
            self._writer.close()
            self._writer = None
            self._sender.close()
            self._sender = None
        status = await self._process.wait()
        self._mourn(status)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await reader.readline()
            except (ConnectionError, ValueError):
                return
            if not line.endswith(b"\n"):
                return
            word = json.loads(line)
            _HEARD[word["tell"]](self, word)

    def _ready(self, word: dict[str, Any]) -> None:
        self.is_ready, self.has_room, self.is_strained, self.fails = True, True, False, False
        self.recogniser = word["recogniser"]
        pid = self._process.pid if self._process is not None else 0
        log.info("worker %d is there, pid %d", self._number, pid)
        if not self._began.done():
            self._began.set_result(None)

    def _failed(self, word: dict[str, Any]) -> None:
        if not self._began.done():
            self._began.set_exception(UsageError(word["text"]))
        else:
            log.error("worker %d cannot start: %s", self._number, word["text"])

    def _report(self, word: dict[str, Any]) -> None:
        self._open, self._received = word["open"], word["received"]
        self.has_room, self.is_strained, self.fails = word["has_room"], word["is_strained"], word["fails"]
        self.silent = frozenset(word["silent"])

    def _count(self, word: dict[str, Any]) -> None:
        self._numbers = word["numbers"]
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)

    def _enter(self, word: dict[str, Any]) -> None:
        parameters = {PARAMETER: word["token"]} if word["token"] else {}
        call = CallStarted(word["stream_sid"], word["call_sid"], "", custom_parameters=parameters)
        holder = self._calls[call.call_sid] = _Remote(self, call)
        self._supervisor.entered(call, holder)

    def _leave(self, word: dict[str, Any]) -> None:
        holder = self._calls.pop(word["call_sid"], None)
        if holder is not None:
            self._supervisor.left(word["call_sid"], holder)

    def _line(self, word: dict[str, Any]) -> None:
        self._supervisor.publish(word["line"])

    def _mourn(self, status: int) -> None:
        """It has ended: tell of the calls that ended with it."""
        self.is_ready = False
        self._supervisor.bury(self._numbers)
        self._numbers = Metrics().snapshot()
        lost, self._calls = self._calls, {}
        sockets = self.load
        self._sent = self._received = self._open = 0
        if self._supervisor.is_stopping and not status:
            return
        named = ", ".join(one_line(call_sid) for call_sid in list(lost)[:MAX_CALLS_NAMED])
        more = f" and {len(lost) - MAX_CALLS_NAMED} more" if len(lost) > MAX_CALLS_NAMED else ""
        how = f"died of signal {-status}" if status < 0 else f"ended with status {status}"
        calls = f": {named}{more}" if lost else ""
        log.error("worker %d %s; lost are %d calls%s (%d sockets)", self._number, how, len(lost), calls, sockets)
        for call_sid, holder in lost.items():
            self._supervisor.left(call_sid, holder)
            event = TranscriptEvent("call_ended", text="the process that had the call died")
            stream_sid = holder.call.stream_sid
            self._supervisor.publish(record_line(event, call_sid=call_sid, stream_sid=stream_sid, at=time.time()))


_HEARD: dict[str, Callable[[_Worker, dict[str, Any]], None]] = {
    "ready": _Worker._ready,
    "failed": _Worker._failed,
    "report": _Worker._report,
    "numbers": _Worker._count,
    "enter": _Worker._enter,
    "leave": _Worker._leave,
    "line": _Worker._line,
}
