"""The worker processes of the pocketsphinx engine, and the utterances that wait for them.

A worker decodes a few utterances at a time; an utterance occupies a slot only while it is spoken, so silent
calls need none. Everything here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastcall.aio.worker_process import WorkerProcess
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
_STOP_TIMEOUT_S: Final = 2.0
WORKER_MODULE: Final = "fastcall.emulator.engines.pocketsphinx_worker"

Words = list[tuple[str, float, float]]
Frame = tuple[dict[str, Any], bytes]
"""Head and payload; `pocketsphinx_worker` describes the heads."""


class Utterance:
    """One utterance that a worker decodes. Callbacks run on the loop."""

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
        """What went wrong, and whether because of lacking capacity."""
        self.waiting: list[Frame] | None = []  # while no worker has it
        self.worker: _Worker | None = None


class Pool:
    """A bounded number of worker processes."""

    def __init__(self, workers: int, grammar_path: str | None) -> None:
        arguments = ["-m", WORKER_MODULE, *([grammar_path] if grammar_path else [])]
        self._numbers = itertools.count(1)
        self._queue: deque[Utterance] = deque()
        self._workers = [_Worker(self, arguments) for _ in range(workers)]

    @property
    def processes(self) -> tuple[WorkerProcess, ...]:
        """The workers' processes."""
        return tuple(worker.process for worker in self._workers)

    @property
    def pids(self) -> list[int]:
        """The processes of the workers that are ready."""
        return [process.pid for process in self.processes if process.is_ready and process.pid]

    async def start(self) -> None:
        """Start the workers; returns when the first is ready. Raises UsageError if it cannot start."""
        first, *others = self.processes
        first.begin()
        try:
            await first.wait_ready()
        except UsageError:
            await self.stop()
            raise
        for process in others:
            process.begin()

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop(_STOP_TIMEOUT_S) for process in self.processes))

    def begin(
        self,
        wish: dict[str, Any],
        on_words: Callable[[Words, bool], None],
        on_failure: Callable[[str, bool], None],
    ) -> Utterance:
        """Start an utterance: it gets a worker now, or waits for one while its audio is buffered."""
        utterance = Utterance(next(self._numbers), wish, on_words, on_failure)
        self._queue.append(utterance)
        self.dispatch()
        if len(self._queue) > MAX_WAITING:
            self._queue.remove(utterance)
            asyncio.get_running_loop().call_soon(on_failure, BUSY, True)
        return utterance

    def audio(self, utterance: Utterance, pcm: NDArray[np.int16]) -> None:
        self._send(utterance, ({"do": "audio", "utterance": utterance.number}, pcm.astype("<i2").tobytes()))

    def end(self, utterance: Utterance) -> None:
        self._send(utterance, ({"do": "end", "utterance": utterance.number}, b""))

    def drop(self, utterance: Utterance) -> None:
        """Its words are no longer needed."""
        if utterance in self._queue:
            self._queue.remove(utterance)
        elif utterance.worker is not None:
            utterance.worker.forget(utterance)

    def dispatch(self) -> None:
        """Assign waiting utterances to workers with free slots, the least loaded first."""
        while self._queue:
            free = [worker for worker in self._workers if worker.process.is_ready and len(worker.utterances) < SLOTS]
            if not free:
                return
            min(free, key=lambda worker: len(worker.utterances)).take(self._queue.popleft())

    def worker_cannot_start(self) -> None:
        """Fail the waiting utterances if no worker is ready."""
        if not any(process.is_ready for process in self.processes):
            waiting, self._queue = list(self._queue), deque()
            for utterance in waiting:
                utterance.on_failure(NO_WORKER, False)

    def _send(self, utterance: Utterance, frame: Frame) -> None:
        if utterance.waiting is not None:
            utterance.waiting.append(frame)
        elif utterance.worker is not None:
            utterance.worker.process.send(*frame)


class _Worker:
    """One worker process, and the utterances that it decodes."""

    def __init__(self, pool: Pool, arguments: list[str]) -> None:
        self._pool = pool
        self.utterances: dict[int, Utterance] = {}
        self.process = WorkerProcess(
            "a PocketSphinx worker",
            arguments,
            start_timeout_s=_START_TIMEOUT_S,
            on_message=self._receive,
            on_exit=self._ended,
        )

    def take(self, utterance: Utterance) -> None:
        self.utterances[utterance.number] = utterance
        utterance.worker = self
        # Unread frames are limited to the longest utterance of each slot.
        self.process.send({"do": "begin", "utterance": utterance.number, **utterance.wish})
        for frame in utterance.waiting or ():
            self.process.send(*frame)
        utterance.waiting = None

    def forget(self, utterance: Utterance) -> None:
        if self.utterances.pop(utterance.number, None) is not None:
            self.process.send({"do": "drop", "utterance": utterance.number})
            utterance.worker = None
            self._pool.dispatch()

    def _receive(self, head: dict[str, Any], _: bytes) -> None:
        if "ready" in head:
            self._pool.dispatch()
        elif "note" in head:
            log.warning("pocketsphinx: %s", head["note"])
        elif (utterance := self.utterances.get(head["utterance"])) is not None:
            self._receive_words(utterance, head)

    def _receive_words(self, utterance: Utterance, head: dict[str, Any]) -> None:
        if "heard" in head:
            utterance.on_words(head["heard"], False)
            return
        del self.utterances[utterance.number]
        utterance.worker = None
        self._pool.dispatch()
        if "done" in head:
            utterance.on_words(head["done"], True)
        else:
            utterance.on_failure(head["error"], False)

    def _ended(self, was_ready: bool) -> None:
        lost, self.utterances = list(self.utterances.values()), {}
        for utterance in lost:
            utterance.worker = None
            utterance.on_failure(DIED, False)
        if not was_ready:
            self._pool.worker_cannot_start()
