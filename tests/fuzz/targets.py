"""What is fuzzed. Each target's ``check`` does one thing both ways, the fast one and the slow one."""

from __future__ import annotations

import base64
import json
from collections.abc import Hashable, Sequence
from unittest import mock

import reference
from fastcall import _codec, _http2
from fastcall.events import MarkPlayed, MediaFrame, Rejected
from fastcall.twilio import messages as twilio
from fuzz.fast_path import FastPath
from fuzz.harness import Target

__all__ = ["TARGETS", "MediaScan"]

SID = "MZ0123456789abcdef0123456789abcdef"
MESSAGES = [
    {"event": "connected", "protocol": "Call", "version": "1.0.0"},
    {
        "event": "start",
        "sequenceNumber": "1",
        "start": {
            "accountSid": "AC0123456789abcdef0123456789abcdef",
            "streamSid": SID,
            "callSid": "CA0123456789abcdef0123456789abcdef",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"name": "value"},
        },
        "streamSid": SID,
    },
    *(
        {
            "event": "media",
            "sequenceNumber": "3",
            "media": {"track": "inbound", "chunk": "1", "timestamp": "155", "payload": payload},
            "streamSid": SID,
        }
        for payload in ("", "/w==", "//8=", base64.b64encode(bytes(range(96, 256))).decode())
    ),
    {"event": "dtmf", "streamSid": SID, "sequenceNumber": "5", "dtmf": {"track": "inbound_track", "digit": "1"}},
    {"event": "mark", "sequenceNumber": "4", "streamSid": SID, "mark": {"name": "answer"}},
    {"event": "stop", "sequenceNumber": "9", "stop": {"callSid": "CA0"}, "streamSid": SID},
]


def no_scan(message: bytes) -> None:
    """As the scan of a message that it leaves to ``json``; a ``Mock`` would take longer than all else."""


class MediaScan:
    """A message of Twilio's: with the core's scan, and by ``json`` and ``base64`` alone."""

    name = "media"
    tokens: Sequence[bytes] = (
        *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"=", b"==", b" ", b"\n", b"/", b"+", b"null", b"1", b"-1"),
        *(b'"event":"media"', b'"track":"inbound"', b'"payload":"AAAA"', b'"timestamp":"20"', b'"timestamp":20'),
        *(b'"event":"mark"', b'"mark":{"name":"a"}', b'"mark":{', b'"name":"b"'),
        *(b'"media":{', b'"chunk":"2",', b'"streamSid":"MZ1",', b"\\u0041", b"\\/", b"\xff\xfe", b"\xc3\xa9", b"\0"),
        *(b"AAAA" * 30, b"////" * 8, b"12345678901", b"9999999999", b"1e5", b"NaN"),
    )

    def seeds(self) -> Sequence[bytes]:
        compact = [json.dumps(message, separators=(",", ":")).encode() for message in MESSAGES]
        return [*compact, *(json.dumps(message, indent=1).encode() for message in MESSAGES), b"", b"{}", b"[]"]

    def check(self, data: bytes) -> Hashable:
        scanned = _codec.scan_media(data)
        fast = twilio.parse_message(data)
        name = _codec.scan_mark(data)
        with mock.patch.object(_codec, "scan_media", no_scan), mock.patch.object(_codec, "scan_mark", no_scan):
            slow = twilio.parse_message(data)
        assert fast == slow
        assert scanned is None or fast == MediaFrame(*scanned)
        assert name is None or fast == MarkPlayed(name)
        detail = fast.reason if isinstance(fast, Rejected) else ""
        if isinstance(fast, MediaFrame):
            detail = f"{len(fast.payload) % 3} {min(len(fast.payload), 255).bit_length()}"
        return type(fast).__name__, detail, scanned is None and name is None


