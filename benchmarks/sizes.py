"""What a loop costs by the size of its input: the core with each instruction set, and the standard library."""

from __future__ import annotations

import base64
import json
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
TURNS = 12
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


def _best_s(function: Callable[[], object]) -> float:
    calls = calls_a_turn(function)
    return min(seconds_of(function, calls) for _ in range(TURNS)) / calls


def costs_by_size(name: str) -> Mapping[str, list[tuple[int, float]]]:
    """Of each way (instruction sets, the standard library) pairs of samples and nanoseconds a sample."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for size in PAYLOADS if name == "scan" else SAMPLES:
        standard, ours, theirs = _sides(name, size)
        curves.setdefault(standard, []).append((size, _best_s(theirs) / size * 1e9))
        for instructions in _codec.instruction_sets():
            before = _codec.use_instructions(instructions)
            try:
                cost = _best_s(ours) / size * 1e9
            finally:
                _codec.use_instructions(before)
            curves.setdefault(f"core, {instructions}", []).append((size, cost))
    return curves
