"""Identifies a stream of a call: the key used by admission, reconnection, workers and log lines.

A call may have several streams: ``<Connect><Stream>`` beside a fork by ``<Start><Stream>``, or one with two tracks
beside one with the caller's alone. Each is treated as a separate call here. A stream that replaces another, because the
TwiML changed or the network failed, has another ``streamSid`` but the same key.

Source: https://www.twilio.com/docs/voice/twiml/stream
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastcall.events import CallStarted

__all__ = ["CALLER_ALONE", "STREAM", "StreamKey"]

STREAM = "fastcall_stream"
"""The ``<Parameter>`` that distinguishes the streams of a call."""

CALLER_ALONE = ("inbound",)
"""The tracks of most streams."""


@dataclass(slots=True, frozen=True)
class StreamKey:
    """Streams with the same key are the same, or one has replaced the other. Its values come from outside, and are
    limited where ``start`` is parsed."""

    call_sid: str
    name: str = ""
    tracks: tuple[str, ...] = CALLER_ALONE
    """Sorted, without duplicates."""

    @classmethod
    def of(cls, call: CallStarted) -> StreamKey:
        """The key of the stream that began with ``call``."""
        tracks = {"inbound", "outbound", *call.tracks} - {"both"} if "both" in call.tracks else {*call.tracks}
        return cls(call.call_sid, call.custom_parameters.get(STREAM, ""), tuple(sorted(tracks)))

    @classmethod
    def of_words(cls, words: Mapping[str, Any]) -> StreamKey:
        """The key that another process sent as ``words``."""
        tracks: Sequence[str] = words["tracks"]
        return cls(words["call_sid"], words["stream"], tuple(tracks))

    def words(self) -> dict[str, Any]:
        """The key as members of a JSON object."""
        return {"call_sid": self.call_sid, "stream": self.name, "tracks": self.tracks}
