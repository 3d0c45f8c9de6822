"""The worker processes of the pocketsphinx engine, and the utterances that wait for them.

A worker decodes a few utterances at a time; an utterance holds its place only while it is spoken, so silent
calls hold none. Everything here lives on one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastcall.emulator.engines.worker_frames import HEADER, Kind, pack, pack_json, unpack_json
from fastcall.errors import UsageError

__all__ = ["Pool", "Utterance"]

log = logging.getLogger("fastcall.emulator")

SLOTS: Final = 4
"""Utterances that one worker decodes at the same time."""
MAX_WAITING: Final = 64
BUSY: Final = "The emulator's recognizer is busy: too many utterances wait for it."
DIED: Final = "The process that recognized this stream has ended."
NO_WORKER: Final = "The emulator's recognizer cannot be started."
_START_TIMEOUT_S: Final = 30.0
RESTART_AFTER_S: Final = 1.0
"""Pause before another attempt, after a worker could not start."""
WORKER_MODULE: Final = "fastcall.emulator.engines.pocketsphinx_worker"

Words = list[tuple[str, float, float]]


class Utterance:
    """One utterance on its way through a worker. Callbacks come on the loop."""

    def __init__(
        self,
        number: int,
        wish: dict[str, Any],
        on_words: Callable[[Words, bool], None],
        on_failure: Callable[[str, bool], None],
    ) -> None:
        self.number = number
        self.wish = wish
        self.on_words = on_words
        """Words so far, and whether they are settled."""
        self.on_failure = on_failure
        """What went wrong, and whether for want of room."""
        self.waiting: list[bytes] | None = []  # frames, while no worker has it
        self.worker: _Worker | None = None


class Pool:
    """A bounded number of worker processes."""

    def __init__(self, workers: int, grammar_path: str | None) -> None:
        self._arguments = [grammar_path] if grammar_path else []
        self._numbers = itertools.count(1)
        self._queue: deque[Utterance] = deque()
        self._workers = [_Worker(self) for _ in range(workers)]
        self._closing = False

    @property
    def pids(self) -> list[int]:
        """The processes of the workers that are ready."""
        return [worker.pid for worker in self._workers if worker.is_ready]

    async def start(self) -> None:
        """Start the workers; returns when the first is ready. Raises UsageError when it cannot be."""
        first = self._workers[0]
        await first.start(self._arguments)
        try:
            await asyncio.wait_for(asyncio.shield(first.ready), _START_TIMEOUT_S)
        except TimeoutError:
            await self.stop()
            raise UsageError("PocketSphinx did not start within 30 s") from None
        except UsageError:
            await self.stop()
            raise
        for worker in self._workers[1:]:
            await worker.start(self._arguments)

    async def stop(self) -> None:
        self._closing = True
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def begin(
        self,
        wish: dict[str, Any],
        on_words: Callable[[Words, bool], None],
        on_failure: Callable[[str, bool], None],
    ) -> Utterance:
        """Begin an utterance: it gets a worker now, or waits for one with its audio kept."""
        utterance = Utterance(next(self._numbers), wish, on_words, on_failure)
        self._queue.append(utterance)
        self.dispatch()
        if len(self._queue) > MAX_WAITING:
            self._queue.remove(utterance)
            asyncio.get_running_loop().call_soon(on_failure, BUSY, True)
        return utterance

    def audio(self, utterance: Utterance, pcm: NDArray[np.int16]) -> None:
        self._write(utterance, pack(Kind.AUDIO, utterance.number, pcm.astype("<i2").tobytes()))

    def end(self, utterance: Utterance) -> None:
        self._write(utterance, pack(Kind.END, utterance.number))

    def drop(self, utterance: Utterance) -> None:
        """Nobody wants its words any more."""
        if utterance in self._queue:
            self._queue.remove(utterance)
        elif utterance.worker is not None:
            utterance.worker.forget(utterance)

    def dispatch(self) -> None:
        """Give waiting utterances to workers that have room, the least loaded first."""
        while self._queue:
            free = [worker for worker in self._workers if worker.is_ready and len(worker.utterances) < SLOTS]
            if not free:
                return
            min(free, key=lambda worker: len(worker.utterances)).take(self._queue.popleft())

    def worker_died(self, worker: _Worker, *, was_ready: bool) -> None:
        if self._closing:
            return
        if was_ready:
            log.warning("a PocketSphinx worker ended unexpectedly; starting another")
            worker.restart(self._arguments, after_s=0.0)
            return
        log.error("a PocketSphinx worker cannot start; trying again, and going on with those that run")
        worker.restart(self._arguments, after_s=RESTART_AFTER_S)
        if not any(other.is_ready for other in self._workers):
            waiting, self._queue = list(self._queue), deque()
            for utterance in waiting:
                utterance.on_failure(NO_WORKER, False)

    def _write(self, utterance: Utterance, frame: bytes) -> None:
        if utterance.waiting is not None:
            utterance.waiting.append(frame)
        elif utterance.worker is not None:
            utterance.worker.write(frame)


class _Worker:
    """One worker process, restarted when it dies."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._restart: asyncio.Task[None] | None = None
        self.utterances: dict[int, Utterance] = {}
        self.ready: asyncio.Future[None]
        self.is_ready = False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, arguments: list[str]) -> None:
        """Raises OSError when there can be no process."""
        self.ready = asyncio.get_running_loop().create_future()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a module in the working directory must not come before an installed one
            "-m",
            WORKER_MODULE,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read())

    def restart(self, arguments: list[str], *, after_s: float) -> None:
        self._restart = asyncio.create_task(self._start_again(arguments, after_s))

    async def _start_again(self, arguments: list[str], after_s: float) -> None:
        await asyncio.sleep(after_s)
        try:
            await self.start(arguments)
        except OSError as error:
            log.error("no process for PocketSphinx: %s", error)
            self._died()

    async def stop(self) -> None:
        """Close its input and wait for its end; kill it when it does not end."""
        self.is_ready = False
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.gather(self._restart, return_exceptions=True)
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 2.0)
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    def take(self, utterance: Utterance) -> None:
        self.utterances[utterance.number] = utterance
        utterance.worker = self
        self.write(pack_json(Kind.BEGIN, utterance.number, utterance.wish))
        for frame in utterance.waiting or ():
            self.write(frame)
        utterance.waiting = None

    def forget(self, utterance: Utterance) -> None:
        if self.utterances.pop(utterance.number, None) is not None:
            self.write(pack(Kind.DROP, utterance.number))
            utterance.worker = None
            self._pool.dispatch()

    def write(self, frame: bytes) -> None:
        # Unread frames pile up no further than the longest utterance of each slot.
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(frame)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        source = self._process.stdout
        try:
            while True:
                kind, number, length = HEADER.unpack(await source.readexactly(HEADER.size))
                self._receive(kind, number, await source.readexactly(length))
        except asyncio.IncompleteReadError:
            self._died()

    def _receive(self, kind: int, number: int, payload: bytes) -> None:
        if kind == Kind.READY:
            self.is_ready = True
            self.ready.set_result(None)
            self._pool.dispatch()
        elif number == 0:
            self._receive_about_itself(kind, unpack_json(payload))
        elif number in self.utterances:
            self._receive_words(kind, self.utterances[number], payload)

    def _receive_about_itself(self, kind: int, text: str) -> None:
        if kind == Kind.NOTE:
            log.warning("pocketsphinx: %s", text)
        elif not self.ready.done():
            self.ready.set_exception(UsageError(text))

    def _receive_words(self, kind: int, utterance: Utterance, payload: bytes) -> None:
        if kind == Kind.HEARD:
            utterance.on_words(json.loads(payload), False)
            return
        del self.utterances[utterance.number]
        utterance.worker = None
        self._pool.dispatch()
        if kind == Kind.DONE:
            utterance.on_words(json.loads(payload), True)
        else:
            utterance.on_failure(unpack_json(payload), False)

    def _died(self) -> None:
        was_ready, self.is_ready = self.is_ready, False
        if not self.ready.done():
            self.ready.set_exception(UsageError("PocketSphinx' worker process ended while starting"))
            self.ready.exception()  # only the pool's start awaits it
        lost, self.utterances = list(self.utterances.values()), {}
        for utterance in lost:
            utterance.worker = None
            utterance.on_failure(DIED, False)
        self._pool.worker_died(self, was_ready=was_ready)
