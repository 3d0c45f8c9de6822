"""Twilio's side of a simulated call: which messages it sends, and when.

Expensive work is done once: the base64 of each 20 ms of audio is prebuilt and shared by all calls with the same audio;
a message is then one string format. Messages have the members, the order of members and the types (numbers as strings)
of Twilio's real ones.

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages, and public captures of real calls.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    "FRAME_BYTES",
    "FRAME_S",
    "KEYS",
    "SILENCE_BYTE",
    "CallIds",
    "CallerMessages",
    "Lateness",
    "PhoneAudio",
    "check_key",
    "sign_url",
    "timestamp_ms",
]

FRAME_MS = 20
KEYS = "0123456789*#ABCD"
FRAME_S = FRAME_MS / 1000
FRAME_BYTES = 8 * FRAME_MS
SILENCE_BYTE = 0xFF
"""Mu-law zero: the silence of a line."""

# Real timestamps deviate from the multiple of 20 ms by up to 2 ms, slowly. Each value holds for 32 frames.
_DRIFT_MS = (0, 0, -1, -1, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 1, 1)
_DRIFT_FRAMES_LOG2 = 5


@dataclass(frozen=True, slots=True)
class CallIds:
    """A call's ids. Twilio's are two letters and 32 hexadecimal digits."""

    call_sid: str
    stream_sid: str
    account_sid: str = "AC" + "0" * 32

    @classmethod
    def derive(cls, seed: str, index: int) -> CallIds:
        """The ids of call ``index`` of a run; another seed gives others."""
        call, stream = (
            hashlib.blake2b(f"{seed} {kind} {index}".encode(), digest_size=16).hexdigest() for kind in ("CA", "MZ")
        )
        return cls(f"CA{call}", f"MZ{stream}")


class PhoneAudio:
    """A caller's audio, as message payloads of 20 ms. Immutable: share it between calls and threads.

    :param mulaw: G.711 mu-law, 8 kHz mono; the last frame is padded with silence
    :param passes: how often it is repeated; None: forever
    :param tail_s: silence that follows, in seconds, so that the server can finish
    :raises ValueError: a number is negative, or empty audio is repeated forever
    """

    def __init__(self, mulaw: bytes, *, passes: int | None = 1, tail_s: float = 2.0) -> None:
        if tail_s < 0 or (passes is not None and passes < 0):
            raise ValueError("passes and tail_s must not be negative")
        if passes is None and not mulaw:
            raise ValueError("there is no audio to repeat")
        silence = bytes([SILENCE_BYTE]) * FRAME_BYTES
        self._payloads = [
            _base64((mulaw[at : at + FRAME_BYTES] + silence)[:FRAME_BYTES]) for at in range(0, len(mulaw), FRAME_BYTES)
        ]
        self._silence = _base64(silence)
        self.spoken = None if passes is None else len(self._payloads) * passes
        """Frames of 20 ms until the tail; None: endless."""
        self.frames = None if self.spoken is None else self.spoken + round(tail_s / FRAME_S)
        """Frames of 20 ms in total, the tail included; None: endless."""
        self.joined = "".join(self._payloads).encode("ascii")
        """The base64 of one pass, 216 characters a frame."""

    def payload(self, frame: int) -> str:
        """The base64 of frame ``frame``, counted from 0: 216 characters."""
        if self.spoken is not None and frame >= self.spoken:
            return self._silence
        return self._payloads[frame % len(self._payloads)]


def timestamp_ms(frame: int, first_ms: int) -> int:
    """``media.timestamp`` of frame ``frame`` (from 0): 20 ms apart, with the drift of real calls (up to 2 ms).

    :param first_ms: that of frame 0; real calls have 100 to 200
    """
    return first_ms + FRAME_MS * frame + _DRIFT_MS[(frame >> _DRIFT_FRAMES_LOG2) & 15]


class CallerMessages:
    """Builds the messages of one call and counts them: ``sequenceNumber`` is one counter for all kinds.

    One thread. Costs about a microsecond a message.
    """

    def __init__(self, ids: CallIds, first_timestamp_ms: int = 155) -> None:
        self._ids = ids
        self._first_ms = first_timestamp_ms
        self._sequence = 0
        self._chunk = 0

    @property
    def count(self) -> int:
        """``sequenceNumber`` of the newest message; set it when other code (the sending loop) builds some."""
        return self._sequence

    @count.setter
    def count(self, value: int) -> None:
        self._sequence = value

    def connected(self) -> str:
        """The first message."""
        return '{"event":"connected","protocol":"Call","version":"1.0.0"}'

    def start(self, parameters: Mapping[str, str], tracks: Sequence[str] = ("inbound",)) -> str:
        """The second message.

        :param parameters: ``customParameters``, from TwiML's ``<Parameter>``
        :param tracks: ``inbound``, ``outbound`` or both
        """
        ids = self._ids
        return _dump(
            {
                "event": "start",
                "sequenceNumber": self._next(),
                "start": {
                    "accountSid": ids.account_sid,
                    "streamSid": ids.stream_sid,
                    "callSid": ids.call_sid,
                    "tracks": list(tracks),
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                    "customParameters": dict(parameters),
                },
                "streamSid": ids.stream_sid,
            }
        )

    def media(self, frame: int, payload: str, track: str = "inbound") -> str:
        """20 ms of audio. ``frame`` (from 0) determines the timestamp; chunks count the messages of both tracks
        together, as in Twilio's example."""
        self._sequence += 1
        self._chunk += 1
        return (
            f'{{"event":"media","sequenceNumber":"{self._sequence}","media":{{"track":"{track}",'
            f'"chunk":"{self._chunk}","timestamp":"{timestamp_ms(frame, self._first_ms)}",'
            f'"payload":"{payload}"}},"streamSid":"{self._ids.stream_sid}"}}'
        )

    def dtmf(self, digit: str) -> str:
        """A key of the telephone: one of ``KEYS``."""
        dtmf = {"track": "inbound_track", "digit": digit}
        return _dump({"event": "dtmf", "streamSid": self._ids.stream_sid, "sequenceNumber": self._next(), "dtmf": dtmf})

    def mark(self, name: str) -> str:
        """The echo of a mark: the audio sent before it was played, or cleared."""
        return _dump(
            {
                "event": "mark",
                "sequenceNumber": self._next(),
                "streamSid": self._ids.stream_sid,
                "mark": {"name": name},
            }
        )

    def stop(self) -> str:
        """The last message."""
        stop = {"accountSid": self._ids.account_sid, "callSid": self._ids.call_sid}
        return _dump({"event": "stop", "sequenceNumber": self._next(), "stop": stop, "streamSid": self._ids.stream_sid})

    def _next(self) -> str:
        self._sequence += 1
        return str(self._sequence)


