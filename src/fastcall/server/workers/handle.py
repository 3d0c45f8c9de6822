"""The supervisor's handle on one worker: starts its process, monitors it, and restarts it when it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from fastcall.aio.child_process import ChildProcess
from fastcall.aio.heartbeat import Heartbeat
from fastcall.aio.restarts import RestartPause
from fastcall.errors import UsageError
from fastcall.events import CallStarted, TranscriptEvent
from fastcall.formats import call_fields, record_line
from fastcall.metrics import Metrics
from fastcall.server.options import ServeOptions
from fastcall.server.workers.fd_forwarder import Receiver, Sender, handover_pair
from fastcall.server.workers.worker import LINE_LIMIT_BYTES
from fastcall.twilio.stream_key import STREAM, StreamKey

__all__ = ["RemoteCall", "WorkerHandle", "WorkerOwner"]

log = logging.getLogger("fastcall")

NUMBERS_TIMEOUT_S = 1.0
# The worker's own limit for last words, and a margin.
STOP_TIMEOUT_S = 15.0
# A starting worker loads a recognizer, maybe with a large model.
START_TIMEOUT_S = 60.0
# Share of the time after which a silent worker is killed; it reports ten times a second.
LATE_SHARE = 2 / 15
MAX_CALLS_NAMED = 20


class WorkerOwner(Protocol):
    """The supervisor, as its workers' handles see it."""

    @property
    def metrics(self) -> Metrics:
        """The supervisor's own metrics."""

    @property
    def worker_timeout_s(self) -> float:
        """How long a worker may not answer before it is killed."""

    @property
    def is_stopping(self) -> bool:
        """Whether workers are supposed to exit."""

    @property
    def worker_options(self) -> ServeOptions:
        """The settings for workers."""

    @property
    def worker_arguments(self) -> list[str]:
        """A worker's command-line options."""

    def on_call_entered(self, call: CallStarted, holder: RemoteCall) -> None:
        """A worker has begun a call: revoke it if it is not admitted."""

    def on_call_left(self, holder: RemoteCall) -> None:
        """The socket of a worker's call closed."""

    def publish(self, line: str) -> None:
        """A line of the transcript stream."""

    def publish_batch(self, call_sid: str, line: str) -> None:
        """A batch of a watched call."""

    def remote_calls(self, worker: WorkerHandle) -> list[StreamKey]:
        """The calls that other workers have."""

    @property
    def watched(self) -> list[str]:
        """The calls whose batches are reported."""

    def retain_counters(self, numbers: dict[str, Any]) -> None:
        """A worker exited: keep its counters."""

    def redirect(self, descriptor: int, message: bytes) -> None:
        """A worker did not receive a connection, or passes one on: find another for it. Closes the descriptor."""


class RemoteCall:
    """A call in a worker. Implements ``CallHolder``."""

    def __init__(self, worker: WorkerHandle, call: CallStarted) -> None:
        self.worker = worker
        self.call = call
        self.key = StreamKey.of(call)
        self.is_silent = False
        """Whether its socket has been silent for so long that it is dead."""

    def silent_s(self) -> float:
        return float("inf") if self.is_silent or not self.worker.has(self) else 0.0

    @property
    def is_live(self) -> bool:
        """Whether the worker has this call, and no newer socket of it."""
        return self.worker.has(self)

    def replaced(self) -> None:
        self.revoke(1008, "the call reconnected on another socket")

    def revoke(self, code: int, text: str) -> None:
        if self.worker.has(self):  # else the worker closed it, and another socket has the key there
            self.worker.send("revoke", key=self.key.words(), code=code, text=text)


