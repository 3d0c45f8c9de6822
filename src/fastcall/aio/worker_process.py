"""A subprocess that exchanges framed messages over stdin and stdout, and is restarted when it exits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastcall.aio.child_process import ChildProcess
from fastcall.aio.frames import pack, read_frame
from fastcall.aio.restarts import RestartPause
from fastcall.errors import UsageError

__all__ = ["WorkerProcess"]

log = logging.getLogger("fastcall.aio.worker_process")


class WorkerProcess:
    """One worker, whatever processes it takes. Loop thread only; call ``begin``, and ``stop`` in the end.

    The process sends ``{"ready": ...}`` when it can work, or ``{"refused": "why"}``. It exits when its stdin is closed,
    whose other end only this process holds.

    :param name: what the log and errors call it
    :param arguments: what Python runs; a change applies to the next start. Installed modules come before those of
        the working directory
    :param start_timeout_s: one that is not ready after so long is killed
    :param on_message: called with the head and the payload of each frame; an exception kills the process
    :param on_exit: called after each exit or failed start, with whether the worker had become ready
    :param read: reads the next message; raises ``IncompleteReadError`` at the end of the stream
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        start_timeout_s: float,
        on_message: Callable[[dict[str, Any], bytes], None] = lambda head, payload: None,
        on_exit: Callable[[bool], None] = lambda was_ready: None,
        read: Callable[[asyncio.StreamReader], Awaitable[tuple[dict[str, Any], bytes]]] = read_frame,
    ) -> None:
        self.arguments = arguments
        self.is_ready = False
        """Whether it can be sent work. Not any more once it is killed."""
        self._name = name
        self._start_timeout_s = start_timeout_s
        self._on_message = on_message
        self._on_exit = on_exit
        self._read = read
        self._child: ChildProcess | None = None
        self._input: asyncio.WriteTransport | None = None
        self._first_ready: asyncio.Future[Any] | None = None
        self._was_ready = False
        self._is_exit_reported = False
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of its process; None before there has been one."""
        return self._child.pid if self._child is not None else None

    @property
    def status(self) -> int | None:
        """What its process ended with, minus the number of a signal; None while it runs or before there was one."""
        return self._child.status if self._child is not None else None

    def begin(self) -> None:
        """Start it, and start it again whenever it ends."""
        loop = asyncio.get_running_loop()
        self._first_ready = loop.create_future()
        self._task = loop.create_task(self._live())

    async def wait_ready(self) -> Any:
        """Return what came with its first ``ready``.

        :raises UsageError: the process exited before its first ``ready``; it is restarted all the same
        """
        assert self._first_ready is not None
        return await asyncio.shield(self._first_ready)

    def send(self, head: dict[str, Any], payload: bytes = b"") -> None:
        """Send it a frame. What it does not read piles up here; one that has ended gets nothing."""
        if self._input is not None and not self._input.is_closing():
            self._input.write(pack(head, payload))

    def kill(self) -> None:
        """Kill its process; another is started, if it is not being stopped."""
        self.is_ready = False
        if self._child is not None:
            self._child.kill()

    async def stop(self, grace_s: float) -> None:
        """Close its stdin, and kill it if it does not exit within the grace. Idempotent; allowed before ``begin``."""
        self.is_ready = False
        self._stopping.set()
        if self._task is None:
            return
        if self._input is not None:
            self._input.close()
        done, _ = await asyncio.wait((self._task,), timeout=grace_s)
        if not done:
            self.kill()
            await asyncio.wait((self._task,))

    async def _live(self) -> None:
        pause = RestartPause()
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began_at = loop.time()
            self._was_ready = self._is_exit_reported = False
            try:
                status = await self._live_once()
                end = f"died of signal {-status}" if status < 0 else f"ended with status {status}"
            except OSError as error:  # no memory, no descriptors: another time there may be
                end = f"could not be started ({error.strerror or error})"
            self.is_ready = False
            if not self._is_exit_reported:
                self._report(f"{self._name} {end}" + ("" if self._was_ready else " while it loaded"))
            self._on_exit(self._was_ready)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause.after(loop.time() - began_at))

    async def _live_once(self) -> int:
        """One process, from its start to its end; returns its status. :raises OSError: it cannot be started"""
        loop = asyncio.get_running_loop()
        command = (sys.executable, "-P", *self.arguments)
        child = self._child = ChildProcess(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        timer = loop.call_later(self._start_timeout_s, self._kill_late, child)
        with contextlib.ExitStack() as leaving:
            leaving.callback(timer.cancel)
            leaving.callback(child.kill)
            reader = asyncio.StreamReader()
            output, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), child.stdout)
            leaving.callback(output.close)
            self._input, _ = await loop.connect_write_pipe(asyncio.Protocol, child.stdin)
            leaving.callback(self._input.close)
            if self._stopping.is_set():
                self._input.close()
            return await child.wait_listening(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> bool:
        """Return at the end of its output; whether all of it was valid."""
        while True:
            try:
                self._receive(*await self._read(reader))
            except (asyncio.IncompleteReadError, ConnectionError):
                return True
            except Exception as error:  # whatever it is, it ends this process, not its monitoring
                log.error("%s sent an invalid message; killing it: %r", self._name, error)
                return False

    def _receive(self, head: dict[str, Any], payload: bytes) -> None:
        if "refused" in head:
            self._is_exit_reported = True
            self._report(head["refused"])
            return
        if "ready" in head:
            assert self._first_ready is not None
            self.is_ready = self._was_ready = True
            if self._first_ready.done():
                log.info("%s is ready again, pid %d", self._name, self.pid)
            else:
                self._first_ready.set_result(head["ready"])
        self._on_message(head, payload)

    def _kill_late(self, child: ChildProcess) -> None:
        if not self._was_ready:
            self._is_exit_reported = True
            self._report(f"{self._name} was not ready within {self._start_timeout_s:g} s")
            child.kill()

    def _report(self, why: str) -> None:
        """Before the first ``ready``, fail ``wait_ready``; afterwards, log it."""
        assert self._first_ready is not None
        if not self._first_ready.done():
            self._first_ready.set_exception(UsageError(why))
            self._first_ready.exception()  # retrieved, in case nobody awaits it
        elif not self._stopping.is_set():
            log.error("%s; starting another", why)
