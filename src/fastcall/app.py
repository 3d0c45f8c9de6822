"""The server, wired: the port, the calls, the sinks, what a signal does. The only file that names uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvloop

from fastcall.adapters.output import LogOutput, TranscriptFile
from fastcall.calls import CallHost
from fastcall.door import Door
from fastcall.errors import UsageError
from fastcall.options import ServeOptions, check_exposure, tell_where, tls_context
from fastcall.rules.metrics import Metrics
from fastcall.settings import Settings
from fastcall.supervisor import Supervisor
from fastcall.worker import Worker

__all__ = ["ServeOptions", "Server", "serve", "serve_as_worker"]

# Collections of the middle generation to one of the old; Python's own is 10.
OLD_GENERATION_EVERY = 100

log = logging.getLogger("fastcall")


class Server:
    """The running server, in one process. Loop thread only; ``start``, then ``drain`` if calls may end, then ``stop``.

    :param on_transcript: also told every transcript event as a line of JSON; must return at once
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
        self._calls = CallHost(
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
        self._door: Door | None = None

    @property
    def live_calls(self) -> int:
        """Sockets that are open or whose last words are still coming."""
        return self._calls.live_calls

    async def start(self) -> int:
        """Bring the recogniser and the listening socket up.

        :return: the port
        :raises UsageError: something needed is not there; the message says what to do
        """
        log.info("[CFG] ENABLE_STREAMING_STT=%s", self._settings.enable_streaming_stt)
        self._door = door = Door(self._settings, self._options, self, self.metrics, tls=self._tls)
        try:
            await self._calls.start(door, admit=door.admit, leave_room=door.room.leave, on_look=door.look)
            port = await door.listen()
        except UsageError:
            await self.stop()
            raise
        tell_where(self._settings, self._options, port, self._calls.recogniser)
        return port

    async def drain(self) -> None:
        """Take no more calls; return when the last has ended, or after ``drain_timeout_s``."""
        if self._door is not None:
            await self._door.drain()

    async def stop(self) -> None:
        """Stop accepting, close live calls, let their last words come (at most 8 s), release everything."""
        if self._door is not None:
            self._door.close()
        await self._calls.stop()
        if self._door is not None:
            await self._door.finish()
        if self._file is not None:
            self._file.close()

    def snapshot(self) -> dict[str, Any]:
        """The metrics, as of now."""
        if self._door is not None:
            self.metrics.sockets_waiting = len(self._door.room)
        return self._calls.snapshot()

    def _is_read(self) -> bool:
        return bool(self._writers) or (self._door is not None and self._door.broadcast.is_read)

    def _write(self, line: str) -> None:
        for write in self._writers:
            write(line)
        if self._door is not None:
            self._door.broadcast.write(line)

    def _write_batch(self, call_sid: str, line: str) -> None:
        if self._door is not None:
            self._door.broadcast.write_batch(call_sid, line)

    # --- CallPool -------------------------------------------------------------------------------------------

    def websocket(self) -> asyncio.Protocol:
        """See ``CallPool``."""
        return self._calls.websocket()

    def has_room(self) -> bool:
        """See ``CallPool``."""
        return self._calls.has_room()

    async def trouble(self) -> list[str]:
        """See ``CallPool``."""
        return await self._calls.trouble()

    async def numbers(self) -> dict[str, Any]:
        """See ``CallPool``."""
        return self.snapshot()

    def watch(self, call_sids: frozenset[str]) -> None:
        """See ``CallPool``."""
        self._calls.watch(call_sids)


def _set_aside() -> None:
    """See to it that the collector of cycles seldom looks through everything: a thousand calls stop for 0.1 s then.

    What there is before the first call stays, and need not be looked through. Calls that are over leave it nothing
    (tests/wire/test_leftovers.py); handlers may, and their libraries, but the young generations find most of that.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, OLD_GENERATION_EVERY)


async def _serve_until_signal(settings: Settings, options: ServeOptions) -> None:
    server = Server(settings, options) if options.workers == 1 else Supervisor(settings, options)
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    try:
        await server.start()
        _set_aside()
        await signals.get()
        # The first signal lets calls end, the second does not.
        draining = loop.create_task(server.drain())
        again = loop.create_task(signals.get())
        await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        again.cancel()
    finally:
        await server.stop()


def _allow_sockets() -> None:
    """A call takes a descriptor; the usual limit of a shell is 1024, and may be raised to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # where it may not, the limit stays what it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(settings: Settings, options: ServeOptions) -> int:
    """Serve until SIGTERM or SIGINT.

    :return: the exit status
    """
    _allow_sockets()
    output = LogOutput(sys.stdout, options.log_format)
    try:
        uvloop.run(_serve_until_signal(settings, options))
    finally:
        output.close()
    return 0


def serve_as_worker(settings: Settings, descriptors: tuple[int, int], log_format: str) -> int:
    """Be one of the processes that have the calls; see ``Worker``.

    :param descriptors: the ends of the ways for words and for connections
    """
    _allow_sockets()
    control, connections = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    output = LogOutput(sys.stdout, log_format)
    try:
        uvloop.run(Worker(settings, control, connections, on_ready=_set_aside).run())
    finally:
        output.close()
    return 0
