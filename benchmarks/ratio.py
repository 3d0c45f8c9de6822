"""How many times faster one function is than another, measured in one run on a shared machine.

Strategy: the two take turns, a few milliseconds each, so that a slow second affects both. Only the fastest turn of
each side counts: other load makes code slower, never faster. If the ratio is below its floor, more turns are run before
it fails, because that brings both minima closer to their true values.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["calls_a_turn", "compare", "seconds_of"]

TURN_S = 0.004
TURNS = 30
PATIENCE = 6  # times TURNS, at most


def seconds_of(function: Callable[[], object], calls: int) -> float:
    """What ``calls`` calls took, in seconds, each with the cost of a loop turn."""
    turns = range(calls)
    start = time.perf_counter()
    for _ in turns:
        function()
    return time.perf_counter() - start


def calls_a_turn(function: Callable[[], object]) -> int:
    calls = 1
    while (spent := seconds_of(function, calls)) < TURN_S / 4:
        calls *= 2
    return max(1, round(calls * TURN_S / spent))


def compare(
    benchmark: Any,
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    floor: float,
    units: int = 1,
) -> float:
    """Measures both sides, prints a row, and fails below ``floor``. Returns how many times faster ``ours`` is.

    :param benchmark: pytest-benchmark's fixture; it gets the times of ``ours``, and the comparison as ``extra_info``
    :param units: what one call works on (frames, messages); the row shows nanoseconds of each
    """
    if benchmark.disabled:
        benchmark(ours)
        theirs()
        return floor
    our_calls, their_calls = calls_a_turn(ours), calls_a_turn(theirs)
    best_ours = best_theirs = float("inf")
    for turn in range(TURNS * PATIENCE):
        if turn >= TURNS and turn % TURNS == 0 and best_theirs >= floor * best_ours:
            break
        best_ours = min(best_ours, seconds_of(ours, our_calls) / our_calls)
        best_theirs = min(best_theirs, seconds_of(theirs, their_calls) / their_calls)
    ratio = best_theirs / best_ours
    times = {"ours_s": best_ours, "theirs_s": best_theirs, "ratio": round(ratio, 3)}
    benchmark.extra_info.update(times, name=name, floor=round(floor, 2), units=units)
    benchmark.pedantic(ours, rounds=10, iterations=our_calls)
    print(
        f"\n{name:<44} ours {best_ours / units * 1e9:>12,.0f} ns   theirs {best_theirs / units * 1e9:>12,.0f} ns"
        f"   ratio {ratio:>6.2f}   floor {floor:.2f}",
        end="",
    )
    assert ratio >= floor, f"{name}: {ratio:.2f} times as fast, and the floor is {floor:.2f}"
    return ratio
