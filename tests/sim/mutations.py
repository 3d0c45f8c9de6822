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
from fastcall.recognition.provider_stream import ProviderStream
from fastcall.recognition.session import RecognitionSession
from fastcall.recognition.stream_manager import StreamManager
from fastcall.recognition.time_map import TimeMap
from sim.run import failures

__all__ = ["MUTATIONS", "SEEDS", "caught_after", "mutated"]

SEEDS = 200
"""Within so many seeds each of them must be caught."""
SECOND = 8000

_init_provider_stream = ProviderStream.__init__
_draining_results = RecognitionSession.draining_results
_forget_before = ReplayBuffer.forget_before


def _late_start(provider_stream: ProviderStream, *args: Any, start: int, **kwargs: Any) -> None:
    _init_provider_stream(provider_stream, *args, start=start + SECOND // 2, **kwargs)


def _take_draining_finals(
    self: RecognitionSession, provider_stream: ProviderStream, results: Sequence[StreamResult]
) -> None:
    for result in results:
        if result.is_final:
            self._take_final(provider_stream, result)
    _draining_results(self, provider_stream, results)


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


def _as_they_come(provider_stream: ProviderStream, results: Sequence[StreamResult]) -> list[StreamResult]:
    return list(results)


MUTATIONS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "results are taken as the provider reports them": (ProviderStream, "_sound", _as_they_come),
    "a replay begins half a second late": (ProviderStream, "__init__", _late_start),
    "finals of the draining stream are taken too": (RecognitionSession, "draining_results", _take_draining_finals),
    "base plus offset in place of the piecewise map": (TimeMap, "_in_piece", _base_plus_offset),
    "the history is forgotten half a second early": (ReplayBuffer, "forget_before", _forget_early),
    "what was known is dropped when the owner changes": (Hypothesis, "active_changed", _drop_draining_words),
    "the owner's first word counts before it has caught up": (Hypothesis, "_is_short", lambda *_: False),
    "a gap in the audio takes no time": (RecognitionSession, "feed_silence", lambda session, samples: False),
    "the last interim is not committed": (RecognitionSession, "_commit_interim", _nothing),
    "after a failure nobody tries again": (StreamManager, "_try_open", _nothing),
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
