"""A Twilio that places calls: connects to a Media Streams server as Twilio does, speaks, listens, reports.

Audio is paced by the call's own schedule: frame n is due 20 ms * n after the first. A sender that was late sends
what is due as a burst and is back on its schedule; it never drifts. Sending never waits for the server: while it
does not read, frames wait, and those that are 5 s late are discarded, as Twilio does (its warning 31930).

Source: https://www.twilio.com/docs/voice/media-streams; the headers are those of public captures.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from fastcall.adapters.simulator.report import (
    BUFFER_OVERFLOW,
    CallReport,
    Received,
    explain_close,
    explain_refusal,
)
from fastcall.errors import UsageError
from fastcall.rules.caller import FRAME_S, CallerMessages, CallIds, Lateness, PhoneAudio, check_key, sign_url
from fastcall.rules.playback import Mark, Media, Playback, Violation, read_message

__all__ = ["TwilioCaller", "check_url", "place_calls"]

USER_AGENT = "Twilio.TmeWs/1.0"

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
DISCARD_AFTER_S = 5.0
# Above the first, frames wait; the second is never reached, so that `send` never waits.
WRITE_BUFFER_BYTES = 64 * 1024
WRITE_LIMIT_BYTES = 64 * 1024 * 1024


def check_url(url: str) -> str:
    """``url``, if Twilio could call it (except that plain ``ws`` is taken too).

    :raises UsageError: it could not
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is not a URL: {error}") from None
    if parts.scheme not in ("ws", "wss") or not host:
        raise UsageError(f"{url!r} is not a WebSocket URL: say ws://HOST:PORT/PATH, or wss://...")
    if parts.query or parts.fragment:
        raise UsageError(f"{url!r}: Twilio takes no query string; hand values over as parameters of the stream")
    return url


