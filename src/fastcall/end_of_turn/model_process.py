"""The process of the end-of-turn model, and its queue of requests: bounded, the oldest first, each with a deadline.

One process serves all calls of an event loop, one request at a time. A request that cannot be answered in time is not
begun, so that under overload the others still are. While the process is restarted, there is no answer. A process that
does not answer at all is killed, because nothing else stops a running model. Everything here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from fastcall.aio.log_throttle import LogThrottle
from fastcall.aio.worker_process import WorkerProcess

__all__ = ["MAX_WAITING", "ModelCounts", "ModelProcess", "is_worthwhile"]

log = logging.getLogger("fastcall.end_of_turn")

MAX_WAITING: Final = 32
"""Limit of the queue; further requests get no answer."""
MAX_BYTES: Final = 8 * 16_000
"""The newest 8 s: what is older is not sent."""
MAX_LETTERS: Final = 4000
START_TIMEOUT_S: Final = 60.0
STUCK_S: Final = 10.0
STOP_TIMEOUT_S: Final = 2.0
LOG_EVERY_S: Final = 30.0
_MODULE: Final = "fastcall.end_of_turn.worker"


@dataclass(slots=True)
class ModelCounts:
    """What became of the requests. Those of callers that gave up, and those after ``aclose``, are not counted."""

    answered: int = 0
    late: int = 0
    """No answer before the deadline."""
    refused: int = 0
    """The queue was full."""
    failed: int = 0
    """The model raised an exception, returned something else than a probability, or its process was not running."""


@dataclass(eq=False, slots=True)
class _Request:
    pcm: bytes
    text: str
    late_at: float
    answer: asyncio.Future[float | None]


def is_worthwhile(left_s: float, *, took_s: float, timeout_s: float) -> bool:
    """Whether to begin a request that has ``left_s`` until its deadline.

    :param took_s: how long the newest answer took. After a single slow one, requests that have waited for less than
        half of the timeout are begun all the same
    """
    return left_s > 0 and left_s >= min(took_s, timeout_s / 2)


class ModelProcess:
    """Implements ``EndOfTurnModel`` with a worker process. One event loop; shared by its calls.

    :param model: ``TURN_MODEL``, a path or ``module:callable``
    :param timeout_s: the deadline of each request
    :param stuck_s: a process that works on one request for so long is killed
    """

    def __init__(self, model: str, *, timeout_s: float = 0.25, stuck_s: float = STUCK_S) -> None:
        self.counts = ModelCounts()
        self._model = model
        self._timeout_s = timeout_s
        self._stuck_s = max(stuck_s, timeout_s)
        self._waiting: deque[_Request] = deque()
        self._current: _Request | None = None
        self._sent_at = 0.0
        self._took_s = 0.0
        self._stuck_timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._throttle = LogThrottle(LOG_EVERY_S)
        self._process = WorkerProcess(
            "the end-of-turn model's process",
            ["-m", _MODULE, model],
            start_timeout_s=START_TIMEOUT_S,
            on_message=self._receive,
            on_exit=lambda was_ready: self._fail_all(),
        )

    async def start(self) -> None:
        """Start the process; returns when it has loaded the model.

        :raises UsageError: it cannot; the message says what to do
        """
        began_at = time.monotonic()
        self._process.begin()
        try:
            await self._process.wait_ready()
        except BaseException:
            await self.aclose()
            raise
        log.info("the end-of-turn model %s is ready, after %.1f s", self._model, time.monotonic() - began_at)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def pid(self) -> int | None:
        """The process, if it is ready."""
        return self._process.pid if self._process.is_ready else None

    async def probability(self, pcm: bytes, text: str) -> float | None:
        """See the port."""
        if self._is_closed:
            return None
        if not self._process.is_ready:
            self.counts.failed += 1
            return None
        if len(self._waiting) >= MAX_WAITING:
            self.counts.refused += 1
            return None
        loop = asyncio.get_running_loop()
        late_at = loop.time() + self._timeout_s
        request = _Request(pcm[-MAX_BYTES:], text[-MAX_LETTERS:], late_at, loop.create_future())
        timer = loop.call_at(late_at, self._too_late, request)
        self._waiting.append(request)
        self._dispatch()
        try:
            return await request.answer
        finally:
            timer.cancel()
            with contextlib.suppress(ValueError):
                self._waiting.remove(request)

    async def aclose(self) -> None:
        """Stop the process; requests that wait get no answer. Idempotent."""
        self._is_closed = True
        for request in (self._release(), *self._waiting):
            _resolve(request, None)
        self._waiting.clear()
        await self._process.stop(STOP_TIMEOUT_S)

    def _dispatch(self) -> None:
        """Send the next request, if the process is free."""
        now = asyncio.get_running_loop().time()
        while self._waiting and self._current is None and self._process.is_ready:
            request = self._waiting.popleft()
            if is_worthwhile(request.late_at - now, took_s=self._took_s, timeout_s=self._timeout_s):
                self._send(request)
            else:
                self._too_late(request)

    def _send(self, request: _Request) -> None:
        if request.answer.done():
            return
        loop = asyncio.get_running_loop()
        self._current, self._sent_at = request, loop.time()
        self._stuck_timer = loop.call_later(self._stuck_s, self._stuck)
        # One request at a time: what the process does not read at once is at most 8 s of audio.
        self._process.send({"text": request.text}, request.pcm)

    def _receive(self, head: dict[str, Any], _: bytes) -> None:
        if "ready" in head or self._current is None:
            return
        self._took_s = asyncio.get_running_loop().time() - self._sent_at
        request = self._release()
        if "error" in head:
            self._report(head["error"])
            if _resolve(request, None):
                self.counts.failed += 1
        elif _resolve(request, head["probability"]):
            self.counts.answered += 1
        self._dispatch()

    def _report(self, why: str) -> None:
        held_back = self._throttle.passes(now=time.monotonic())
        if held_back is not None:
            log.warning("the end-of-turn model %s failed: %s (%d more not logged)", self._model, why, held_back)

    def _too_late(self, request: _Request) -> None:
        if _resolve(request, None):
            self.counts.late += 1

    def _stuck(self) -> None:
        log.error("the end-of-turn model did not answer within %g s; killing its process", self._stuck_s)
        self._process.kill()

    def _fail_all(self) -> None:
        """The process has ended: the next one begins with what comes then."""
        requests = [self._release(), *self._waiting]
        self._waiting.clear()
        self.counts.failed += sum(_resolve(request, None) for request in requests)

    def _release(self) -> _Request | None:
        """The process is done with its request, or has ended."""
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None
        request, self._current = self._current, None
        return request


def _resolve(request: _Request | None, probability: float | None) -> bool:
    """Whether there was somebody to answer to."""
    if request is None or request.answer.done():
        return False
    request.answer.set_result(probability)
    return True