class Loops:
    """The loops of G.711 and base64: those of every instruction set, at any address, and the twins."""

    name = "loops"
    tokens: Sequence[bytes] = (bytes(range(64)), bytes(range(192, 256)), b"\0" * 31, b"\xff" * 33, b"\x80\x00\x7f\xff")

    def seeds(self) -> Sequence[bytes]:
        return [b"\0", b"\x03" + bytes(range(256)), bytes(700)]

    def check(self, data: bytes) -> Hashable:
        if not data:
            return "empty"
        shift, body = data[0] % 17, data[1:]
        even = body[: len(body) // 2 * 2]
        text = base64.b64encode(body)
        message = json.dumps({**MESSAGES[3], "media": {**MESSAGES[3]["media"], "payload": text.decode()}}).encode()  # type: ignore[dict-item]
        results = []
        for instructions in _codec.instruction_sets():
            before = _codec.use_instructions(instructions)
            try:
                moved, moved_even = (memoryview(bytes(shift) + part)[shift:] for part in (body, even))
                results.append(
                    (
                        *(decode(moved) for decode in (_codec.mulaw_decode, _codec.alaw_decode)),
                        *(encode(moved_even) for encode in (_codec.mulaw_encode, _codec.alaw_encode)),
                        _codec.scan_media(message),
                    )
                )
            finally:
                _codec.use_instructions(before)
        twins = (reference.mulaw_decode, reference.alaw_decode)
        assert results[0][:2] == tuple(twin(body[:64]) + results[0][i][128:] for i, twin in enumerate(twins))
        assert not body or results[0][4][:3] == (SID, 155, body)
        assert all(result == results[0] for result in results)
        return len(data) // 16


class Track:
    """What a call does to its audio: every byte or two an act, against the twin."""

    name = "track"
    tokens: Sequence[bytes] = (b"\x00\xff", b"\x01\xff\x01\xff", b"\x02", b"\x02\x03\x10", b"\x02\x04\xff", b"\x05\x40")

    def seeds(self) -> Sequence[bytes]:
        return [
            b"\x00\x14\x02\x03\x00\x04\x05",
            b"\x00\xff" * 20 + b"\x02\x03\x80\x04\xff",
            b"\x01\xff\x00\x01\x02\x03\x00",
        ]

    def check(self, data: bytes) -> Hashable:
        width = 1 + (data[:1] > b"\x80")
        track, twin = _codec.AudioTrack(sample_bytes=width), reference.Track(width)
        acts = iter(data)
        for act, amount in zip(acts, acts, strict=False):
            samples = amount * amount // 16
            if act % 6 == 0:
                audio = bytes(range(amount, 256)) * (samples * width // 64 + 1)
                audio = audio[: samples * width if len(audio) >= samples * width else 0]
                assert track.push(audio) == twin.push(audio)
            elif act % 6 == 1:
                track.push_silence(samples)
                twin.push_silence(samples)
            elif act % 6 == 2:
                assert track.take() == twin.take()
            elif act % 6 == 3:
                start = twin.start + (twin.end - twin.start) * amount // 255
                assert track.read(start, 300) == twin.read(start, 300)
            elif act % 6 == 4:
                sample = twin.start + (twin.end - twin.start) * amount // 250
                track.forget_before(sample)
                twin.forget_before(sample)
            else:
                assert track.push(bytes(samples * width), 1000) == twin.push(bytes(samples * width), 1000)
            if twin.pushed_samples > 12_000:
                break
        assert (track.start, track.end, track.pushed_samples) == (twin.start, twin.end, twin.pushed_samples)
        assert track.dropped_samples == twin.dropped_samples
        return min(track.memory_bytes // 4096, 8), track.start > 0, track.dropped_samples > 0


def _targets() -> Sequence[Target]:
    """Those of HTTP/2 only where libnghttp2 is."""
    targets: list[Target] = [MediaScan(), Loops(), Track(), FastPath()]
    try:
        _http2.load()
    except OSError:
        return targets
    from fuzz.http2_targets import Http2Core, Uplink

    return [*targets, Http2Core(), Uplink()]


TARGETS = _targets()
