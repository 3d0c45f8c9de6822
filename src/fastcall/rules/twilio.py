"""The wire grammar of Twilio Media Streams: messages to events, and the three messages that go back.

Strategy: total functions over one message. Nothing here raises on what a peer sent; what cannot be taken
becomes :class:`~fastcall.events.Rejected` with one of the reasons below, and the caller counts it. The
core's ``scan_media`` reads the common message faster; this module is what it is judged by.

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

from fastcall import _codec
from fastcall.events import (
    CallStarted,
    CallStopped,
    Connected,
    DtmfPressed,
    MarkPlayed,
    MediaFrame,
    Rejected,
)

__all__ = [
    "MAX_MESSAGE_BYTES",
    "REASONS",
    "TwilioEvent",
    "clear_message",
    "mark_message",
    "media_message",
    "parse_message",
]

TwilioEvent = Connected | CallStarted | MediaFrame | DtmfPressed | MarkPlayed | CallStopped | Rejected

# Twilio states no limit; its own messages have about 400 bytes. The socket closes with 1009 above this.
MAX_MESSAGE_BYTES = 64 * 1024

# Bounds on what is kept of a `start`: Twilio allows parameters of under 500 characters, name and value.
MAX_ID_CHARS = 128
MAX_PARAMETERS = 100
MAX_PARAMETER_CHARS = 500
MAX_MARK_CHARS = 1024

REASONS = (
    "binary",
    "not_utf8",
    "not_json",
    "not_an_object",
    "unknown_event",
    "bad_field",
    "bad_payload",
    "other_track",
    "before_start",
    "second_start",
    "wrong_stream",
    "flood",
)


def parse_message(message: bytes) -> TwilioEvent:
    """Read one text message.

    :param message: the message's UTF-8 bytes, whole
    :return: the event, or ``Rejected`` with a reason of ``REASONS``; never raises on content
    """
    fast = _codec.scan_media(message)
    if fast is not None:
        return MediaFrame(*fast)
    try:
        data = json.loads(message.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Rejected("not_utf8", str(error))
    except (ValueError, RecursionError) as error:
        return Rejected("not_json", str(error)[:200])
    if not isinstance(data, dict):
        return Rejected("not_an_object", f"a JSON {type(data).__name__}")
    event = data.get("event")
    reader = _READERS.get(event) if isinstance(event, str) else None
    if reader is None:
        return Rejected("unknown_event", repr(event)[:60])
    try:
        return reader(data)
    except _FieldError as error:
        return Rejected("bad_field", str(error))


class _FieldError(Exception):
    """A field is missing or not what Twilio documents. Never leaves this module."""


def _object(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise _FieldError(f"{key!r} is not an object")
    return value


def _text(data: dict[str, Any], key: str, limit: int = MAX_ID_CHARS, *, required: bool = True) -> str:
    value = data.get(key, None if required else "")
    if not isinstance(value, str) or len(value) > limit or (required and not value):
        raise _FieldError(f"{key!r} is not a text of 1 to {limit} characters")
    return value


def _number(data: dict[str, Any], key: str) -> int:
    # Twilio sends numbers as texts; several compatible providers send them as numbers.
    value = data.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return value
    raise _FieldError(f"{key!r} is not a number")


def _connected(data: dict[str, Any]) -> TwilioEvent:
    return Connected(_text(data, "protocol", required=False), _text(data, "version", required=False))


def _start(data: dict[str, Any]) -> TwilioEvent:
    start = _object(data, "start")
    tracks = start.get("tracks", ["inbound"])
    if not isinstance(tracks, list) or len(tracks) > 4 or not all(isinstance(t, str) for t in tracks):
        raise _FieldError("'tracks' is not a list of texts")
    _check_media_format(start.get("mediaFormat"))
    parameters = start.get("customParameters") or {}
    if not isinstance(parameters, dict) or len(parameters) > MAX_PARAMETERS:
        raise _FieldError(f"'customParameters' is not an object of at most {MAX_PARAMETERS} members")
    for name, value in parameters.items():
        if not isinstance(value, str) or len(name) + len(value) > MAX_PARAMETER_CHARS:
            raise _FieldError(f"a custom parameter is not a text of under {MAX_PARAMETER_CHARS} characters")
    return CallStarted(
        stream_sid=_text(start if "streamSid" in start else data, "streamSid"),
        call_sid=_text(start, "callSid"),
        account_sid=_text(start, "accountSid", required=False),
        tracks=tuple(tracks),
        custom_parameters=parameters,
    )


def _check_media_format(media_format: Any) -> None:
    if media_format is None:
        return
    if not isinstance(media_format, dict):
        raise _FieldError("'mediaFormat' is not an object")
    found = (media_format.get("encoding"), media_format.get("sampleRate"), media_format.get("channels"))
    if found not in (("audio/x-mulaw", 8000, 1), ("audio/x-mulaw", "8000", 1)):
        raise _FieldError(f"'mediaFormat' is {repr(found)[:80]}; only audio/x-mulaw, 8000 Hz, 1 channel is served")


def _media(data: dict[str, Any]) -> TwilioEvent:
    media = _object(data, "media")
    if media.get("track", "inbound") != "inbound":
        return Rejected("other_track", repr(media.get("track"))[:60])
    payload = media.get("payload")
    if not isinstance(payload, str):
        raise _FieldError("'payload' is not a text")
    try:
        mulaw = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        return Rejected("bad_payload", str(error))
    if not mulaw:
        return Rejected("bad_payload", "no audio in it")
    return MediaFrame(_text(data, "streamSid"), _number(media, "timestamp"), mulaw)


def _dtmf(data: dict[str, Any]) -> TwilioEvent:
    return DtmfPressed(_text(_object(data, "dtmf"), "digit", 8))


def _mark(data: dict[str, Any]) -> TwilioEvent:
    return MarkPlayed(_text(_object(data, "mark"), "name", MAX_MARK_CHARS, required=False))


def _stop(data: dict[str, Any]) -> TwilioEvent:
    return CallStopped()


_READERS: dict[str, Callable[[dict[str, Any]], TwilioEvent]] = {
    "connected": _connected,
    "start": _start,
    "media": _media,
    "dtmf": _dtmf,
    "mark": _mark,
    "stop": _stop,
}


# --- server to Twilio; field names are exact, extra fields give warning 31951 ---------------------


def media_message(stream_sid: str, mulaw: bytes) -> str:
    """Audio to play. ``mulaw``: G.711 mu-law, 8 kHz mono, without any file header; any length."""
    payload = base64.b64encode(mulaw).decode("ascii")
    return json.dumps({"event": "media", "streamSid": stream_sid, "media": {"payload": payload}})


def mark_message(stream_sid: str, name: str) -> str:
    """Ask for an echo of ``name`` when all audio queued so far was played."""
    return json.dumps({"event": "mark", "streamSid": stream_sid, "mark": {"name": name}})


def clear_message(stream_sid: str) -> str:
    """Drop all audio that is queued and not yet played; outstanding marks come back."""
    return json.dumps({"event": "clear", "streamSid": stream_sid})
