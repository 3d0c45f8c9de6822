"""Slow and obvious twins of the compiled core: they exist only to judge it."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field

# The upper ends of the segments of ITU-T G.711, on 14-bit magnitudes plus the bias of 33, and on 13-bit ones.
MULAW_ENDS = [0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF, 0x1FFF]
ALAW_ENDS = [0x1F, 0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF]


def mulaw_to_linear(code: int) -> int:
    code = ~code & 0xFF
    segment, step = code >> 4 & 7, code & 15
    magnitude = ((step << 3) + 0x84 << segment) - 0x84
    return -magnitude if code & 0x80 else magnitude


def linear_to_mulaw(sample: int) -> int:
    value = sample >> 2
    mask = 0x7F if value < 0 else 0xFF
    value = min(abs(value), 8158) + 33
    segment = next(i for i, end in enumerate(MULAW_ENDS) if value <= end)
    return (segment << 4 | value >> segment + 1 & 15) ^ mask


def alaw_to_linear(code: int) -> int:
    code ^= 0x55
    segment, step = code >> 4 & 7, code & 15
    magnitude = (step << 4) + 8 if segment == 0 else (step << 4) + 0x108 << segment - 1
    return magnitude if code & 0x80 else -magnitude


def linear_to_alaw(sample: int) -> int:
    value = sample >> 3
    mask = 0xD5
    if value < 0:
        mask, value = 0x55, -value - 1
    segment = next(i for i, end in enumerate(ALAW_ENDS) if value <= end)
    return (segment << 4 | value >> max(segment, 1) & 15) ^ mask


MULAW_PCM = [struct.pack("<h", mulaw_to_linear(code)) for code in range(256)]
ALAW_PCM = [struct.pack("<h", alaw_to_linear(code)) for code in range(256)]


def pcm_samples(pcm: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(pcm) // 2}h", pcm)


def mulaw_decode(codes: bytes) -> bytes:
    return b"".join([MULAW_PCM[code] for code in codes])


def mulaw_encode(pcm: bytes) -> bytes:
    return bytes(linear_to_mulaw(sample) for sample in pcm_samples(pcm))


def alaw_decode(codes: bytes) -> bytes:
    return b"".join([ALAW_PCM[code] for code in codes])


def alaw_encode(pcm: bytes) -> bytes:
    return bytes(linear_to_alaw(sample) for sample in pcm_samples(pcm))


@dataclass
class Ring:
    """A list of samples, each as its bytes."""

    capacity_samples: int
    sample_bytes: int
    waiting: list[bytes] = field(default_factory=list)
    pushed_samples: int = 0
    taken_samples: int = 0
    dropped_samples: int = 0

    def push(self, data: bytes) -> int:
        samples = [data[i : i + self.sample_bytes] for i in range(0, len(data), self.sample_bytes)]
        accepted = samples[: self.capacity_samples - len(self.waiting)]
        self.waiting += accepted
        self.pushed_samples += len(accepted)
        self.dropped_samples += len(samples) - len(accepted)
        return len(accepted)

    def push_silence(self, samples: int) -> int:
        return self.push((b"\xff" if self.sample_bytes == 1 else b"\x00\x00") * samples)

    def take(self, max_samples: int) -> bytes:
        taken, self.waiting = self.waiting[:max_samples], self.waiting[max_samples:]
        self.taken_samples += len(taken)
        return b"".join(taken)

    def take_batch(self, min_samples: int, max_samples: int) -> bytes | None:
        if len(self.waiting) < min_samples:
            return None
        taken = self.take(max_samples)
        return mulaw_decode(taken) if self.sample_bytes == 1 else taken

    def clear(self) -> int:
        return len(self.take(len(self.waiting))) // self.sample_bytes


@dataclass
class Track:
    """Every sample since the beginning."""

    sample_bytes: int
    said: bytearray = field(default_factory=bytearray)
    start: int = 0
    end: int = 0
    dropped_samples: int = 0

    @property
    def pushed_samples(self) -> int:
        return len(self.said) // self.sample_bytes

    def push(self, data: bytes, limit_samples: int | None = None) -> int:
        samples = len(data) // self.sample_bytes
        waiting = self.pushed_samples - self.end
        fitting = samples if limit_samples is None else min(samples, max(0, limit_samples - waiting))
        self.said += data[: fitting * self.sample_bytes]
        self.push_silence(samples - fitting)
        self.dropped_samples += samples - fitting
        return fitting

    def push_silence(self, samples: int) -> None:
        self.said += (b"\xff" if self.sample_bytes == 1 else b"\x00\x00") * samples

    def take(self) -> int:
        taken = self.pushed_samples - self.end
        self.end = self.pushed_samples
        return taken

    def read(self, start: int, samples: int) -> bytes:
        stop = min(start + samples, self.end)
        kept = bytes(self.said[start * self.sample_bytes : stop * self.sample_bytes])
        return mulaw_decode(kept) if self.sample_bytes == 1 else kept

    def forget_before(self, sample: int) -> None:
        self.start = max(self.start, min(sample, self.end))


@dataclass
class Debouncer:
    interval_s: float
    emitted_at_s: float | None = None
    last: str | None = None
    held: str | None = None

    @property
    def deadline(self) -> float | None:
        if self.held is None or self.emitted_at_s is None:
            return None
        return self.emitted_at_s + self.interval_s

    def offer(self, text: str, *, now: float) -> str | None:
        self.held = text
        if text == self.last:
            self.held = None
        return self.fire(now=now)

    def fire(self, *, now: float) -> str | None:
        if self.emitted_at_s is not None and self.emitted_at_s - now > self.interval_s:
            self.emitted_at_s = now
        if self.held is None:
            return None
        if self.emitted_at_s is not None and now < self.emitted_at_s + self.interval_s:
            return None
        self.last, self.held, self.emitted_at_s = self.held, None, now
        return self.last

    def reset(self) -> None:
        self.last = self.held = None


@dataclass
class Endpointing:
    """Keeps every frame of the call: 0 no voice, 1 the caller's, 2 in the background. ``feed`` gives what changed, as
    (what, where): begins have two places."""

    needed: int
    hangover_frames: int
    preroll_samples: int
    max_samples: int
    background_frames: int = 0
    frames: list[int] = field(default_factory=list)
    since: int = 0  # the frame from which the open utterance, or the search for the next, counts
    start: int | None = None
    last_voiced: int = 0
    last_caller: int = 0
    floor: int = 0
    window: tuple[int, int, int] | None = None  # frames, how many may be voiced, until which sample it counts

    def feed(self, voice: int) -> tuple[str, int, int] | None:
        self.frames.append(int(voice) if len(self.frames) >= 5 else 0)
        end = 160 * len(self.frames)
        if self.start is None:
            onset = [each == 1 for each in self.frames[self.since :][-self.needed - 2 :]]
            if self.frames[-1] != 1 or sum(onset) < self.needed:
                return None
            voice_at = end - 160 * (len(onset) - onset.index(True))
            self.start, self.last_voiced = max(self.floor, voice_at - self.preroll_samples, 0), end
            self.last_caller, self.window = end, None
            self.since = len(self.frames)
            return "began", self.start, max(voice_at, self.start)
        if self.frames[-1]:
            self.last_voiced = end
        if self.frames[-1] == 1:
            self.last_caller = end
            if self.window is not None and 0 <= self.window[2] < end:
                self.window = None
        return self.ended(end)

    def ended(self, end: int) -> tuple[str, int, int] | None:
        assert self.start is not None
        frames, allowed, _ = self.window or (self.hangover_frames, int(self.hangover_frames * 0.1), -1)
        heard, longer = self.frames[self.since :], frames + self.background_frames
        reason = ""
        if end - self.start >= self.max_samples:
            reason = "too_long"
        elif len(heard) >= frames and sum(each > 0 for each in heard[-frames:]) <= allowed:
            reason = "hangover"
        elif self.background_frames and len(heard) >= longer and heard[-longer:].count(1) <= allowed:
            reason, self.last_voiced = "background", self.last_caller
        if not reason:
            return None
        self.start, self.floor, self.since = None, self.last_voiced, len(self.frames)
        return reason, self.last_voiced, 0


def scan_media(message: bytes) -> tuple[str, int, bytes, int, int] | None:
    """What ``json`` and ``base64`` make of an inbound media message; None if they make none of it."""
    try:
        fields = json.loads(message)
        media = fields["media"]
        if fields["event"] != "media" or media["track"] != "inbound":
            return None
        counts = int(media.get("chunk", -1)), int(fields.get("sequenceNumber", -1))
        payload = base64.b64decode(media["payload"], validate=True)
        return fields.get("streamSid", ""), int(media["timestamp"]), payload, *counts
    except (ValueError, KeyError, TypeError):
        return None


# --- Twilio's messages, as ``json`` and ``base64`` make them ------------------------------------------------


def media_message(stream_sid: str, audio: bytes) -> str:
    """Audio to play."""
    return json.dumps(
        {"event": "media", "streamSid": stream_sid, "media": {"payload": base64.b64encode(audio).decode("ascii")}}
    )


def mark_message(stream_sid: str, name: str) -> str:
    """Ask for an echo of ``name`` when all audio queued so far was played."""
    return json.dumps({"event": "mark", "streamSid": stream_sid, "mark": {"name": name}})


def clear_message(stream_sid: str) -> str:
    """Drop all queued audio that was not yet played."""
    return json.dumps({"event": "clear", "streamSid": stream_sid})
