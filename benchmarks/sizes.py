"""What a loop costs by the size of its input: the core with each instruction set, and the standard library."""

from __future__ import annotations

import base64
import json
import math
import random
import warnings
from collections.abc import Callable, Mapping

from fastcall import _codec
from ratio import calls_a_turn, seconds_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

__all__ = ["COSTS", "costs_by_size"]

COSTS = {
    "decode": "mu-law decode",
    "encode": "mu-law encode",
    "scan": "scan of a media message",
}
SAMPLES = [1 << power for power in range(4, 21)]
PAYLOADS = [1 << power for power in range(4, 15)]
TURNS = 30
CHANCE = random.Random(4)


def _message(payload: bytes) -> bytes:
    media = {"track": "inbound", "chunk": "1", "timestamp": "155", "payload": base64.b64encode(payload).decode()}
    message = {"event": "media", "sequenceNumber": "2", "media": media, "streamSid": "MZ" + 32 * "0"}
    return json.dumps(message, separators=(",", ":")).encode()


def _read_by_json(message: bytes) -> tuple[str, int, bytes]:
    fields = json.loads(message)
    return fields["streamSid"], int(fields["media"]["timestamp"]), base64.b64decode(fields["media"]["payload"])


def _sides(name: str, size: int) -> tuple[str, Callable[[], object], Callable[[], object]]:
    """The name of the standard way, ours and the standard one, for an input of ``size`` samples."""
    if name == "decode":
        codes = CHANCE.randbytes(size)
        return "audioop", lambda: _codec.mulaw_decode(codes), lambda: audioop.ulaw2lin(codes, 2)
    if name == "encode":
        pcm = CHANCE.randbytes(2 * size)
        return "audioop", lambda: _codec.mulaw_encode(pcm), lambda: audioop.lin2ulaw(pcm, 2)
    message = _message(CHANCE.randbytes(size))
    return "json and base64", lambda: _codec.scan_media(message), lambda: _read_by_json(message)


class _Way:
    """One way to do it, with the instruction set that it takes, and the best of its turns."""

    def __init__(self, function: Callable[[], object], instructions: str) -> None:
        self._function = function
        self._instructions = instructions
        self._calls = 0
        self.best_s = math.inf

    def take_turn(self) -> None:
        before = _codec.use_instructions(self._instructions)
        try:
            self._calls = self._calls or calls_a_turn(self._function)
            self.best_s = min(self.best_s, seconds_of(self._function, self._calls) / self._calls)
        finally:
            _codec.use_instructions(before)


def costs_by_size(name: str) -> Mapping[str, list[tuple[int, float]]]:
    """Of each way (instruction sets, the standard library) pairs of samples and nanoseconds a sample.

    The ways take turns, and the fastest turn counts, as in ``ratio``.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for size in PAYLOADS if name == "scan" else SAMPLES:
        standard, ours, theirs = _sides(name, size)
        sets = _codec.instruction_sets()
        ways = {standard: _Way(theirs, sets[0])} | {f"core, {one}": _Way(ours, one) for one in sets}
        for _ in range(TURNS):
            for way in ways.values():
                way.take_turn()
        for label, way in ways.items():
            curves.setdefault(label, []).append((size, way.best_s / size * 1e9))
    return curves
