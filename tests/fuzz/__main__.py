"""The long run of the fuzzers, as `make fuzz` starts it.

    cd tests && ../.venv/bin/python -m fuzz --seconds 600 [--target media] [--seed 7] [--engine own|atheris]

An input on which the two ways differ is printed and ends the run with status 1. If the process itself dies, the input
is in build/fuzz/<target>.input; `--replay FILE` tries one input again. The engine `atheris` (the extra `fuzz`; one
target at a time) is guided by the coverage of the slow path's Python.
"""

from __future__ import annotations

import argparse
import inspect
import random
import sys
import time
from pathlib import Path

from fastcall import _codec
from fuzz.harness import Fuzzer, Target
from fuzz.targets import TARGETS

PLACE = Path(__file__).parent.parent.parent / "build" / "fuzz"
ROUND_S = 5.0


def run_own(targets: list[Target], seconds: float, seed: int) -> None:
    """All targets in turn, a few seconds each."""
    PLACE.mkdir(parents=True, exist_ok=True)
    fuzzers = {target.name: Fuzzer(target, seed=seed, trail=PLACE / f"{target.name}.input") for target in targets}
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for name, fuzzer in fuzzers.items():
            report = fuzzer.run(seconds=min(ROUND_S, left / len(fuzzers)))
            print(f"{name}: {report.tried:,} inputs, {len(report.signatures)} kinds of outcome", flush=True)
    for fuzzer in fuzzers.values():
        fuzzer.close()


def run_atheris(target: Target, seconds: float, seed: int) -> None:
    try:
        import atheris
    except ImportError:
        raise SystemExit("atheris is not installed: .venv/bin/python -m pip install -e '.[fuzz]'") from None
    from fastcall.twilio import messages as twilio

    corpus = PLACE / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    for function in vars(twilio).values():
        if inspect.isfunction(function) and function.__module__ == twilio.__name__:
            atheris.instrument_func(function)

    def check(data: bytes) -> None:
        target.check(data)

    options = [f"-max_total_time={int(seconds)}", f"-seed={seed}", f"-artifact_prefix={PLACE}/{target.name}-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], check)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz what reads bytes from the wire.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, for all targets together (default 60)")
    parser.add_argument("--target", choices=[target.name for target in TARGETS], help="this one only (default: all)")
    parser.add_argument("--seed", type=int, default=None, help="of all chance (default: a new one)")
    parser.add_argument("--engine", choices=["own", "atheris"], default="own")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try this one input on --target, and nothing else")
    options = parser.parse_args()
    targets = [target for target in TARGETS if options.target in (None, target.name)]
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    if (options.replay or options.engine == "atheris") and options.target is None:
        parser.error("name the --target")
    print(
        f"fuzzing {', '.join(target.name for target in targets)} on the {_codec.BUILD} build, seed {seed}", flush=True
    )
    if options.replay:
        print(targets[0].check(options.replay.read_bytes()))
    elif options.engine == "atheris":
        run_atheris(targets[0], options.seconds, seed)
    else:
        run_own(targets, options.seconds, seed)


if __name__ == "__main__":
    main()
