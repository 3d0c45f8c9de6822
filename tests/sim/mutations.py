"""Rules broken on purpose, and how many seeds it takes until that shows; ``make simulate-faults MUTATIONS=1``.

A judge that lets a broken rule pass is worth nothing. The breaks are made from outside: the product has no switches.
They are bodies of its own methods, so they say ``self`` and know its private attributes.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.ports import StreamResult
from fastcall.recognition.hypothesis import Hypothesis
from fastcall.recognition.ledger import TranscriptLedger
from fastcall.recognition.machine import RecognitionMachine
from fastcall.recognition.session import RecognitionSession
from fastcall.recognition.settlement import Settlement
from fastcall.recognition.stream_state import StreamState
from fastcall.recognition.time_map import TimeMap
from sim.run import failures

__all__ = ["MUTATIONS", "SEEDS", "caught_after", "mutated"]

SEEDS = 200
"""Within so many seeds each of them must be caught."""
SECOND = 8000

_init_stream = StreamState.__init__
_take_draining = Settlement.take_draining
_forget_before = ReplayBuffer.forget_before


def _late_start(stream: StreamState, *args: Any, start: int, **kwargs: Any) -> None:
    _init_stream(stream, *args, start=start + SECOND // 2, **kwargs)


def _take_draining_finals(self: Settlement, stream: StreamState, results: Sequence[StreamResult]) -> bool:
    for result in results:
        if result.is_final:
            self.take_final(stream, result, ())
    return _take_draining(self, stream, results)


def _base_plus_offset(self: TimeMap, point: int, piece: int) -> int:
    base = self._call_starts[0] - self._stream_starts[0] if self._call_starts else 0
    return base + point


def _forget_early(replay_buffer: ReplayBuffer, sample: int) -> None:
    _forget_before(replay_buffer, sample + SECOND // 2)


def _drop_draining_words(self: Hypothesis) -> None:
    self.text = ""
    self.end_sample = self.settled_end
    self._is_behind = False


def _all_to_the_newest(self: TranscriptLedger, event: Any, tokens: list[str]) -> list[Any]:
    return [(self._utterances[-1], tokens)] if tokens and self._utterances else []


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _as_they_come(stream: StreamState, results: Sequence[StreamResult]) -> list[StreamResult]:
    return list(results)


MUTATIONS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "results are taken as the provider reports them": (StreamState, "sound", _as_they_come),
    "a replay begins half a second late": (StreamState, "__init__", _late_start),
    "finals of the draining stream are taken too": (Settlement, "take_draining", _take_draining_finals),
    "base plus offset in place of the piecewise map": (TimeMap, "_in_piece", _base_plus_offset),
    "the history is forgotten half a second early": (ReplayBuffer, "forget_before", _forget_early),
    "what was known is dropped when the owner changes": (Hypothesis, "active_changed", _drop_draining_words),
    "the owner's first word counts before it has caught up": (Hypothesis, "_is_short", lambda *_: False),
    "a gap in the audio takes no time": (RecognitionSession, "feed_silence", lambda session, samples: False),
    "the last interim is not committed": (Settlement, "commit_interim", _nothing),
    "after a failure nobody tries again": (RecognitionMachine, "_try_open", _nothing),
    "a late final goes to the newest utterance": (TranscriptLedger, "_share_out", _all_to_the_newest),
}


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """With that rule broken."""
    owner, attribute, broken = MUTATIONS[name]
    with patch.object(owner, attribute, broken):
        yield


def caught_after(name: str, *, seeds: int = SEEDS) -> tuple[int, str] | None:
    """After how many seeds the break is noticed, and by what; None if it is not."""
    with mutated(name):
        found = next(failures(range(seeds)), None)
    return None if found is None else (found[0] + 1, found[1].problems[0])


def main() -> int:
    """The command."""
    logging.disable(logging.CRITICAL)
    missed = 0
    for name in MUTATIONS:
        caught = caught_after(name)
        missed += caught is None
        print(
            f"{name}: " + (f"seed {caught[0]}: {caught[1]}" if caught else f"NOT CAUGHT within {SEEDS} seeds"),
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
