"""The pauses between a process's lives."""

from __future__ import annotations

from fastcall.aio.restarts import FIRST_PAUSE_S, MAX_PAUSE_S, STEADY_S, RestartPause


def test_one_that_dies_at_once_is_started_less_and_less_often() -> None:
    pause = RestartPause()
    pauses = [pause.after(0.0) for _ in range(10)]
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == MAX_PAUSE_S


def test_one_that_lived_is_started_again_soon() -> None:
    pause = RestartPause()
    for _ in range(10):
        pause.after(0.0)
    assert pause.after(STEADY_S + 1) == FIRST_PAUSE_S
