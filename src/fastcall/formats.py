"""The external formats of transcript events: JSON lines, and log lines to grep for."""

from __future__ import annotations

import json
import re
from typing import Any

from fastcall.events import SAMPLES_PER_MS, TranscriptEvent
from fastcall.twilio.stream_key import CALLER_ALONE, StreamKey

__all__ = ["call_fields", "escaped", "field_value", "log_line", "log_marks", "one_line", "record", "record_line"]

MAX_FIELD_CHARS = 64
_PLAIN_FIELD = re.compile(r"[^\s\"=]+")

_encode = json.JSONEncoder(ensure_ascii=False).encode  # ``json.dumps`` would create an encoder for each line

_LOG_LINES = {
    "session_started": "[STT] Streaming session started",
    "partial": "🟡 Partial: {text}",
    "utterance_end": "🟢 Final: {text}",
    "amended": "[STT] Amended: {text}",
    "machine_detected": "[CALL] Machine detected: {reason}",
    "beep": "[CALL] Beep",
    "session_closed": "[STT] Streaming session closed",
}


def one_line(text: str) -> str:
    """``text`` with control and line-breaking characters replaced, so that external text cannot forge log lines."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text)


def escaped(text: str, keep: str = "") -> str:
    """``text`` with control and line-breaking characters escaped, as in ``\\x1b``: safe for terminals and log readers.

    :param keep: characters to keep unescaped
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in text
    )


def field_value(text: str) -> str:
    """``text`` as the value of a field in a log line: quoted if it could be mistaken for several fields; cut to 64
    characters."""
    if len(text) <= MAX_FIELD_CHARS and text.isprintable() and _PLAIN_FIELD.fullmatch(text):
        return text
    cut = text if len(text) <= MAX_FIELD_CHARS else text[: MAX_FIELD_CHARS - 1] + "…"
    return _encode(one_line(cut))


def call_fields(key: StreamKey) -> str:
    """The call, as fields of a log line; with the stream's name and tracks if they are not the default."""
    fields = f"call={field_value(key.call_sid)}"
    if key.name:
        fields += f" stream={field_value(key.name)}"
    if key.tracks != CALLER_ALONE:
        fields += f" tracks={field_value(','.join(key.tracks))}"
    return fields


def log_marks(key: StreamKey) -> dict[str, str]:
    """A log record's ``extra``: the call, and its stream, because log lines are rate-limited per stream."""
    return {"call": one_line(key.call_sid), "stream": call_fields(key)}


def log_line(event: TranscriptEvent, *, key: StreamKey) -> str | None:
    """The log line of an event, followed by fields; None for events without one."""
    form = _LOG_LINES.get(event.event)
    if form is None:
        return None
    line = form.format(text=event.text or "", reason=(event.details or {}).get("reason", "")) + f" {call_fields(key)}"
    if event.utterance_id is not None:
        line += f" utt={event.utterance_id}"
    return one_line(line)


def record(event: TranscriptEvent, *, call_sid: str, stream_sid: str, at: float) -> dict[str, Any]:
    """The transcript stream's JSON object. These keys are always present, followed by the event's own details.
    ``start_ms`` and ``end_ms`` are call time, ``at`` Unix time."""
    return {
        "event": event.event,
        "call_sid": call_sid,
        "stream_sid": stream_sid,
        "utterance_id": event.utterance_id,
        "text": event.text,
        "start_ms": _ms(event.start_sample),
        "end_ms": _ms(event.end_sample),
        "source": event.source,
        "at": at,
        **(event.details or {}),
    }


def record_line(event: TranscriptEvent, *, call_sid: str, stream_sid: str, at: float) -> str:
    """``record`` as one line of JSON with its newline."""
    return _encode(record(event, call_sid=call_sid, stream_sid=stream_sid, at=at)) + "\n"


def _ms(sample: int | None) -> int | None:
    return None if sample is None else sample // SAMPLES_PER_MS
