"""The server: wires the port, the calls and the sinks, and handles signals. The only module that imports uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import uvloop

from fastcall.aio.lifetime import LastResort, run_to_the_end
from fastcall.errors import UsageError
from fastcall.metrics import Metrics
from fastcall.server.call_manager import CallManager
from fastcall.server.http_frontend import HttpFrontend
from fastcall.server.options import ServeOptions, check_exposure, log_listening, tls_context
from fastcall.server.output import LogOutput, TranscriptFile
from fastcall.server.systemd import ServiceManager
from fastcall.server.workers.supervisor import Supervisor
from fastcall.server.workers.worker import Worker
from fastcall.settings import Settings

__all__ = ["ServeOptions", "Server", "serve", "serve_as_worker"]

# Middle-generation collections per full collection; Python's default is 10.
OLD_GENERATION_EVERY = 100
# After a drain; a worker's calls take at most 15 s for their last words.
STOP_TIMEOUT_S = 20.0
LEFTOVERS_TIMEOUT_S = 3.0
# The parent kills a worker whose loop is stuck; without a parent, it exits by itself after twice that time.
SELF_END_SHARE = 2
SELF_WATCH_S = 1.0

log = logging.getLogger("fastcall")


class Server:
    """The running server, in one process. Loop thread only; ``start``, then ``drain`` if calls may end, then ``stop``.

    :param on_transcript: called with every transcript event as a line of JSON; must not block
    """

    def __init__(
        self,
        settings: Settings,
        options: ServeOptions,
        *,
        on_transcript: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._options = options
        self.metrics = Metrics()
        self._calls = CallManager(
            settings,
            options,
            self.metrics,
            emit=self._write,
            is_read=self._is_read,
            emit_batch=self._write_batch,
        )
        check_exposure(settings, options)
        self._tls = tls_context(options)
        self._file = TranscriptFile(options.transcripts) if options.transcripts else None
        self._writers: list[Callable[[str], None]] = []
        if on_transcript is not None:
            self._writers.append(on_transcript)
        if self._file is not None:
            self._writers.append(self._file.write)
        self._frontend: HttpFrontend | None = None

    @property
    def live_calls(self) -> int:
        """Sockets that are open or whose last words are still coming."""
        return self._calls.live_calls

    @property
    def calls(self) -> CallManager:
        """All of this process. For those who look on."""
        return self._calls

    @property
    def frontend(self) -> HttpFrontend:
        """What listens, once started. For those who look on."""
        assert self._frontend is not None
        return self._frontend

    async def start(self) -> int:
        """Bring the recognizer and the listening socket up.

        :return: the port
        :raises UsageError: something needed is missing; the message says what to do
        """
        log.info("[CFG] ENABLE_STREAMING_STT=%s", self._settings.enable_streaming_stt)
        self._frontend = frontend = HttpFrontend(self._settings, self._options, self, self.metrics, tls=self._tls)
        try:
            await self._calls.start(
                frontend, admit=frontend.admit, leave_room=frontend.room.leave, on_poll=frontend.poll
            )
            port = await frontend.listen()
        except UsageError:
            await self.stop()
            raise
        log_listening(self._settings, self._options, port, self._calls.recognizer)
        return port

    async def drain(self) -> None:
        """Accept no more calls; return when the last has ended, or after ``drain_timeout_s``."""
        if self._frontend is not None:
            await self._frontend.drain()

    async def stop(self) -> None:
        """Stop accepting, close live calls, wait for their last words (at most 8 s), release everything."""
        if self._frontend is not None:
            self._frontend.close()
        await self._calls.stop()
        if self._frontend is not None:
            await self._frontend.finish()
        if self._file is not None:
            self._file.close()

    def snapshot(self) -> dict[str, Any]:
        """The metrics, as of now."""
        if self._frontend is not None:
            self.metrics.sockets_waiting = len(self._frontend.room)
        if self._file is not None:
            self.metrics.transcript_lines_dropped = self._file.dropped_lines
            self.metrics.transcript_lines_waiting = self._file.waiting_lines
        return self._calls.snapshot()

    def _is_read(self) -> bool:
        return bool(self._writers) or (self._frontend is not None and self._frontend.broadcast.is_read)

    def _write(self, line: str) -> None:
        for write in self._writers:
            write(line)
        if self._frontend is not None:
            self._frontend.broadcast.write(line)

    def _write_batch(self, call_sid: str, line: str) -> None:
        if self._frontend is not None:
            self._frontend.broadcast.write_batch(call_sid, line)

    # --- CallPool -------------------------------------------------------------------------------------------

    def websocket(self) -> asyncio.Protocol:
        """See ``CallPool``."""
        return self._calls.websocket()

    def has_room(self) -> bool:
        """See ``CallPool``."""
        return self._calls.has_room()

    async def unready_reasons(self) -> list[str]:
        """See ``CallPool``."""
        return await self._calls.unready_reasons()

    def warnings(self) -> list[str]:
        """See ``CallPool``."""
        return [self._file.trouble] if self._file is not None and self._file.trouble else []

    def reopen(self) -> None:
        """Continue in a new transcript file, because the old one was renamed."""
        if self._file is not None:
            self._file.reopen()

    async def numbers(self) -> dict[str, Any]:
        """See ``CallPool``."""
        return self.snapshot()

    def watch(self, call_sids: frozenset[str]) -> None:
        """See ``CallPool``."""
        self._calls.watch(call_sids)


def _set_aside() -> None:
    """Make full garbage collections rare: each stops a thousand calls for 0.1 s.

    Objects that exist before the first call stay, and need not be scanned. Calls that end leave no cycles
    (tests/wire/test_leftovers.py); handlers and their libraries may, but the young generations find most of those.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, OLD_GENERATION_EVERY)


