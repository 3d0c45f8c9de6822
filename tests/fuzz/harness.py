"""Makes inputs from seeds and runs them on a target, without any package: the same on every Python.

Strategy: an input is a few changes to one that was worth keeping. Worth keeping is what shows the target's ``check`` a
new signature (which events came, what was refused, and why), so that the search goes on from the depths that it
reached. Everything follows from the random seed; each input is written down before it is tried, so that a crash of the
process leaves it behind.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = ["Fuzzer", "Report", "Target"]

MAX_INPUT_BYTES = 4096
MAX_CORPUS = 2000
CHANGES = [1, 1, 1, 2, 4]
NUMBERS = [0, 1, 0x7D, 0x7E, 0x7F, 0x80, 0xFE, 0xFF]


class Target(Protocol):
    """Something that reads bytes, and its judge."""

    name: str
    tokens: Sequence[bytes]
    """Pieces that mean something to it."""

    def seeds(self) -> Sequence[bytes]:
        """Inputs to begin with, good ones among them."""

    def check(self, data: bytes) -> Hashable:
        """Try one input both ways. Returns what was seen, coarsely.

        :raises AssertionError: the two ways differ
        """


@dataclass(slots=True)
class Report:
    """What a run did: inputs tried, and how many inputs gave each signature that was seen."""

    tried: int = 0
    signatures: dict[Hashable, int] = field(default_factory=dict)


class Fuzzer:
    """One target's corpus and chance.

    :param seed: of all chance
    :param trail: where the input under trial is written, for the case that the process does not survive it
    """

    def __init__(self, target: Target, *, seed: int = 0, trail: Path | None = None) -> None:
        self._target = target
        self._chance = random.Random(seed)
        self._corpus: list[tuple[bytes, Hashable]] = []
        self._seeds = len(target.seeds())
        self._trail = os.open(trail, os.O_RDWR | os.O_CREAT | os.O_TRUNC) if trail else None
        self.report = Report()

    def run(self, *, rounds: int | None = None, seconds: float | None = None) -> Report:
        """Try the seeds, then changes of them, until ``rounds`` inputs or ``seconds`` are over.

        :raises AssertionError: the two ways differ; the input is in its notes
        """
        end = None if seconds is None else time.monotonic() + seconds
        for data in self._inputs():
            if (rounds is not None and self.report.tried >= rounds) or (end is not None and time.monotonic() >= end):
                break
            self._try(data)
        return self.report

    def close(self) -> None:
        """The trail is over."""
        if self._trail is not None:
            os.close(self._trail)

    def _inputs(self) -> Iterator[bytes]:
        if not self._corpus:
            yield from map(bytes, self._target.seeds())
        while True:
            # Of three the one whose outcome is the rarest: the common outcomes are those of broken inputs.
            chosen = (self._chance.choice(self._corpus) for _ in range(3))
            yield self.mutated(min(chosen, key=lambda kept: self.report.signatures[kept[1]])[0])

    def _try(self, data: bytes) -> None:
        if self._trail is not None:
            os.pwrite(self._trail, data, 0)
            os.ftruncate(self._trail, len(data))
        try:
            signature = self._target.check(data)
        except Exception as error:
            error.add_note(f"target {self._target.name}, input {self.report.tried}: {data!r}")
            raise
        report = self.report
        report.tried += 1
        is_seed = report.tried <= self._seeds
        if (is_seed or signature not in report.signatures) and len(self._corpus) < MAX_CORPUS:
            self._corpus.append((data, signature))
        report.signatures[signature] = report.signatures.get(signature, 0) + 1

    # --- changes ----------------------------------------------------------------------------------------

    def mutated(self, data: bytes) -> bytes:
        """``data`` with one to four changes."""
        changed = bytearray(data)
        for _ in range(self._chance.choice(CHANGES)):
            self._chance.choice(self._changes)(self, changed)
        return bytes(changed[:MAX_INPUT_BYTES])

    def _span(self, data: bytearray, longest: int) -> tuple[int, int]:
        start = self._chance.randint(0, len(data))
        return start, min(len(data), start + self._chance.randint(0, longest))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] = self._chance.choice([*NUMBERS, self._chance.randrange(256)])

    def _set_to_neighbour(self, data: bytearray) -> None:
        if data:
            near = self._chance.randrange(len(data))
            data[min(len(data) - 1, near + self._chance.randint(0, 40))] = data[near]

    def _insert_token(self, data: bytearray) -> None:
        start, stop = self._span(data, self._chance.choice([0, 0, 4, 16]))
        data[start:stop] = self._chance.choice(self._target.tokens)

    def _insert_bytes(self, data: bytearray) -> None:
        start, _ = self._span(data, 0)
        data[start:start] = self._chance.randbytes(self._chance.randint(1, 4))

    def _delete(self, data: bytearray) -> None:
        start, stop = self._span(data, 24)
        del data[start:stop]

    def _cut(self, data: bytearray) -> None:
        del data[self._chance.randint(0, len(data)) :]

    def _repeat(self, data: bytearray) -> None:
        start, stop = self._span(data, 64)
        data[stop:stop] = data[start:stop] * self._chance.choice([1, 1, 2, 20])

    def _splice(self, data: bytearray) -> None:
        other, _ = self._chance.choice(self._corpus)
        start, stop = self._span(data, 200)
        at = self._chance.randint(0, len(other))
        data[start:stop] = other[at : at + self._chance.randint(0, 200)]

    _changes: Sequence[Callable[[Fuzzer, bytearray], None]] = (
        _flip,
        _set,
        _set_to_neighbour,
        _set_to_neighbour,
        _insert_token,
        _insert_token,
        _insert_bytes,
        _delete,
        _cut,
        _repeat,
        _splice,
    )
