"""How a transcript event looks outside: one JSON object a line, and the log lines that people grep for."""

from __future__ import annotations

import json
from typing import Any

from fastcall.events import SAMPLES_PER_MS, TranscriptEvent

__all__ = ["log_line", "one_line", "record", "record_line"]

_encode = json.JSONEncoder(ensure_ascii=False).encode  # ``json.dumps`` would make an encoder for each line

_LOG_LINES = {
    "session_started": "[STT] Streaming session started",
    "partial": "🟡 Partial: {text}",
    "utterance_end": "🟢 Final: {text}",
    "amended": "[STT] Amended: {text}",
    "session_closed": "[STT] Streaming session closed",
}


def one_line(text: str) -> str:
    """``text`` with control and line-breaking characters replaced: what was said or sent cannot forge a log line."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text)


def log_line(event: TranscriptEvent, *, call_sid: str) -> str | None:
    """The log line of an event, fields after it; None for events that have none."""
    form = _LOG_LINES.get(event.event)
    if form is None:
        return None
    line = form.format(text=event.text or "") + f" call={call_sid}"
    if event.utterance_id is not None:
        line += f" utt={event.utterance_id}"
    return one_line(line)


def record(event: TranscriptEvent, *, call_sid: str, stream_sid: str, at: float) -> dict[str, Any]:
    """The object of the transcript stream. These keys are always there, an event's own details follow them.
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
