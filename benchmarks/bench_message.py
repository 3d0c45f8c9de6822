"""A media message from its text to LINEAR16 in a batch: the core against ``json``, ``base64`` and ``audioop``."""

from __future__ import annotations

import base64
import json
import random
import warnings
from typing import Any

import pytest

from fastcall._codec import AudioRing, scan_media
from ratio import compare

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

FRAMES = 8
CHANCE = random.Random(3)


def media_message(number: int) -> bytes:
    media = {
        "track": "inbound",
        "chunk": str(number + 1),
        "timestamp": str(155 + 20 * number),
        "payload": base64.b64encode(CHANCE.randbytes(160)).decode(),
    }
    sid = "MZ0123456789abcdef0123456789abcdef"
    message = {"event": "media", "sequenceNumber": str(number + 2), "media": media, "streamSid": sid}
    return json.dumps(message, separators=(",", ":")).encode()


MESSAGES = [media_message(number) for number in range(FRAMES)]


@pytest.mark.gate
def test_a_message_to_linear16(benchmark: Any) -> None:
    ring = AudioRing(8000)

    def core() -> bytes | None:
        for message in MESSAGES:
            found = scan_media(message)
            assert found is not None
            ring.push(found[2])
        return ring.take_batch(1200, 7500)

    def standard_library() -> bytes:
        pieces = []
        for message in MESSAGES:
            fields = json.loads(message)
            assert fields["event"] == "media"
            pieces.append(audioop.ulaw2lin(base64.b64decode(fields["media"]["payload"]), 2))
        return b"".join(pieces)

    assert core() == standard_library()
    compare(benchmark, "media message to LINEAR16, a message", core, standard_library, floor=9, units=FRAMES)


@pytest.mark.gate
def test_scan_of_a_message(benchmark: Any) -> None:
    message = MESSAGES[0]

    def standard_library() -> tuple[str, int, bytes]:
        fields = json.loads(message)
        return fields["streamSid"], int(fields["media"]["timestamp"]), base64.b64decode(fields["media"]["payload"])

    found = scan_media(message)
    assert found is not None
    assert found[:3] == standard_library()
    compare(benchmark, "scan of a media message", lambda: scan_media(message), standard_library, floor=12)