def _notify_alive(manager: ServiceManager, loop: asyncio.AbstractEventLoop) -> None:
    """Notify the service manager periodically: it kills a process whose event loop is stuck."""
    if manager.watchdog_s:
        manager.tell("WATCHDOG=1")
        loop.call_later(manager.watchdog_s / 3, _notify_alive, manager, loop)


async def _serve_until_asked(server: Server | Supervisor, asked: asyncio.Queue[int], manager: ServiceManager) -> None:
    """Serve until a signal arrives. The first one drains, the second one does not wait."""
    loop = asyncio.get_running_loop()
    _notify_alive(manager, loop)
    tasks: list[asyncio.Task[Any]] = [loop.create_task(server.start()), loop.create_task(asked.get())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
            _set_aside()
            manager.tell("READY=1")
            await tasks[1]
            manager.tell("STOPPING=1")
            tasks += [loop.create_task(server.drain()), loop.create_task(asked.get())]
            await asyncio.wait(tasks[2:], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await server.stop()


class _SelfWatch:
    """Ends a worker whose event loop is stuck, in case its parent is gone. Loop thread only.

    :param limit_s: how long the loop may be stuck
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._nowhere = open(os.devnull, "w")

    def turn(self) -> None:
        """Restart the timer, and do so again periodically."""
        # Its thread needs no interpreter. The traceback goes nowhere: writing to a full pipe would block.
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=self._nowhere)
        asyncio.get_running_loop().call_later(SELF_WATCH_S, self.turn)


def _allow_sockets() -> None:
    """Raise the limit of descriptors (often 1024) to the hard one: each call takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # not permitted: the limit stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(settings: Settings, options: ServeOptions, manager: ServiceManager | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Main thread of a dedicated process: whatever does not end with the calls is ended
    by force soon after.

    :param manager: notified when the server is ready, and that the event loop runs
    :return: the exit status
    """
    _allow_sockets()
    output = LogOutput(sys.stdout, options.log_format)
    last_resort = LastResort(partial(_leave, output))

    async def main() -> None:
        server = Server(settings, options) if options.workers == 1 else Supervisor(settings, options)
        loop, asked = asyncio.get_running_loop(), asyncio.Queue[int]()
        drain_s = [options.drain_timeout_s]

        def ask(number: int, _: object) -> None:
            # Not the loop's own signal handling: a stuck loop would never run it.
            last_resort.within(STOP_TIMEOUT_S + (drain_s.pop() if drain_s else 0.0), status=1)
            wake(asked.put_nowait, number)

        def wake(act: Callable[..., None], *values: int) -> None:
            if not loop.is_closed():  # a signal may still come while the process ends
                loop.call_soon_threadsafe(act, *values)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, ask)
        signal.signal(signal.SIGHUP, lambda *_: wake(server.reopen))
        await _serve_until_asked(server, asked, manager or ServiceManager())

    return _run(main(), output, last_resort)


def serve_as_worker(settings: Settings, descriptors: tuple[int, int], log_format: str) -> int:
    """Run one worker process; see ``Worker``.

    :param descriptors: this process's ends of the sockets for messages and for connections
    """
    _allow_sockets()
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # programs that a handler starts must not inherit them
    control, connections = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    faulthandler.register(signal.SIGUSR1)  # the parent asks for the stack of a worker that does not answer
    output = LogOutput(sys.stdout, log_format)
    last_resort = LastResort(partial(_leave, output))
    watch = _SelfWatch(SELF_END_SHARE * settings.worker_timeout_s)

    def ready() -> None:
        _set_aside()
        watch.turn()

    async def main() -> None:
        await Worker(
            settings, control, connections, on_ready=ready, on_end=partial(last_resort.within, STOP_TIMEOUT_S, 1)
        ).run()

    return _run(main(), output, last_resort)


def _run(main: Coroutine[Any, Any, None], output: LogOutput, last_resort: LastResort) -> int:
    """Run it, and make sure that the process ends after it.

    :return: the exit status
    """
    before = set(threading.enumerate())
    try:
        # The calls are over. Tasks and threads that handlers left behind get some time to end.
        run_to_the_end(
            main, loop_factory=uvloop.new_event_loop, on_over=partial(last_resort.within, LEFTOVERS_TIMEOUT_S, 0)
        )
    except BaseException:
        last_resort.within(LEFTOVERS_TIMEOUT_S, 1)
        raise
    finally:
        if not output.close():
            os._exit(0 if sys.exc_info()[0] is None else 1)
        if all(thread.daemon for thread in threading.enumerate() if thread not in before):
            last_resort.close()  # else the interpreter would wait for a handler's threads
    return 0


def _leave(output: LogOutput, status: int) -> None:
    """Exit, although some threads do not end."""
    level = logging.ERROR if status else logging.WARNING
    log.log(level, "exiting by force; threads: %s", ", ".join(thread.name for thread in threading.enumerate()))
    output.close()
    os._exit(status)
