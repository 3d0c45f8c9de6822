"""Rules broken on purpose, and how many seeds it takes until that shows; ``make simulate-faults MUTATIONS=1``.

A judge that lets a broken rule pass is worth nothing. The breaks are made from outside: the product has no switches.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

from fastcall.audio.replay_buffer import AudioHistory
from fastcall.ports import StreamResult
from fastcall.recognition.hypothesis import Hypothesis
from fastcall.recognition.ledger import TranscriptLedger
from fastcall.recognition.provider_stream import StreamLeg
from fastcall.recognition.session import RecognitionSession
from fastcall.recognition.stream_manager import StreamRelay
from fastcall.recognition.time_map import StreamMap
from sim.run import failures

__all__ = ["MUTATIONS", "SEEDS", "caught_after", "mutated"]

SEEDS = 200
"""Within so many seeds each of them must be caught."""
SECOND = 8000

_init_leg = StreamLeg.__init__
_outgoing_results = RecognitionSession.outgoing_results
_forget_before = AudioHistory.forget_before


def _late_start(leg: StreamLeg, *args: Any, start: int, **kwargs: Any) -> None:
    _init_leg(leg, *args, start=start + SECOND // 2, **kwargs)


def _take_outgoing_finals(session: RecognitionSession, leg: StreamLeg, results: Sequence[StreamResult]) -> None:
    for result in results:
        if result.is_final:
            session._take_final(leg, result)
    _outgoing_results(session, leg, results)


def _base_plus_offset(stream: StreamMap, point: int, piece: int) -> int:
    base = stream._call_starts[0] - stream._stream_starts[0] if stream._call_starts else 0
    return base + point


def _forget_early(history: AudioHistory, sample: int) -> None:
    _forget_before(history, sample + SECOND // 2)


def _drop_outgoing_words(hypothesis: Hypothesis) -> None:
    hypothesis.text = ""
    hypothesis.end_sample = hypothesis.final_end
    hypothesis._is_behind = False


def _all_to_the_newest(ledger: TranscriptLedger, event: Any, tokens: list[str]) -> list[Any]:
    return [(ledger._utterances[-1], tokens)] if tokens and ledger._utterances else []


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _as_they_come(leg: StreamLeg, results: Sequence[StreamResult]) -> list[StreamResult]:
    return list(results)


MUTATIONS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "results are taken as the provider reports them": (StreamLeg, "_sound", _as_they_come),
    "a replay begins half a second late": (StreamLeg, "__init__", _late_start),
    "finals of the outgoing stream are taken too": (RecognitionSession, "outgoing_results", _take_outgoing_finals),
    "base plus offset in place of the piecewise map": (StreamMap, "_in_piece", _base_plus_offset),
    "the history is forgotten half a second early": (AudioHistory, "forget_before", _forget_early),
    "what was known is dropped when the owner changes": (Hypothesis, "owner_changed", _drop_outgoing_words),
    "the owner's first word counts before it has caught up": (Hypothesis, "_is_short", lambda *_: False),
    "a gap in the audio takes no time": (RecognitionSession, "feed_silence", lambda session, samples: False),
    "the last interim is not committed": (RecognitionSession, "_commit_interim", _nothing),
    "after a failure nobody tries again": (StreamRelay, "_try_open", _nothing),
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
