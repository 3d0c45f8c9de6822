"""The messages of Twilio Media Streams: parses received ones into events. The core's ``OutboundFrames`` builds those
that are sent.

Nothing here raises on input: an invalid message becomes :class:`~fastcall.events.Rejected` with one of the reasons
below, and the caller counts it. A ``start`` is accepted if it names the call and the stream, carries the inbound track,
and its audio can be decoded; other invalid fields are left out and reported. ``scan_media`` and ``scan_mark`` of the
core read the common messages faster, and are tested against this module.

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any, Literal

from fastcall import _codec
from fastcall.events import (
    AudioFormat,
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
    "parse_message",
]

TwilioEvent = Connected | CallStarted | MediaFrame | DtmfPressed | MarkPlayed | CallStopped | Rejected

# Twilio documents no limit; its messages have about 400 bytes. Larger messages close the socket with 1009.
MAX_MESSAGE_BYTES = 64 * 1024

# Limits on a `start`: Twilio allows parameters of under 500 characters, name and value together.
MAX_ID_CHARS = 128
MAX_PARAMETERS = 100
MAX_PARAMETER_CHARS = 500
MAX_MARK_CHARS = 1024
MAX_TRACKS = 4
MAX_TRACK_CHARS = 32
MAX_DROPPED = 8

# Providers' names of the encodings, without "audio/" and "x-".
_ENCODINGS: dict[str, Literal["mulaw", "alaw", "l16"]] = {
    "mulaw": "mulaw",
    "ulaw": "mulaw",
    "pcmu": "mulaw",
    "alaw": "alaw",
    "pcma": "alaw",
    "l16": "l16",
    "slin": "l16",
    "pcm": "l16",
}
SUPPORTED_AUDIO = "PCMU (audio/x-mulaw) and PCMA at 8000 Hz, L16 at 8000 and 16000 Hz, 1 channel"

REASONS = (
    "binary",
    "not_utf8",
    "not_json",
    "not_an_object",
    "unknown_event",
    "bad_field",
    "bad_payload",
    "bad_start",
    "dropped_field",
    "other_track",
    "before_start",
    "second_start",
    "wrong_stream",
    "flood",
)


def parse_message(message: bytes) -> TwilioEvent:
    """Read one text message.

    :param message: the complete message's UTF-8 bytes
    :return: the event, or ``Rejected`` with a reason of ``REASONS``; never raises on content
    """
    fast = _codec.scan_media(message)
    if fast is not None:
        return MediaFrame(*fast)
    mark = _codec.scan_mark(message)
    if mark is not None:
        return MarkPlayed(mark)
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


def _text(data: dict[str, Any], key: str, limit: int = MAX_ID_CHARS) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise _FieldError(f"{key!r} is not a string of 1 to {limit} characters")
    return value


def _number(data: dict[str, Any], key: str) -> int:
    # Twilio sends numbers as strings; several compatible providers send them as numbers.
    value = data.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
        return value
    raise _FieldError(f"{key!r} is not a number")


def _optional_number(data: dict[str, Any], key: str) -> int:
    try:
        return _number(data, key)
    except _FieldError:
        return -1


def _optional_text(data: dict[str, Any], key: str, dropped: list[str]) -> str:
    value = data.get(key)
    if value is None or (isinstance(value, str) and len(value) <= MAX_ID_CHARS):
        return value or ""
    dropped.append(f"{key!r} is not a string of at most {MAX_ID_CHARS} characters")
    return ""


def _connected(data: dict[str, Any]) -> TwilioEvent:
    dropped: list[str] = []
    return Connected(_optional_text(data, "protocol", dropped), _optional_text(data, "version", dropped))


def _start(data: dict[str, Any]) -> TwilioEvent:
    dropped: list[str] = []
    try:
        start = _object(data, "start")
        stream_sid = _text(start if start.get("streamSid") is not None else data, "streamSid")
        call_sid = _text(start, "callSid")
        tracks = _tracks(start.get("tracks"), dropped)
        audio_format = _audio_format(start.get("mediaFormat", start.get("media_format")))
    except _FieldError as error:
        return Rejected("bad_start", str(error))
    account_sid = _optional_text(start, "accountSid", dropped)
    parameters = _parameters(start.get("customParameters"), dropped)
    if len(dropped) > MAX_DROPPED:
        dropped[MAX_DROPPED:] = [f"{len(dropped) - MAX_DROPPED} more"]
    return CallStarted(stream_sid, call_sid, account_sid, tracks, parameters, audio_format, tuple(dropped))


def _tracks(value: Any, dropped: list[str]) -> tuple[str, ...]:
    if value is None:
        return ("inbound",)
    if not isinstance(value, list) or len(value) > MAX_TRACKS or not all(map(_is_track, value)):
        dropped.append(f"'tracks' is not a list of up to {MAX_TRACKS} strings of up to {MAX_TRACK_CHARS} characters")
        return ("inbound",)
    tracks = tuple(track.removesuffix("_tracks").removesuffix("_track") for track in value)
    if tracks and not {"inbound", "both"} & set(tracks):
        found = ", ".join(tracks)[:60]
        raise _FieldError(f"the stream carries {found} only; the caller's audio is the inbound track")
    return tracks or ("inbound",)


def _is_track(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TRACK_CHARS


def _parameters(value: Any, dropped: list[str]) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        dropped.append("'customParameters' is not an object")
        return {}
    parameters: dict[str, str] = {}
    for name, text in value.items():
        if not isinstance(text, str):
            dropped.append(f"the parameter {name[:60]!r} is not a string")
        elif len(name) + len(text) > MAX_PARAMETER_CHARS:
            dropped.append(f"the parameter {name[:60]!r} has over {MAX_PARAMETER_CHARS} characters, its name included")
        elif len(parameters) == MAX_PARAMETERS:
            dropped.append(f"the parameter {name[:60]!r} is one of over {MAX_PARAMETERS}")
        else:
            parameters[name] = text
    return parameters


def _audio_format(value: Any) -> AudioFormat:
    if value is None:
        return AudioFormat()
    if not isinstance(value, dict):
        raise _FieldError(f"'mediaFormat' is not an object; supported are {SUPPORTED_AUDIO}")
    name, rate, channels = (
        str(next((value[key] for key in keys if value.get(key) is not None), default))[:40]
        for keys, default in ((("encoding",), "mulaw"), (("sampleRate", "sample_rate"), 8000), (("channels",), 1))
    )
    encoding = _ENCODINGS.get(name.lower().removeprefix("audio/").removeprefix("x-"))
    if encoding is None or channels != "1" or rate not in (("8000", "16000") if encoding == "l16" else ("8000",)):
        raise _FieldError(f"'mediaFormat' is {name} at {rate} Hz, channels {channels}; supported are {SUPPORTED_AUDIO}")
    return AudioFormat(encoding, int(rate))


def _media(data: dict[str, Any]) -> TwilioEvent:
    media = _object(data, "media")
    if media.get("track", "inbound") != "inbound":
        return Rejected("other_track", repr(media.get("track"))[:60])
    text = media.get("payload")
    if not isinstance(text, str):
        raise _FieldError("'payload' is not a string")
    try:
        payload = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        return Rejected("bad_payload", str(error))
    if not payload:
        return Rejected("bad_payload", "it has no audio")
    stream_sid = _text(data, "streamSid") if data.get("streamSid") is not None else ""
    chunk, sequence = _optional_number(media, "chunk"), _optional_number(data, "sequenceNumber")
    return MediaFrame(stream_sid, _optional_number(media, "timestamp"), payload, chunk, sequence)


def _dtmf(data: dict[str, Any]) -> TwilioEvent:
    return DtmfPressed(_text(_object(data, "dtmf"), "digit", 8))


def _mark(data: dict[str, Any]) -> TwilioEvent:
    mark = _object(data, "mark")
    return MarkPlayed(_text(mark, "name", MAX_MARK_CHARS) if mark.get("name") else "")


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