class _Connect(connect):
    """Twilio follows no redirect: whatever is not 101 is a handshake error."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class TwilioCaller:
    """One call. Make it, ``await run()`` once. Its methods are for the event loop's thread.

    :param url: the server's ``ws://`` or ``wss://`` URL
    :param audio: what the caller says; may be shared by many calls
    :param ids: of the call; made up if not given
    :param parameters: ``customParameters`` of ``start``
    :param first_timestamp_ms: ``media.timestamp`` of the first frame; real calls have 100 to 200
    :param auth_token: the account's, with which the upgrade request is signed
    :param signed_url: the URL that is signed, where it is not ``url`` (a proxy is between)
    :param keep_received: whether the report keeps the server's messages
    :param lateness: counts how late each frame was sent; may be shared by calls of one thread
    :raises UsageError: the URL cannot be called
    """

    def __init__(
        self,
        url: str,
        audio: PhoneAudio,
        *,
        ids: CallIds | None = None,
        parameters: Mapping[str, str] | None = None,
        first_timestamp_ms: int = 155,
        auth_token: str = "",
        signed_url: str | None = None,
        keep_received: bool = True,
        lateness: Lateness | None = None,
    ) -> None:
        self.report = CallReport(ids or CallIds.derive(secrets.token_hex(8), 0))
        self._url = check_url(url)
        self._audio = audio
        self._parameters = dict(parameters or {})
        self._signature = sign_url(auth_token, signed_url or url)
        self._keep_received = keep_received
        self._lateness = lateness
        self._messages = CallerMessages(self.report.ids, first_timestamp_ms)
        self._playback = Playback()
        self._keys: list[str] = []
        self._frame = 0
        self._ending: Literal["stop", "drop"] | None = None
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def live(self) -> bool:
        """Whether the call was answered and has not ended."""
        return self.report.first_frame_at is not None and self.report.close_code is None

    @property
    def share_said(self) -> float:
        """How much of the audio was sent, 0 to 1; 0 where it has no end."""
        return self._frame / self._audio.frames if self._audio.frames else 0.0

    def press(self, digit: str) -> None:
        """Press a key of the telephone: ``0``-``9``, ``*``, ``#``, ``A``-``D``.

        :raises ValueError: it is none of these
        """
        self._keys.append(check_key(digit))
        self._wake.set()

    def hang_up(self) -> None:
        """End the call now: ``stop``, then the socket closes."""
        self._ending = self._ending or "stop"
        self._wake.set()

    def drop(self) -> None:
        """Lose the connection now, as a network does: no ``stop``, no closing handshake."""
        self._ending = "drop"
        self._wake.set()

    async def run(self, at: float = 0.0) -> CallReport:
        """Place the call and see it through. Failures are in the report; nothing is raised for them.

        :param at: when to place it, by ``time.monotonic()``; the past means now
        """
        report = self.report
        while self._ending is None and at > time.monotonic():
            await self._sleep_until(at)
        if self._ending is not None:
            report.error = "hung up before the call was placed"
            return report
        try:
            socket_ = await self._open()
        except (OSError, InvalidHandshake, InvalidURI, EOFError, TimeoutError) as error:
            report.twilio_code, report.error = explain_refusal(error, self._url, OPEN_TIMEOUT_S)
            return report
        listener = asyncio.create_task(self._listen(socket_))
        try:
            await self._speak(socket_)
        except ConnectionClosed as error:
            report.twilio_code, report.error = explain_close(error, self._frame * FRAME_S)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await socket_.close()
            await listener
            report.close_code = socket_.close_code
        return report

    async def _open(self) -> ClientConnection:
        return await _Connect(
            self._url,
            compression=None,
            proxy=None,
            ping_interval=None,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            write_limit=WRITE_LIMIT_BYTES,
            user_agent_header=USER_AGENT,
            additional_headers={"X-Twilio-Signature": self._signature, "Accept-Encoding": "gzip"},
        )

    async def _speak(self, socket_: ClientConnection) -> None:
        send, messages, clock = self._send_to(socket_), self._messages, time.monotonic
        await send(messages.connected())
        await send(messages.start(self._parameters))
        first_at = self.report.first_frame_at = clock()
        while self._ending is None:
            for name in self._playback.take_due(now=clock()):
                await send(messages.mark(name))
            while self._keys:
                await send(messages.dtmf(self._keys.pop(0)))
            next_at = await self._send_due_frames(socket_, send, first_at)
            if self._frame == self._audio.frames:
                break
            await self._sleep_until(next_at)
        if self._ending == "drop":
            socket_.transport.abort()
            self.report.error = "dropped by the caller"
        else:
            await send(messages.stop())

    def _send_to(self, socket_: ClientConnection) -> Callable[[str], Awaitable[None]]:
        async def send(message: str) -> None:
            await socket_.send(message)
            self.report.messages_sent += 1

        return send

    async def _send_due_frames(
        self, socket_: ClientConnection, send: Callable[[str], Awaitable[None]], first_at: float
    ) -> float:
        """Send what is due.

        :return: when to come back
        """
        clock, audio, report = time.monotonic, self._audio, self.report
        while self._ending is None and self._frame != audio.frames:
            now, due_at = clock(), first_at + self._frame * FRAME_S
            if now < due_at:
                return due_at
            if socket_.transport.get_write_buffer_size() > WRITE_BUFFER_BYTES:
                if now < due_at + DISCARD_AFTER_S:
                    return now + FRAME_S
                self._frame += 1
                report.frames_discarded += 1
                report.twilio_code = report.twilio_code or BUFFER_OVERFLOW
                continue
            if self._lateness is not None:
                self._lateness.add(now - due_at)
            await send(self._messages.media(self._frame, audio.payload(self._frame)))
            self._frame += 1
            report.frames_sent += 1
        return clock()

    async def _sleep_until(self, at: float) -> None:
        """Until then, until a mark is due, or until ``_wake`` is set."""
        mark_at = self._playback.next_deadline()
        delay_s = (at if mark_at is None else min(at, mark_at)) - time.monotonic()
        # Rounded up: uvloop's timers have whole milliseconds, and one that is early would be set again.
        self._timer = asyncio.get_running_loop().call_later(max(0.0, delay_s) + 0.0005, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        self._timer.cancel()

    async def _listen(self, socket_: ClientConnection) -> None:
        try:
            while True:
                message = await socket_.recv()
                self._take(message, time.monotonic())
        except ConnectionClosed:
            self._wake.set()

    def _take(self, raw: str | bytes, now: float) -> None:
        report, playback = self.report, self._playback
        report.messages_received += 1
        message = read_message(raw, report.ids.stream_sid)
        if isinstance(message, Violation):
            report.refuse(message)
            return
        if self._keep_received:
            report.keep(Received(now, message))
        if isinstance(message, Media):
            playback.media(len(message.mulaw), now=now)
            return
        if isinstance(message, Mark):
            playback.mark(message.name, now=now)
        else:
            playback.clear(now=now)
        self._wake.set()


async def place_calls(callers: Iterable[TwilioCaller], *, ramp_s: float = 0.0) -> list[CallReport]:
    """Place all calls, their starts spread evenly over ``ramp_s`` seconds, and wait for their ends.

    :return: the reports, in the order of the callers
    """
    waiting = list(callers)
    begins_at = time.monotonic()

    starts = (begins_at + ramp_s * index / len(waiting) for index in range(len(waiting)))
    return list(await asyncio.gather(*(caller.run(at) for caller, at in zip(waiting, starts, strict=True))))