@dataclass(slots=True)
class Lateness:
    """How late messages were sent, as a histogram of 0.1 ms steps up to 1 s. One thread; 80 kB."""

    counts: array[int] = field(default_factory=lambda: array("Q", bytes(8 * 10_001)))

    def add(self, late_s: float) -> None:
        """Count one message; negative is 0, above 1 s counts as 1 s."""
        self.counts[min(10_000, max(0, int(late_s * 10_000)))] += 1

    @property
    def total(self) -> int:
        """Messages counted."""
        return sum(self.counts)

    def percentile_s(self, percent: float) -> float | None:
        """The upper edge of the step in which that percentile lies, in seconds; None: nothing was counted."""
        wanted = max(1.0, self.total * percent / 100)
        seen = 0
        for step, count in enumerate(self.counts):
            seen += count
            if seen >= wanted:
                return (step + 1) / 10_000
        return None


def check_key(digit: str) -> str:
    """``digit``, if it is one key of a telephone.

    :raises ValueError: it is not
    """
    if len(digit) != 1 or digit not in KEYS:
        raise ValueError(f"{digit!r} is not a telephone key: must be one of {KEYS}")
    return digit


def sign_url(auth_token: str, url: str) -> str:
    """``X-Twilio-Signature`` of a WebSocket upgrade: base64 of HMAC-SHA1 over the URL as in TwiML, no parameters.

    Source: https://www.twilio.com/docs/usage/security
    """
    return base64.b64encode(hmac.digest(auth_token.encode(), url.encode(), "sha1")).decode("ascii")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _dump(message: Mapping[str, object]) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
