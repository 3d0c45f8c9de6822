"""The Whisper workers and their queue of utterances: bounded, urgent ones first, each with a time limit.

A worker recognizes one utterance at a time. A crashed worker is restarted. One that takes too long is killed, because
nothing else stops a running model. Everything here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Final

from fastcall.aio.worker_process import WorkerProcess
from fastcall.errors import RecognizerError
from fastcall.whisper.engine import EngineOptions, check_model

__all__ = ["WhisperFallback"]

log = logging.getLogger("fastcall.whisper")

MAX_WAITING: Final = 64
"""Limit of the queue; further utterances are refused. For those that are not urgent, half of it."""
START_TIMEOUT_S: Final = 1800.0  # a model may have to be downloaded
SAY_EVERY_S: Final = 10.0
STOP_TIMEOUT_S: Final = 2.0
_MODULE: Final = "fastcall.whisper.worker"


@dataclass(eq=False, slots=True)
class _Job:
    pcm: bytes
    language: str
    answer: asyncio.Future[str]


class WhisperFallback:
    """Implements ``Fallback`` with worker processes. One event loop; shared by its calls.

    :param language: BCP 47; checked against the model at the start
    :param workers: processes, each with its own copy of the model
    :param limit_s: after this time, an utterance is abandoned and its worker killed
    """

    source = "whisper"

    def __init__(
        self,
        options: EngineOptions,
        *,
        language: str,
        workers: int = 1,
        limit_s: float = 20.0,
        engine: str | None = None,
    ) -> None:
        check_model(options.model)
        self._model = options.model
        arguments = {**asdict(options), "language": language}
        if engine is not None:
            arguments["engine"] = engine
        self._urgent: deque[_Job] = deque()
        self._patient: deque[_Job] = deque()
        self._workers = [_Worker(self, json.dumps(arguments), limit_s) for _ in range(workers)]
        self._is_closed = False

    async def start(self) -> None:
        """Start the workers; returns when all have loaded their model.

        :raises UsageError: a worker cannot; the message says what to do
        """
        log.info("loading the Whisper model %s", self._model)
        began_at = time.monotonic()
        starts = [asyncio.create_task(worker.start()) for worker in self._workers]
        while True:
            done, waiting = await asyncio.wait(starts, timeout=SAY_EVERY_S, return_when=asyncio.FIRST_EXCEPTION)
            failed = [task.exception() for task in done if task.exception() is not None]
            if failed:
                await self.aclose()
                await asyncio.gather(*starts, return_exceptions=True)
                raise failed[0]  # type: ignore[misc]
            if not waiting:
                break
            seconds = time.monotonic() - began_at
            log.info(
                "still loading the Whisper model %s, %.0f s so far (it is downloaded the first time)",
                self._model,
                seconds,
            )
        log.info("the Whisper model %s is ready, after %.1f s", self._model, time.monotonic() - began_at)

    @property
    def waiting(self) -> int:
        """Utterances in the queue."""
        return len(self._urgent) + len(self._patient)

    @property
    def pids(self) -> list[int]:
        """The processes of the ready workers."""
        return [
            worker.process.pid for worker in self._workers if worker.process.is_ready and worker.process.pid is not None
        ]

    async def recognize(self, pcm: bytes, language: str, *, urgent: bool = True) -> str:
        """See the port."""
        if self._is_closed:
            raise RecognizerError("CANCELLED", "the fallback is closed")
        if self.waiting >= (MAX_WAITING if urgent else MAX_WAITING // 2):
            raise RecognizerError("RESOURCE_EXHAUSTED", f"{self.waiting} utterances are waiting for Whisper")
        job = _Job(pcm, language, asyncio.get_running_loop().create_future())
        queue = self._urgent if urgent else self._patient
        queue.append(job)
        self.dispatch()
        try:
            return await job.answer
        finally:
            if job in queue:
                queue.remove(job)

    async def aclose(self) -> None:
        """Stop the workers."""
        self._is_closed = True
        for job in (*self._urgent, *self._patient):
            _fail(job, "CANCELLED", "the fallback is closed")
        await asyncio.gather(*(worker.process.stop(STOP_TIMEOUT_S) for worker in self._workers))

    def dispatch(self) -> None:
        """Assign waiting utterances to free workers."""
        for worker in self._workers:
            if worker.is_free and (queue := self._urgent or self._patient):
                worker.take(queue.popleft())


class _Worker:
    """One process, and its current utterance."""

    def __init__(self, pool: WhisperFallback, arguments: str, limit_s: float) -> None:
        self._pool = pool
        self._limit_s = limit_s
        self._job: _Job | None = None
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self.process = WorkerProcess(
            "the Whisper worker",
            ["-m", _MODULE, arguments],
            start_timeout_s=START_TIMEOUT_S,
            on_message=self._receive,
            on_exit=lambda was_ready: self._end_job("INTERNAL", "the Whisper worker has ended"),
        )

    @property
    def is_free(self) -> bool:
        """Whether it can take an utterance."""
        return self.process.is_ready and self._job is None

    async def start(self) -> None:
        """Returns when the model is loaded. :raises UsageError: it cannot be loaded"""
        self.process.begin()
        await self.process.wait_ready()

    def take(self, job: _Job) -> None:
        """Recognize the utterance."""
        self._job, self._number = job, self._number + 1
        self._timer = asyncio.get_running_loop().call_later(self._limit_s, self._too_long)
        # One utterance at a time: the pipe's buffer holds no more than that.
        self.process.send({"number": self._number, "language": job.language}, job.pcm)

    def _receive(self, head: dict[str, Any], _: bytes) -> None:
        if "ready" in head:
            self._pool.dispatch()
        elif head["number"] == self._number and self._job is not None:
            self._answer(head)

    def _answer(self, head: dict[str, Any]) -> None:
        job = self._free()
        if job is not None and not job.answer.done():
            if "text" in head:
                job.answer.set_result(head["text"])
            else:
                _fail(job, "INTERNAL", head["error"])
        self._pool.dispatch()

    def _too_long(self) -> None:
        log.warning("Whisper took longer than %g s; killing its worker", self._limit_s)
        self._end_job("DEADLINE_EXCEEDED", f"no answer within {self._limit_s:g} s")
        self.process.kill()

    def _end_job(self, code: str, message: str) -> None:
        job = self._free()
        if job is not None:
            _fail(job, code, message)

    def _free(self) -> _Job | None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        job, self._job = self._job, None
        return job


def _fail(job: _Job, code: str, message: str) -> None:
    if not job.answer.done():
        job.answer.set_exception(RecognizerError(code, message))
