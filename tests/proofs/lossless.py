"""Real calls through a real server and a real recognizer that breaks in every way that is known: does the text equal
what was said? `make lossless`; a short form of it is part of `make test`.

All trials of the first part run at the same time, each with an emulator (tones) and a server of its own, and two
callers: one speaks without a pause, one in sentences. In the second part very many sessions begin in one second, so
that their streams grow old, or break, together.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from proofs.crowd import CROWDS, CrowdResult, run_crowd
from proofs.outage import whisper_of_tones
from proofs.trials import LONG, SHORT, TRIALS, Scale, TrialResult, run_trial

GRACE_S = 90.0


def main(arguments: list[str] | None = None) -> int:
    """The command; the exit status is 0 if no word was lost, doubled or changed, and no storm was seen."""
    parser = argparse.ArgumentParser(
        prog="lossless", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [each.name for each in (*TRIALS, *CROWDS)]
    parser.add_argument("--short", action="store_true", help="half a minute altogether, with streams of 4 s")
    parser.add_argument("--trials", action="store_true", help="the first part only")
    parser.add_argument("--crowds", action="store_true", help="the second part only")
    parser.add_argument("--minutes", type=float, help="length of each call of the first part (default: 5)")
    parser.add_argument("--calls", type=int, help="sessions of the second part (default: 300)")
    parser.add_argument("--seed", type=int, default=1, help="of what is said and what breaks (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=names, help="only this trial; may be given again")
    parser.add_argument("--log", metavar="FILE", help="write the servers' log there")
    args = parser.parse_args(arguments)
    scale = (SHORT if args.short else LONG).with_length(args.minutes, args.calls)
    if args.log:
        logging.basicConfig(
            filename=args.log, filemode="w", level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s"
        )
        logging.getLogger("fastcall").setLevel(logging.DEBUG)
        for noisy in ("asyncio", "websockets", "grpc"):
            logging.getLogger(noisy).setLevel(logging.INFO)
    else:
        logging.getLogger("fastcall").setLevel(logging.CRITICAL)
    chosen = set(args.only or names)
    if args.trials or args.crowds:
        chosen &= {each.name for each in (TRIALS if args.trials else CROWDS)}
    return asyncio.run(prove(scale, chosen, seed=args.seed))


async def prove(scale: Scale, chosen: set[str], *, seed: int) -> int:
    """Run what was chosen, and tell.

    :return: the exit status
    """
    trials = [trial for trial in TRIALS if trial.name in chosen]
    crowds = [crowd for crowd in CROWDS if crowd.name in chosen]
    length_s = max((trial.length_s(scale) for trial in trials), default=0.0)
    about = length_s + scale.crowd_s * len(crowds)
    print(
        f"{len(trials)} trials of {length_s:g} s side by side, {len(crowds)} crowds of {scale.crowd_calls}: ",
        end="",
    )
    print(f"about {about + 20:.0f} s; streams end at {scale.stream_limit_s:g} s", flush=True)
    progress = asyncio.create_task(_say_how_far(scale.say_every_s))
    try:
        with whisper_of_tones():
            async with asyncio.timeout(about + GRACE_S):
                results = list(await asyncio.gather(*(run_trial(trial, scale, seed=seed) for trial in trials)))
                crowd_results = [await run_crowd(crowd, scale, seed=seed) for crowd in crowds]
    except TimeoutError:
        print(f"FAILED: not over after {about + GRACE_S:.0f} s", file=sys.stderr)
        return 1
    finally:
        progress.cancel()
    _print_trials(results)
    _print_crowds(crowd_results)
    problems = [line for result in (*results, *crowd_results) for line in result.problems]
    print("\n".join(problems) if problems else "nothing lost, nothing doubled, no storm")
    return 1 if problems else 0


async def _say_how_far(every_s: float) -> None:
    began = due_at = time.monotonic()
    while True:
        due_at += every_s
        await asyncio.sleep(due_at - time.monotonic())
        print(f"  {due_at - began:.0f} s", flush=True)


def _print_trials(results: list[TrialResult]) -> None:
    if not results:
        return
    print(
        f"\n{'trial':<14}{'caller':<12}{'words':>6}{'lost':>6}{'extra':>6}{'rotations':>10}{'breaks':>8}{'amended':>8}"
        f"{'whisper':>9}"
    )
    for result in results:
        for call in result.calls:
            print(
                f"{result.name:<14}{call.name:<12}{call.said:>6}{call.lost:>6}{call.extra:>6}"
                f"{call.rotations:>10}{call.breaks:>8}{call.amended:>8}{call.by_whisper:>9}"
            )


def _print_crowds(results: list[CrowdResult]) -> None:
    if not results:
        return
    print(f"\n{'crowd':<14}{'calls':>6}{'words':>7}{'hurt':>6}{'opens':>7}{'most in 1 s':>12}{'bound':>7}{'spread':>9}")
    for each in results:
        print(
            f"{each.name:<14}{each.calls:>6}{each.said:>7}{each.hurt:>6}{each.opens:>7}{each.most_in_a_second:>12}"
            f"{each.bound:>7}{each.spread_s:>8.1f}s"
        )


if __name__ == "__main__":
    sys.exit(main())
