"""A short run of every fuzzer, always of the same inputs; `make fuzz` runs them longer, and always on others."""

from __future__ import annotations

import pytest

from fastcall import _codec
from fastcall.server.websocket import MediaConnection
from fuzz.fast_path import FastPath
from fuzz.harness import Fuzzer
from fuzz.targets import TARGETS, MediaScan
from thoroughness import amount

ROUNDS = {
    "media": 20_000,
    "loops": 2_000,
    "track": 2_000,
    "fast path": amount(300, thorough=2_000),
    "http2": 5_000,
    "uplink": amount(500, thorough=1_500),
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_fast_way_and_the_slow_way_agree(target):
    report = Fuzzer(target, seed=1).run(rounds=ROUNDS.get(target.name, 5_000))
    assert len(report.signatures) >= 5


def test_the_fuzzer_of_messages_reaches_every_depth():
    """Within 20,000 inputs; it stops when all of that was seen."""
    fuzzer, fast, missing = Fuzzer(MediaScan(), seed=2), 0, {""}
    for rounds in range(1_000, 20_001, 1_000):
        signatures = fuzzer.run(rounds=rounds).signatures
        fast = sum(count for (_, _, left_to_json), count in signatures.items() if not left_to_json)
        missing = {"MediaFrame", "CallStarted", "Connected", "Rejected"} - {kind for kind, _, _ in signatures}
        missing |= {"not_json", "not_utf8", "bad_field", "bad_payload", "unknown_event", "not_an_object"} - {
            reason for _, reason, _ in signatures
        }
        if fast > 300 and not missing:
            break
    assert fast > 300, "changed messages that the scan takes"
    assert missing == set()


def test_the_fuzzer_of_the_fast_path_reaches_both_ways_and_every_end():
    """Within 2,000 inputs; it stops when all of that was seen."""
    fuzzer, missing = Fuzzer(FastPath(), seed=2), {None}
    for rounds in range(100, 2_001, 100):
        seen = [signature for signature in fuzzer.run(rounds=rounds).signatures if signature != "nothing"]
        missing = {0, 1, 2, 3, 4} - {by_fast_path for by_fast_path, *_ in seen}
        missing |= {1000, 1002, 1006, 1007} - {code for *_, code, _ in seen}
        missing |= {"not_json", "bad_payload", "wrong_stream"} - {
            reason for _, _, rejected, *_ in seen for reason in rejected
        }
        if not missing:
            break
    assert missing == set()


def test_a_fast_path_that_goes_on_after_a_close_frame_is_found(monkeypatch):
    close_soon = MediaConnection.close_soon

    def go_on_after_a_close(connection: MediaConnection, code: int, reason: str) -> None:
        if code != 1000 or not connection.uses_fast_path:
            close_soon(connection, code, reason)

    monkeypatch.setattr(MediaConnection, "close_soon", go_on_after_a_close)
    with pytest.raises(AssertionError):
        Fuzzer(FastPath(), seed=5).run(rounds=2_000)


def test_all_follows_from_the_seed():
    one, other = (Fuzzer(MediaScan(), seed=3) for _ in range(2))
    assert one.run(rounds=500) == other.run(rounds=500)
    assert Fuzzer(MediaScan(), seed=4).run(rounds=500) != one.report


def test_a_difference_is_found_and_its_input_is_named(monkeypatch, tmp_path):
    """With a scan that does not mind how many brackets close a message."""
    scan = _codec.scan_media

    def careless(message):
        return scan(message.rstrip(b"}") + b"}")

    monkeypatch.setattr(_codec, "scan_media", careless)
    fuzzer = Fuzzer(MediaScan(), seed=5, trail=tmp_path / "input")
    with pytest.raises(AssertionError) as caught:
        fuzzer.run(rounds=20_000)
    fuzzer.close()
    assert "target media, input " in caught.value.__notes__[0]
    assert repr((tmp_path / "input").read_bytes()) in caught.value.__notes__[0]
