"""The model's process, a real one, with a model that answers, fails, hangs or dies as the text tells it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fastcall.end_of_turn.model_process import MAX_WAITING, ModelCounts, ModelProcess, is_worthwhile
from fastcall.errors import UsageError
from peers import PATIENCE_S
from waiting import until_so

TESTS = str(Path(__file__).resolve().parents[2])


@pytest.fixture(autouse=True)
def _stubs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)


@contextlib.asynccontextmanager
async def running(
    factory: str = "Stub", *, timeout_s: float = PATIENCE_S, stuck_s: float = PATIENCE_S
) -> AsyncIterator[ModelProcess]:
    model = ModelProcess(f"stub_models:{factory}", timeout_s=timeout_s, stuck_s=stuck_s)
    try:
        await model.start()
        yield model
    finally:
        await model.aclose()


def asking(model: ModelProcess, *texts: str) -> list[asyncio.Task[float | None]]:
    return [asyncio.create_task(model.probability(b"", text)) for text in texts]


async def until_restarted(model: ModelProcess) -> None:
    async def answers() -> bool:
        return await model.probability(b"", "0.5") is not None

    await until_so(answers)


async def test_answers_come_back_to_their_callers_and_the_process_stays() -> None:
    async with running() as model:
        pid = model.pid
        assert pid not in (None, os.getpid())
        texts = [str(number / 20) for number in range(21)]
        assert await asyncio.gather(*asking(model, *texts)) == [number / 20 for number in range(21)]
        assert model.pid == pid
        assert model.counts == ModelCounts(answered=21)
    assert model.pid is None


async def test_a_factory_may_be_a_function() -> None:
    async with running("constant") as model:
        assert await model.probability(bytes(320), "my number is") == 0.75


async def test_only_the_newest_8_s_are_sent_and_only_the_end_of_a_long_text() -> None:
    async with running() as model:
        assert await model.probability(bytes(16_000 * 60), "audio") == 0.128
        assert await model.probability(bytes(320), "audio") == 0.00032
        assert await model.probability(b"", " " * 5_000_000 + "1") == 1


async def test_the_model_has_one_thread_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    async with running() as model:
        assert await model.probability(b"", "threads") == 1
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    async with running() as model:
        assert await model.probability(b"", "threads") == 0.5


async def test_what_libraries_print_is_not_in_the_pipe() -> None:
    async with running() as model:
        assert await model.probability(b"", "print") is None  # it is no number
        assert await model.probability(b"", "0.25") == 0.25


@pytest.mark.parametrize("text", ["nan", "two", "negative", "text", "none", "complex", "raise"])
async def test_what_is_no_probability_is_no_answer_and_the_process_stays(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as model:
        pid = model.pid
        assert await asyncio.gather(*asking(model, text, text, "1")) == [None, None, 1]
        assert model.pid == pid
        assert model.counts == ModelCounts(answered=1, failed=2)
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "Stub failed: " in lines[0].getMessage()
    assert ("LookupError: no such turn" if text == "raise" else "not a probability") in lines[0].getMessage()


async def test_no_answer_in_time_is_none() -> None:
    async with running(timeout_s=0.1) as model:
        pid = model.pid
        tasks = asking(model, "hang", "0.5", "0.5")
        assert await asyncio.gather(*tasks) == [None, None, None]
        assert (model.waiting, model.pid) == (0, pid)
        assert model.counts == ModelCounts(late=3)


async def test_beyond_the_limit_of_the_queue_there_is_no_answer_at_once() -> None:
    async with running() as model:
        tasks = asking(model, "hang", *["0.5"] * MAX_WAITING)
        await asyncio.sleep(0)
        assert model.waiting == MAX_WAITING
        assert await model.probability(b"", "0.5") is None
        assert model.counts == ModelCounts(refused=1)
        tasks[1].cancel()
        await asyncio.wait(tasks[1:2])
        assert model.waiting == MAX_WAITING - 1  # the place of one that gave up is free
        tasks += asking(model, "0.5")
        await asyncio.sleep(0)
        assert model.waiting == MAX_WAITING
        os.kill(model.pid or 0, signal.SIGKILL)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results.count(None) == MAX_WAITING + 1
        assert model.counts == ModelCounts(refused=1, failed=MAX_WAITING + 1)


async def test_a_request_whose_caller_gave_up_is_not_begun() -> None:
    async with running() as model:
        first, second, third = asking(model, "0.5", "0.5", "handled")
        await asyncio.sleep(0)
        second.cancel()
        assert await first == 0.5
        assert await third == 0.003  # with the one when it was loaded
        assert model.counts == ModelCounts(answered=2)


async def test_a_crash_answers_what_waits_and_another_process_is_started() -> None:
    async with running() as model:
        pid = model.pid
        assert await asyncio.gather(*asking(model, "crash", "0.5", "0.5")) == [None, None, None]
        assert model.pid is None
        assert await model.probability(b"", "0.5") is None  # at once, while there is none
        assert model.counts == ModelCounts(failed=4)
        await until_restarted(model)
        assert model.pid not in (None, pid)


async def test_a_process_that_hangs_is_killed_and_another_is_started() -> None:
    async with running(timeout_s=0.3, stuck_s=0.3) as model:
        pid = model.pid
        assert await model.probability(b"", "hang") is None
        await until_restarted(model)
        assert model.pid not in (None, pid)


async def test_closing_answers_what_waits_and_leaves_no_process() -> None:
    async with running() as model:
        pid = model.pid
        assert pid is not None
        tasks = asking(model, "hang", "0.5", "0.5")
        await asyncio.sleep(0)
        await model.aclose()
        assert await asyncio.gather(*tasks) == [None, None, None]
        assert await model.probability(b"", "0.5") is None
        await model.aclose()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert model.counts == ModelCounts()


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("refusing", "^no weights here: name another file$"),
        ("broken", "^TURN_MODEL=stub_models:broken cannot be used: KeyError: 'weights'$"),
        ("dying", "^the end-of-turn model's process ended with status 3 while it loaded$"),
        ("without_model", "cannot be used: TypeError: the factory must return a function of audio and text, not None$"),
        ("of_one_argument", "cannot be used: TypeError: .* takes 1 positional argument but 2 were given$"),
        ("of_garbage", "cannot be used: ValueError: not a probability: 'finished'$"),
        ("no_such", "^TURN_MODEL 'stub_models:no_such' cannot be loaded: "),
    ],
)
async def test_a_model_that_cannot_be_loaded_says_why(factory: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        async with running(factory):
            pass


async def test_giving_up_the_start_leaves_no_process() -> None:
    model = ModelProcess("stub_models:Stub")
    start = asyncio.create_task(model.start())
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert model.pid is None
    assert await model.probability(b"", "0.5") is None


@pytest.mark.parametrize(
    ("left_s", "took_s", "is_begun"),
    [
        (0.250, 0.100, True),
        (0.101, 0.100, True),
        (0.099, 0.100, False),
        (0.250, 9.000, True),  # one slow answer does not end all others
        (0.126, 9.000, True),
        (0.124, 9.000, False),
        (0.001, 0.000, True),
        (0.000, 0.000, False),
        (-0.01, 0.000, False),
    ],
)
def test_what_cannot_be_answered_in_time_is_not_begun(left_s: float, took_s: float, is_begun: bool) -> None:
    assert is_worthwhile(left_s, took_s=took_s, timeout_s=0.25) is is_begun


LEFT_BEHIND = """
import asyncio, os
from fastcall.end_of_turn.model_process import ModelProcess

async def main():
    await ModelProcess("stub_models:Stub").start()
    os._exit(7)

asyncio.run(main())
"""


def test_the_process_ends_with_the_server() -> None:
    ended = subprocess.run([sys.executable, "-c", LEFT_BEHIND], check=False, stderr=subprocess.PIPE, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stderr) == (7, b"")
