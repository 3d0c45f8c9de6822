"""Twilio's handling of a server's messages: checks every field, plays the audio, echoes the marks.

Invariants: marks come back in the order in which they were sent, each exactly once: when the audio before it was
played, at once if none is queued, and all of them after ``clear``. A message that Twilio would refuse has no effect.
Time is an argument in monotonic seconds.

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages, errors 31950 and 31951
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from dataclasses import dataclass
from typing import Any

__all__ = ["INVALID_MESSAGE", "MALFORMED_MESSAGE", "Clear", "Mark", "Media", "Playback", "Violation", "read_message"]

SAMPLE_RATE_HZ = 8000

MALFORMED_MESSAGE = 31950
INVALID_MESSAGE = 31951


@dataclass(frozen=True, slots=True)
class Media:
    """Audio to play."""

    mulaw: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark to echo."""

    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Drop the audio that is not yet played."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A message that Twilio refuses."""

    code: int
    """Twilio's warning: 31950 (malformed) or 31951 (invalid)."""
    detail: str


def read_message(message: str | bytes, stream_sid: str) -> Media | Mark | Clear | Violation:
    """Parse a server's message, as strictly as Twilio: no field may be missing or superfluous.

    :param message: ``bytes`` is a binary frame
    :param stream_sid: of this stream
    """
    if isinstance(message, bytes):
        return Violation(MALFORMED_MESSAGE, f"a binary frame of {len(message)} bytes; Twilio accepts text frames only")
    try:
        data = json.loads(message)
    except (ValueError, RecursionError):
        return _invalid(f"not JSON: {message[:60]!r}")
    if not isinstance(data, dict):
        return _invalid(f"a JSON {type(data).__name__}, not an object")
    event = data.get("event")
    if event == "clear":
        return _check(data, {"event", "streamSid"}, stream_sid) or Clear()
    if event == "mark":
        return _check(data, {"event", "streamSid", "mark"}, stream_sid) or _read_mark(data["mark"])
    if event == "media":
        return _check(data, {"event", "streamSid", "media"}, stream_sid) or _read_media(data["media"])
    return _invalid(f"unknown event {str(event)[:60]!r}; Twilio accepts media, mark and clear")


def _invalid(detail: str) -> Violation:
    return Violation(INVALID_MESSAGE, detail)


def _check(data: dict[str, Any], fields: set[str], stream_sid: str) -> Violation | None:
    event = data["event"]
    for name in sorted(fields - data.keys()):
        return _invalid(f"{event}: field {name!r} is missing")
    for name in sorted(data.keys() - fields):
        return _invalid(f"{event}: unexpected field {name[:60]!r}")
    if data["streamSid"] != stream_sid:
        return _invalid(f"{event}: streamSid {str(data['streamSid'])[:60]!r} is not this stream's")
    return None


def _read_mark(mark: Any) -> Mark | Violation:
    if not isinstance(mark, dict) or mark.keys() != {"name"} or not isinstance(mark["name"], str):
        return _invalid("mark: must be an object with the string 'name' and nothing else")
    return Mark(mark["name"])


def _read_media(media: Any) -> Media | Violation:
    if not isinstance(media, dict) or media.keys() != {"payload"} or not isinstance(media["payload"], str):
        return _invalid("media: must be an object with the string 'payload' and nothing else")
    try:
        return Media(base64.b64decode(media["payload"], validate=True))
    except (binascii.Error, ValueError) as error:
        return _invalid(f"media: payload is not base64: {error}")


class Playback:
    """The audio queued for the caller, and the marks in it. One thread."""

    def __init__(self) -> None:
        self._ends_at = float("-inf")
        self._marks: deque[tuple[float, str]] = deque()

    def media(self, mulaw_bytes: int, *, now: float) -> None:
        """Append audio of so many bytes (8,000 per second) to the queue."""
        self._ends_at = max(self._ends_at, now) + mulaw_bytes / SAMPLE_RATE_HZ

    def mark(self, name: str, *, now: float) -> None:
        """Append a mark to the queue; if that is empty, it is due now."""
        self._marks.append((max(self._ends_at, now), name))

    def clear(self, *, now: float) -> None:
        """Empty the queue; all marks are due now."""
        self._ends_at = now
        self._marks = deque((now, name) for _, name in self._marks)

    def waiting_s(self, *, now: float) -> float:
        """How much audio is still to be played, in seconds."""
        return max(0.0, self._ends_at - now)

    def next_deadline(self) -> float | None:
        """When the next mark is due."""
        return self._marks[0][0] if self._marks else None

    def take_due(self, *, now: float) -> list[str]:
        """Names of the due marks, in order; each is returned once."""
        names = []
        while self._marks and self._marks[0][0] <= now:
            names.append(self._marks.popleft()[1])
        return names
