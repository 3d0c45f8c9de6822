"""A child process whose end is detected even if others still hold its pipes and sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Coroutine
from typing import Any, Final

__all__ = ["ChildProcess"]

# A child that has closed its end is about to be gone.
EXIT_TIMEOUT_S: Final = 10.0
# What it said last is in the kernel, and is read at once, or somebody else holds its end.
LAST_WORDS_S: Final = 1.0


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
        """Return its exit status when it has exited. Any number of waiters."""
        return await asyncio.shield(self._exited)

    async def wait_listening(self, listening: Coroutine[Any, Any, bool]) -> int:
        """Listen to it until it exits; kill it if it closes its output and stays, or sends something invalid.

        :param listening: returns at the end of its output, with whether all of it was valid
        :return: its exit status
        """
        task = self._loop.create_task(listening)
        try:
            await asyncio.wait((task, self._exited), return_when=asyncio.FIRST_COMPLETED)
            if not self._exited.done():
                await asyncio.wait((self._exited,), timeout=EXIT_TIMEOUT_S if task.result() else 0)
                self.kill()
            # Not its silence: a fork of it may hold its end for as long as it likes.
            status = await self.wait()
            await asyncio.wait((task,), timeout=LAST_WORDS_S)
            return status
        finally:
            task.cancel()

    def send_signal(self, number: int) -> None:
        """Signal it, and none of its children."""
        if not self._exited.done():
            os.kill(self.pid, number)  # until it is waited for, its id is its own

    def kill(self) -> None:
        """Kill it and its group."""
        if not self._exited.done():
            self._kill_group()

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
