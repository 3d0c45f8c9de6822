"""A child process whose end is detected even if others still hold its pipes and sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection

__all__ = ["ChildProcess"]


class ChildProcess:
    """A child in a session of its own. Loop thread only; made on the running loop; ``wait`` is owed.

    What it leaves behind in its process group is killed when it ends: a fork holds the sockets of its calls, and would
    keep them open forever.

    :raises OSError: it cannot be started
    """

    def __init__(
        self,
        *arguments: str,
        pass_fds: Collection[int] = (),
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._popen = subprocess.Popen(arguments, pass_fds=pass_fds, stdin=stdin, stdout=stdout, start_new_session=True)
        self.pid = self._popen.pid
        self.stdin = self._popen.stdin
        self.stdout = self._popen.stdout
        self._exited: asyncio.Future[int] = self._loop.create_future()
        self._watch()

    @property
    def status(self) -> int | None:
        """With what it has ended, minus the number of a signal; None while it runs."""
        return self._exited.result() if self._exited.done() else None

    async def wait(self) -> int:
        """Return its status when it has ended. May be called by many."""
        return await asyncio.shield(self._exited)

    def send_signal(self, number: int) -> None:
        """Signal it, and none of its children."""
        if not self._exited.done():
            os.kill(self.pid, number)  # until it is waited for, its id is its own

    def kill(self) -> None:
        """Kill it and its group."""
        if not self._exited.done():
            self._kill_group()

    async def end(self, grace_s: float) -> int:
        """Send SIGTERM, and kill it when it has not ended after the grace.

        :return: its status
        """
        self.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                return await self.wait()
        self.kill()
        return await self.wait()

    def _watch(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # an old kernel, or no more descriptors
                descriptor = os.pidfd_open(self.pid)
                self._loop.add_reader(descriptor, self._note_exit, descriptor)
                return
        threading.Thread(target=self._wait_in_thread, name=f"fastcall-child-{self.pid}", daemon=True).start()

    def _note_exit(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._kill_group()
        self._exited.set_result(self._popen.wait())

    def _wait_in_thread(self) -> None:
        status = self._popen.wait()
        self._kill_group()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._exited.set_result, status)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left of it
            os.killpg(self.pid, signal.SIGKILL)
