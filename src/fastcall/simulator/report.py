"""The result of a simulated call, and Twilio's error codes for failures.

Source: https://www.twilio.com/docs/api/errors/31901 and its neighbours
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from fastcall.simulator.playback import Clear, Mark, Media, Violation
from fastcall.simulator.twilio_client import CallIds

__all__ = ["BUFFER_OVERFLOW", "NORMAL_CLOSURE", "CallReport", "Received", "explain_close", "explain_refusal"]

TIMED_OUT, REFUSED, BROKEN, UNREACHABLE = 31901, 31902, 31903, 31904
TLS_ERROR, HANDSHAKE_ERROR, CLOSED_BY_SERVER = 31910, 31920, 31921
BUFFER_OVERFLOW = 31930
# RFC 6455 section 7.4.1: the purpose of the connection was fulfilled. Used when an agent hangs up.
NORMAL_CLOSURE = 1000

MAX_KEPT = 10_000
MAX_KEPT_VIOLATIONS = 20


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the server."""

    at: float
    """When it arrived: ``time.monotonic()``, seconds."""
    message: Media | Mark | Clear


@dataclass(slots=True)
class CallReport:
    """The result of a call. Filled while it runs; owned by the loop's thread until ``run`` has returned."""

    ids: CallIds
    first_frame_at: float | None = None
    """When the first audio was due: ``time.monotonic()``, seconds. The frame that begins at call time t (s) is due at
    this plus t."""
    messages_sent: int = 0
    frames_sent: int = 0
    frames_discarded: int = 0
    """Frames that were 5 s late because the server did not read."""
    messages_received: int = 0
    first_message_at: float | None = None
    """When the server's first valid message arrived: ``time.monotonic()``, seconds."""
    audio_received_bytes: int = 0
    """Audio for the caller: 8,000 bytes per second."""
    marks_received: int = 0
    marks_echoed: int = 0
    clears_received: int = 0
    second_socket: str | None = None
    """The result of a second socket for the same call; None: there was none."""
    received: list[Received] = field(default_factory=list)
    """The first 10,000 valid messages, if the caller keeps them."""
    violations: list[Violation] = field(default_factory=list)
    """The first 20 messages that Twilio would have refused."""
    violation_count: int = 0
    close_code: int | None = None
    hung_up_s: float | None = None
    """Seconds of audio after which the server ended the call (close code 1000); None: the caller did."""
    recognized: bool | None = None
    """Whether the server recognized words; None: unknown."""
    error: str | None = None
    """Why the call failed; None: it was ended properly, by the caller's ``stop`` or by the server."""
    twilio_code: int | None = None
    """The error code in Twilio's debugger."""

    @property
    def ok(self) -> bool:
        """Whether it ended properly, nothing was discarded or refused, and spoken words were recognized."""
        return self.error is None and not self.frames_discarded and not self.violation_count

    def keep(self, received: Received) -> None:
        """Keep a message of the server, up to the limit."""
        if len(self.received) < MAX_KEPT:
            self.received.append(received)

    def refuse(self, violation: Violation) -> None:
        """Count a message that Twilio refuses."""
        self.violation_count += 1
        self.twilio_code = self.twilio_code or violation.code
        if len(self.violations) < MAX_KEPT_VIOLATIONS:
            self.violations.append(violation)


def explain_close(error: ConnectionClosed, said_s: float) -> tuple[int, str]:
    """Twilio's error code for a connection that ended before the call did, and a sentence."""
    code = CLOSED_BY_SERVER if error.rcvd else BROKEN
    return code, f"the server closed the connection after {said_s:.1f} s of audio: {error}"


def explain_refusal(error: Exception, url: str, timeout_s: float) -> tuple[int, str]:
    """Twilio's error code for a failed connection, and advice."""
    scheme, where = urlsplit(url)[:2]
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return HANDSHAKE_ERROR, (
            f"{where} answered HTTP {status}, not 101: check that {urlsplit(url).path or '/'!r} is "
            "the path of its Media Streams endpoint, and that it accepts the signature"
        )
    if isinstance(error, ssl.SSLError):
        return TLS_ERROR, f"TLS with {where} failed: {error}; for a server without TLS use ws://"
    if isinstance(error, (InvalidHandshake, InvalidURI, EOFError)):
        return HANDSHAKE_ERROR, f"{where} does not respond as a WebSocket server: {error}"
    if isinstance(error, TimeoutError):
        return TIMED_OUT, f"{where} did not respond within {timeout_s:.0f} s"
    if isinstance(error, socket.gaierror):
        return UNREACHABLE, f"the host of {where} is unknown: {error.strerror}"
    if isinstance(error, ConnectionRefusedError):
        return REFUSED, f"nothing listens at {where}: start the server first, for example with `fastcall serve`"
    if isinstance(error, ConnectionError) and scheme == "wss":
        return TLS_ERROR, f"{where} aborted the TLS handshake; for a server without TLS use ws://"
    if isinstance(error, ConnectionError):
        return BROKEN, f"{where} aborted the connection during the handshake"
    return UNREACHABLE, f"{where} cannot be reached: {error}"