class WorkerHandle:
    """One worker, across restarts of its process."""

    def __init__(self, number: int, owner: WorkerOwner) -> None:
        self._number = number
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._calls: dict[StreamKey, RemoteCall] = {}
        self._sent = 0
        self._received = 0
        self._open = 0
        self._numbers = Metrics().snapshot()
        self._asked: asyncio.Future[None] | None = None
        self._process: ChildProcess | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._sender: Sender | None = None
        self._receiver: Receiver | None = None
        self._first_ready: asyncio.Future[None] = self._loop.create_future()
        self._has_started = False
        self._heartbeat = self._new_heartbeat()
        self._is_late_told = False
        self.is_full = False
        """Whether it is out of descriptors for connections."""
        self.has_room = True
        self.is_strained = False
        self.fails = False
        self.recognizer = ""
        self._task = self._loop.create_task(self._live())

    @property
    def load(self) -> int:
        """Its sockets: the last number reported, and those sent since."""
        return self._open + self._sent - self._received

    @property
    def is_ready(self) -> bool:
        """Whether it has started, and responds."""
        return self._has_started and not self._heartbeat.is_late

    @property
    def unready_reason(self) -> str:
        """Why it gets no calls; empty if it does."""
        if not self._has_started:
            return f"worker {self._number} is not running"
        if self._heartbeat.is_late:
            return f"worker {self._number} does not respond"
        return f"worker {self._number} is out of file descriptors" if self.is_full else ""

    def has(self, call: RemoteCall) -> bool:
        """Whether the worker has this call, and no newer socket of it."""
        return self._calls.get(call.key) is call

    async def wait_ready(self) -> None:
        """Return when it becomes ready for the first time.

        :raises UsageError: it cannot be
        """
        await asyncio.shield(self._first_ready)

    def take(self, descriptor: int, message: bytes) -> bool:
        """Send it a connection; see ``Sender.send``."""
        if self._sender is None or not self._sender.send(descriptor, message):
            return False
        self._sent += 1
        return True

    def send(self, kind: str, **fields: Any) -> None:
        """Send it a message; ignored if the worker is gone."""
        if self._writer is not None:
            self._writer.write(json.dumps({"type": kind, **fields}).encode() + b"\n")

    async def numbers(self) -> dict[str, Any]:
        """Its metrics; the last ones reported, if it does not respond within a second."""
        if self.is_ready:
            if self._asked is None or self._asked.done():
                self._asked = self._loop.create_future()
                self.send("numbers")
            await asyncio.wait((self._asked,), timeout=NUMBERS_TIMEOUT_S)
        return self._numbers

    def poll(self, *, now: float) -> None:
        """Call a few times a second: check that it responds. It is killed if it has not for too long."""
        if self._receiver is not None:
            self._receiver.poll()
        process, heart = self._process, self._heartbeat
        if process is None or process.status is not None or self._owner.is_stopping:
            return
        heart.poll(now=now)
        if heart.is_dead:
            log.error("worker %d has not responded for %.1f s; killing it", self._number, heart.silent_s)
            process.kill()
        elif self._has_started and heart.is_late and not self._is_late_told:
            self._is_late_told = True
            self._owner.metrics.worker_stalls += 1
            log.error(
                "worker %d has not responded for %.1f s; it gets no calls until it does, and its stack is on stderr",
                self._number,
                heart.silent_s,
            )
            process.send_signal(signal.SIGUSR1)

    async def stop(self) -> None:
        """Ask it to exit, or kill it."""
        self.send("stop")
        done, _ = await asyncio.wait((self._task,), timeout=STOP_TIMEOUT_S)
        if not done:
            log.error("worker %d does not exit; killing it", self._number)
            if self._process is not None:
                self._process.kill()
                await self._process.wait()
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._first_ready.done() and not self._first_ready.cancelled():
            self._first_ready.exception()  # reported by the code that waits for it

    # --- its lives ------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        pause = RestartPause()
        while not self._owner.is_stopping:
            began_at = self._loop.time()
            try:
                await self._live_once()
            except OSError as error:  # out of memory or descriptors: it may work later
                log.error("worker %d cannot be started: %s", self._number, error.strerror or error)
            if self._owner.is_stopping or (self._first_ready.done() and self._first_ready.exception() is not None):
                return
            await asyncio.sleep(pause.after(self._loop.time() - began_at))

    async def _live_once(self) -> None:
        control, theirs = socket.socketpair()
        connections, their_connections = handover_pair()
        self._sender = Sender(connections, their_connections)
        self._receiver = Receiver(connections, self._forward)
        descriptors = theirs.fileno(), their_connections.fileno()
        try:
            with theirs:
                self._process = process = ChildProcess(
                    *(sys.executable, "-m", "fastcall", "serve", "--as-worker", f"{descriptors[0]},{descriptors[1]}"),
                    *self._owner.worker_arguments,
                    pass_fds=descriptors,
                )
        except OSError:
            control.close()
            self._close_sockets()
            raise
        self._heartbeat = Heartbeat(late_s=START_TIMEOUT_S, dead_s=START_TIMEOUT_S)
        try:
            reader, self._writer = await asyncio.open_connection(sock=control, limit=LINE_LIMIT_BYTES)
            self._writer.write(json.dumps(asdict(self._owner.worker_options)).encode() + b"\n")
            status = await process.wait_listening(self._listen(reader))
        finally:
            process.kill()
            self._close_sockets()
        self._on_exit(status)

    def _close_sockets(self) -> None:
        """Close the sockets to the process; redirect connections that it did not receive."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._sender is not None:
            self._has_started = False
            self._take_back()
            self._sender.close()
            self._sender = None
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    async def _forward(self, descriptor: int, message: bytes) -> None:
        self._owner.redirect(descriptor, message)

    def _take_back(self) -> None:
        """Give connections that it did not receive to another worker."""
        for descriptor, message in self._sender.take_back() if self._sender is not None else ():
            self._sent -= 1
            self._owner.redirect(descriptor, message)

    async def _listen(self, reader: asyncio.StreamReader) -> bool:
        """Return when there are no more messages; returns whether all were valid."""
        while True:
            try:
                line = await reader.readline()
                if not line.endswith(b"\n"):
                    return True
                self.on_message(json.loads(line))
            except ConnectionError:
                return True
            except Exception as error:  # whatever it is, it ends one worker, not its monitoring
                log.error("worker %d sent an invalid message; killing it: %r", self._number, error)
                return False

    def _new_heartbeat(self) -> Heartbeat:
        timeout_s = self._owner.worker_timeout_s
        return Heartbeat(late_s=timeout_s * LATE_SHARE, dead_s=timeout_s)

    def on_message(self, message: dict[str, Any]) -> None:
        """Handle a message from it."""
        _HANDLERS[message["type"]](self, message)

    def _ready(self, message: dict[str, Any]) -> None:
        self._has_started, self.has_room, self.is_strained, self.fails = True, True, False, False
        self.is_full = False
        self._heartbeat = self._new_heartbeat()
        self._is_late_told = False
        self.recognizer = message["recognizer"]
        self.send("watch", call_sids=self._owner.watched)
        for key in self._owner.remote_calls(self):
            self.send("remote", key=key.words(), is_live=True)
        pid = self._process.pid if self._process is not None else 0
        log.info("worker %d ready, pid %d", self._number, pid)
        if not self._first_ready.done():
            self._first_ready.set_result(None)

    def _failed(self, message: dict[str, Any]) -> None:
        if not self._first_ready.done():
            self._first_ready.set_exception(UsageError(message["text"]))
        else:
            log.error("worker %d cannot start: %s", self._number, message["text"])

    def _report(self, message: dict[str, Any]) -> None:
        self._open, self._received = message["open"], message["received"]
        self.has_room, self.is_strained, self.fails = message["has_room"], message["is_strained"], message["fails"]
        if self._is_late_told:
            self._is_late_told = False
            log.info("worker %d responds again, after %.1f s", self._number, self._heartbeat.silent_s)
        self._heartbeat.beat()
        if message["is_full"] and not self.is_full:
            log.error("worker %d is out of file descriptors; it gets no calls until some are free", self._number)
        elif self.is_full and not message["is_full"]:
            log.info("worker %d has file descriptors again", self._number)
        self.is_full = message["is_full"]
        if self.is_full:
            self._take_back()

    def _count(self, message: dict[str, Any]) -> None:
        self._numbers = message["numbers"]
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)

    def _enter(self, message: dict[str, Any]) -> None:
        key = StreamKey.of_words(message["key"])
        parameters = {**message["tokens"], STREAM: key.name}
        call = CallStarted(message["stream_sid"], key.call_sid, "", key.tracks, parameters)
        holder = self._calls[key] = RemoteCall(self, call)
        self._owner.on_call_entered(call, holder)

    def _leave(self, message: dict[str, Any]) -> None:
        holder = self._calls.pop(StreamKey.of_words(message["key"]), None)
        if holder is not None:
            self._owner.on_call_left(holder)

    def _silent(self, message: dict[str, Any]) -> None:
        self._note_silent(message, True)

    def _heard(self, message: dict[str, Any]) -> None:
        self._note_silent(message, False)

    def _note_silent(self, message: dict[str, Any], is_silent: bool) -> None:
        holder = self._calls.get(StreamKey.of_words(message["key"]))
        if holder is not None:  # else it has left since
            holder.is_silent = is_silent

    def _line(self, message: dict[str, Any]) -> None:
        self._owner.publish(message["line"])

    def _batch(self, message: dict[str, Any]) -> None:
        self._owner.publish_batch(message["call_sid"], message["line"])

    def _on_exit(self, status: int) -> None:
        """It exited: report the calls lost with it."""
        self._has_started = False
        self._owner.retain_counters(self._numbers)
        self._numbers = Metrics().snapshot()
        lost, self._calls = self._calls, {}
        sockets = self.load
        self._sent = self._received = self._open = 0
        if self._owner.is_stopping and not status:
            return
        self._owner.metrics.worker_deaths += 1
        named = ", ".join(call_fields(key).removeprefix("call=") for key in list(lost)[:MAX_CALLS_NAMED])
        more = f" and {len(lost) - MAX_CALLS_NAMED} more" if len(lost) > MAX_CALLS_NAMED else ""
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        calls = f": {named}{more}" if lost else ""
        log.error("worker %d %s; %d calls lost%s (%d sockets)", self._number, how, len(lost), calls, sockets)
        for key, holder in lost.items():
            self._owner.on_call_left(holder)
            event = TranscriptEvent("call_ended", text="the worker process of the call crashed")
            stream_sid = holder.call.stream_sid
            self._owner.publish(record_line(event, call_sid=key.call_sid, stream_sid=stream_sid, at=time.time()))


_HANDLERS: dict[str, Callable[[WorkerHandle, dict[str, Any]], None]] = {
    "ready": WorkerHandle._ready,
    "failed": WorkerHandle._failed,
    "report": WorkerHandle._report,
    "numbers": WorkerHandle._count,
    "enter": WorkerHandle._enter,
    "leave": WorkerHandle._leave,
    "silent": WorkerHandle._silent,
    "heard": WorkerHandle._heard,
    "line": WorkerHandle._line,
    "batch": WorkerHandle._batch,
}
