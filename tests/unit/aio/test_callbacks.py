"""Users' callbacks: order, threads, and what they raise."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable

import pytest

from fastcall.aio import callbacks
from fastcall.aio.callbacks import CallbackPool, UserCallback
from fastcall.call_logger import CallLogger
from fastcall.errors import UsageError

PATIENCE_S = 30.0


class Later:
    """In the place of a loop's timers: a test decides when they fire."""

    def __init__(self) -> None:
        self._asked = threading.Semaphore(0)
        self.due: list[Callable[[], None]] = []

    def __call__(self, delay_s: float, function: Callable[[], None]) -> None:
        self.due.append(function)
        self._asked.release()

    def fire(self) -> None:
        assert self._asked.acquire(timeout=PATIENCE_S)
        self.due.pop(0)()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    monkeypatch.setattr(callbacks, "STALL_S", 0.0)
    monkeypatch.setattr(callbacks, "IDLE_S", 0.0)
    return Later()


def test_an_async_function_is_refused_since_nobody_would_await_it() -> None:
    async def on_final(text: str) -> None:
        raise AssertionError("nobody awaits it")

    for function in (on_final, functools.partial(on_final, "apple")):
        with pytest.raises(UsageError, match=r"on_final.* is async"):
            UserCallback(function)


def test_one_thread_runs_the_callbacks_of_all_queues_in_order(later: Later) -> None:
    pool, done = CallbackPool(later), threading.Event()
    queues = [pool.queue() for _ in range(20)]
    ran: list[tuple[int, int]] = []
    for number in range(50):
        for index, queue in enumerate(queues):
            queue.put(lambda index=index, number=number: ran.append((index, number)))
    queues[0].put(done.set)
    assert done.wait(PATIENCE_S)
    assert pool.wait_until_idle(PATIENCE_S)
    assert [[n for i, n in ran if i == index] for index in range(20)] == [list(range(50))] * 20
    assert pool.threads == 1


def test_slow_callbacks_get_others_more_threads_and_no_more_than_eight(later: Later) -> None:
    pool, go_on, entered = CallbackPool(later), threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        entered.release()
        go_on.wait(PATIENCE_S)

    for count in range(1, 9):
        queue = pool.queue()
        queue.put(wait)
        queue.put(lambda: None)  # of the same queue: waits for the one before, and for no thread
        if count > 1:
            later.fire()
        assert entered.acquire(timeout=PATIENCE_S)
        assert pool.threads == count
    last, ran = pool.queue(), threading.Event()
    last.put(ran.set)
    while later.due:
        later.fire()
    assert not ran.is_set()
    assert pool.threads == 8
    go_on.set()
    assert ran.wait(PATIENCE_S)
    assert pool.wait_until_idle(PATIENCE_S)


def test_what_waits_for_a_callback_that_never_returns_is_bounded(
    later: Later, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(callbacks, "MAX_WAITING", 3)
    pool, go_on, entered = CallbackPool(later), threading.Event(), threading.Event()
    queue, ran = pool.queue(), list[int]()

    def wait() -> None:
        entered.set()
        go_on.wait(PATIENCE_S)

    queue.put(wait)
    assert entered.wait(PATIENCE_S)
    for number in range(5):
        queue.put(lambda number=number: ran.append(number))
    go_on.set()
    assert pool.wait_until_idle(PATIENCE_S)
    assert (ran, queue.dropped) == ([0, 1, 2], 2)
    assert caplog.text.count("more are dropped") == 1


def test_a_callback_knows_its_own_queue(later: Later) -> None:
    pool, answers = CallbackPool(later), list[bool]()
    queue, other = pool.queue(), pool.queue()
    queue.put(lambda: answers.extend((queue.is_current, other.is_current)))
    assert pool.wait_until_idle(PATIENCE_S)
    assert (answers, queue.is_current) == ([True, False], False)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
def test_a_thread_outlives_what_a_callback_raises(later: Later, error: type[BaseException]) -> None:
    def leave() -> None:
        raise error

    pool, done = CallbackPool(later), threading.Event()
    pool.queue().put(leave)
    pool.queue().put(done.set)
    assert done.wait(PATIENCE_S)
    assert pool.wait_until_idle(PATIENCE_S)
    assert pool.threads == 1


def test_each_kind_of_error_is_logged_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    exits: list[BaseException] = []

    def fail(what: str) -> None:
        if what == "value":
            raise ValueError(what)
        if what == "exit":
            raise SystemExit(what)
        raise KeyError(what)

    callback = UserCallback(fail, log=CallLogger(callbacks.log, "call=CA1"), on_exit=exits.append)
    for what in ("value", "key", "value", "exit", "key", "exit"):
        callback(what)
    assert [record.getMessage() for record in caplog.records] == ["a callback failed call=CA1"] * 3
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, KeyError, SystemExit]
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert len(exits) == 2
