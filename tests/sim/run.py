"""Run seeds of the simulation and say what failed; ``make simulate-faults``.

A failing seed prints itself; ``SEED=n VERBOSE=1`` plays it again and prints everything that happened.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from sim.judge import Verdict, judge
from sim.scenario import scenario_of
from sim.world import simulate

__all__ = ["failures", "main", "run_seed"]

SAY_EVERY_S = 10.0


def run_seed(seed: int, *, trace: Callable[[str], None] | None = None) -> Verdict:
    """Play the call of ``seed`` and judge it."""
    scenario = scenario_of(seed)
    return judge(scenario, simulate(scenario, trace=trace))


def failures(seeds: Iterable[int]) -> Iterator[tuple[int, Verdict]]:
    """The seeds that fail, as they come."""
    for seed in seeds:
        verdict = run_seed(seed)
        if verdict.problems:
            yield seed, verdict


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m sim.run", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--verbose", action="store_true", help="print what happens in it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--stop-after", type=int, default=10, help="failures (default: %(default)s)")
    args = parser.parse_args(arguments)
    if args.seed is not None:
        return _replay(args.seed, verbose=args.verbose)
    return _run(range(args.first, args.first + args.seeds), jobs=args.jobs, stop_after=args.stop_after)


def _replay(seed: int, *, verbose: bool) -> int:
    be_quiet()
    if verbose:
        scenario = scenario_of(seed)
        print(scenario.settings, scenario.provider, scenario.voice, sep="\n")
        print("said: " + " ".join(f"{w.text}@{w.start / 8000:.2f}-{w.end / 8000:.2f}" for w in scenario.words))
    verdict = run_seed(seed, trace=print if verbose else None)
    _report(seed, verdict)
    return 1 if verdict.problems else 0


def be_quiet() -> None:
    """The calls' own log lines are those of thousands of calls that go wrong on purpose."""
    logging.disable(logging.CRITICAL)


def _numbered(seed: int) -> tuple[int, Verdict]:
    try:
        return seed, run_seed(seed)
    except Exception as error:
        # One that breaks the simulation itself is a failure like any other, and has a number.
        return seed, Verdict([f"the simulation broke: {error!r}"])


def _run(seeds: range, *, jobs: int, stop_after: int) -> int:
    counts: Counter[str] = Counter()
    failed: list[int] = []
    began = last = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=be_quiet) as pool:
        for seed, verdict in pool.imap_unordered(_numbered, seeds, chunksize=10):
            counts.update(verdict.counts)
            if verdict.problems:
                failed.append(seed)
                _report(seed, verdict)
            now = time.perf_counter()
            if now - last > SAY_EVERY_S:
                last = now
                rate = counts["calls"] / (now - began) * 60
                print(f"{counts['calls']} seeds, {rate:.0f} a minute, {len(failed)} failed", flush=True)
            if len(failed) >= stop_after:
                print(f"stopped after {len(failed)} failures")
                break
        pool.terminate()
    _summary(counts, failed, time.perf_counter() - began)
    return 1 if failed else 0


def _summary(counts: Counter[str], failed: list[int], elapsed_s: float) -> None:
    for name, count in sorted(counts.items()):
        print(f"{count:9d} {name}")
    done = counts["calls"]
    rate = done / elapsed_s * 60
    print(f"{done} seeds in {elapsed_s:.1f} s ({rate:.0f} a minute), {len(failed)} failed: {sorted(failed)}")


def _report(seed: int, verdict: Verdict) -> None:
    state = "FAILED" if verdict.problems else "passed"
    print(f"seed {seed} {state}; again with: make simulate-faults SEED={seed} VERBOSE=1")
    for problem in verdict.problems[:8]:
        print(f"    {problem}")


if __name__ == "__main__":
    sys.exit(main())
