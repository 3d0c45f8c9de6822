"""A simulated Twilio caller: connects to a Media Streams server as Twilio does, speaks, listens, reports.

Audio is paced by the call's schedule: frame n is due 20 ms * n after the first. A late sender sends all due frames as
a burst and is back on schedule; it never drifts. Sending never waits for the server: if it does not read, frames wait,
and those that are 5 s late are discarded, as Twilio does (its warning 31930). One compiled loop sends the audio of all
calls (``Pacer``); this module handles the rest.

Source: https://www.twilio.com/docs/voice/media-streams; the headers are those of public captures.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from fastcall._load import PacedCall
from fastcall.errors import UsageError
from fastcall.simulator.impairments import STEADY, LinePlan
from fastcall.simulator.pacer import Pacer
from fastcall.simulator.playback import Clear, Mark, Media, Playback, Violation, read_message
from fastcall.simulator.report import (
    BUFFER_OVERFLOW,
    NORMAL_CLOSURE,
    CallReport,
    Received,
    explain_close,
    explain_refusal,
)
from fastcall.simulator.twilio_client import FRAME_S, CallerMessages, CallIds, Lateness, PhoneAudio, check_key, sign_url

__all__ = ["GOOD_CONDUCT", "Conduct", "TwilioCaller", "check_url", "place_calls"]

USER_AGENT = "Twilio.TmeWs/1.0"

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
SECOND_SOCKET_AFTER_S = 1.0
SECOND_SOCKET_LIVES_S = 5.0
# Never reached, so `send` never waits.
WRITE_LIMIT_BYTES = 64 * 1024 * 1024


def check_url(url: str) -> str:
    """``url``, if Twilio could call it (plain ``ws`` is accepted too).

    :raises UsageError: it could not
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is not a URL: {error}") from None
    if parts.scheme not in ("ws", "wss") or not host:
        raise UsageError(f"{url!r} is not a WebSocket URL: use ws://HOST:PORT/PATH, or wss://...")
    if parts.query or parts.fragment:
        raise UsageError(f"{url!r}: Twilio supports no query string; pass values as parameters of the stream")
    return url


class _Connect(connect):
    """Twilio follows no redirect: any status but 101 is a handshake error."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@dataclass(frozen=True, slots=True)
class Conduct:
    """A caller's faults. The defaults have none."""

    plan: LinePlan = STEADY
    """Which frames are sent, and when."""
    no_stop: bool = False
    """The socket closes without ``stop`` at the end."""
    drop_after_s: float | None = None
    """The connection is lost after so many seconds, without ``stop`` or closing handshake."""
    read_pause_s: float = 0.0
    """Delay after each message of the server before the next is read."""
    second_socket: bool = False
    """After a second, a second connection claims to be the same call."""


GOOD_CONDUCT = Conduct()


class TwilioCaller:
    """One call. Create it, and ``await run()`` once. Call its methods on the event loop's thread.

    :param url: the server's ``ws://`` or ``wss://`` URL
    :param audio: the caller's audio; may be shared by many calls
    :param ids: of the call; random if not given
    :param parameters: ``customParameters`` of ``start``
    :param first_timestamp_ms: ``media.timestamp`` of the first frame; real calls have 100 to 200
    :param auth_token: the account's, for signing the upgrade request; None: the request is not signed
    :param signed_url: the URL to sign, if it is not ``url`` (because of a proxy)
    :param keep_received: whether the report keeps the server's messages
    :param lateness: counts how late each frame was sent; may be shared by calls of one thread
    :param pacer: sends the frames; calls of one loop share one
    :param conduct: its faults
    :param call_number: not -1: frames carry stamps with this number
    :param discards_audio: for load: the sending loop reads what the server sends, echoes the marks, and counts and
        drops the audio; messages that Twilio would refuse count as any others. Not with TLS
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
        auth_token: str | None = "",
        signed_url: str | None = None,
        keep_received: bool = True,
        lateness: Lateness | None = None,
        pacer: Pacer | None = None,
        conduct: Conduct = GOOD_CONDUCT,
        call_number: int = -1,
        discards_audio: bool = False,
    ) -> None:
        self.report = CallReport(ids or CallIds.derive(secrets.token_hex(8), 0))
        self._url = check_url(url)
        self._audio = audio
        self._parameters = dict(parameters or {})
        self._headers = {"Accept-Encoding": "gzip"}
        if auth_token is not None:
            self._headers["X-Twilio-Signature"] = sign_url(auth_token, signed_url or url)
        self._keep_received = keep_received
        self._lateness = lateness
        self._pacer = pacer
        self._conduct = conduct
        self._call_number = call_number
        self._discards_audio = discards_audio
        self._first_timestamp_ms = first_timestamp_ms
        self._messages = CallerMessages(self.report.ids, first_timestamp_ms)
        self._playback = Playback()
        self._keys: list[str] = []
        self._line: PacedCall | None = None
        self._ending: Literal["stop", "drop"] | None = None
        self._lost: ConnectionClosed | None = None
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        """A slow reader reads the rest at once, because the call is over."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def live(self) -> bool:
        """Whether the call was answered and has not ended."""
        return self.report.first_frame_at is not None and self.report.close_code is None

    @property
    def frames_sent(self) -> int:
        """Frames that were sent so far."""
        return self._line.sent if self._line is not None else 0

    @property
    def share_said(self) -> float:
        """The share of the audio that was sent, 0 to 1; 0 if it is endless."""
        if self._line is None or not self._audio.frames:
            return 0.0
        return 1.0 if self._line.over else self._line.frame / self._audio.frames

    def press(self, digit: str) -> None:
        """Press a key of the telephone: ``0``-``9``, ``*``, ``#``, ``A``-``D``.

        :raises ValueError: another key
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
        """Place the call and run it to its end. Failures are in the report; nothing is raised for them.

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
        helpers = [asyncio.create_task(self._listen(socket_))]
        if self._conduct.second_socket:
            helpers.append(asyncio.create_task(self._call_twice()))
        try:
            await self._speak(socket_)
        except ConnectionClosed as error:
            said_s = report.frames_sent * FRAME_S
            if error.rcvd is not None and error.rcvd.code == NORMAL_CLOSURE:
                report.hung_up_s = said_s
            else:
                report.twilio_code, report.error = explain_close(error, said_s)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await socket_.close()
            await asyncio.gather(*helpers, return_exceptions=True)
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
            max_queue=1 if self._conduct.read_pause_s else 16,
            user_agent_header=USER_AGENT,
            additional_headers=self._headers,
        )

    async def _speak(self, socket_: ClientConnection) -> None:
        if self._discards_audio:
            socket_.transport.pause_reading()  # before the server has anything to say
        await self._send(socket_, CallerMessages.connected)
        await self._send(socket_, lambda messages: messages.start(self._parameters))
        first_at = self.report.first_frame_at = time.monotonic()
        pacer = self._pacer or Pacer(self._lateness)
        self._line = line = pacer.add(
            socket_.transport,
            self._audio,
            self.report.ids,
            self._wake.set,
            plan=self._conduct.plan,
            first_at=first_at,
            first_timestamp_ms=self._first_timestamp_ms,
            sequence=self._messages.count,
            call_number=self._call_number,
            on_frames=socket_.data_received if self._discards_audio else None,
        )
        try:
            await self._see_through(socket_, line, pacer, first_at)
        finally:
            self._hurry.set()
            pacer.remove(line)
            self._count_frames(line)
            if self._discards_audio:
                self._read_on(socket_, line)
        if self._ending == "drop":
            socket_.transport.abort()
        elif not self._conduct.no_stop:
            await self._send(socket_, CallerMessages.stop)

    def _read_on(self, socket_: ClientConnection, line: PacedCall) -> None:
        """The sending loop does not read the socket any more."""
        report = self.report
        report.messages_received += line.messages_received
        report.audio_received_bytes += line.audio_received_bytes
        report.marks_received += line.marks_received
        report.clears_received += line.clears_received
        report.marks_echoed += line.marks_echoed
        report.messages_sent += line.marks_echoed
        for frames in (line.take_passed(), line.take_partial()):
            if frames:
                socket_.data_received(frames)
        if not socket_.transport.is_closing():
            socket_.transport.resume_reading()

    async def _see_through(self, socket_: ClientConnection, line: PacedCall, pacer: Pacer, first_at: float) -> None:
        """Send marks and keys until the audio or the call is over; the pacer sends the audio."""
        clock, drop_after_s = time.monotonic, self._conduct.drop_after_s
        drop_at = None if drop_after_s is None else first_at + drop_after_s
        while self._ending is None and not line.over:
            if line.broken:
                self._hurry.set()
                socket_.transport.resume_reading()
                await socket_.wait_closed()
            if self._lost is not None:
                raise self._lost
            await self._send_asides(socket_, pacer)
            await self._sleep_until(drop_at)
            if drop_at is not None and clock() >= drop_at:
                self._ending = "drop"
                return
        if self._ending == "drop":
            self.report.error = "dropped by the caller"

    async def _send_asides(self, socket_: ClientConnection, pacer: Pacer | None = None) -> None:
        """Marks whose audio was played, and keys."""
        for name in self._playback.take_due(now=time.monotonic()):
            await self._send(socket_, partial(CallerMessages.mark, name=name), pacer)
            self.report.marks_echoed += 1
        while self._keys:
            await self._send(socket_, partial(CallerMessages.dtmf, digit=self._keys.pop(0)), pacer)

    async def _send(
        self, socket_: ClientConnection, build: Callable[[CallerMessages], str], pacer: Pacer | None = None
    ) -> None:
        """Send a message that is not audio, numbered after the newest frame; later frames wait until it is sent."""
        messages, line = self._messages, self._line
        if line is not None:
            messages.count = line.sequence
        message = build(messages)
        if line is not None:
            line.sequence = messages.count
            if pacer is not None:
                pacer.wait_for(line)
        await socket_.send(message)
        self.report.messages_sent += 1

    def _count_frames(self, line: PacedCall) -> None:
        report = self.report
        report.frames_sent, report.frames_discarded = line.sent, line.discarded
        report.messages_sent += line.sent
        if line.discarded:
            report.twilio_code = report.twilio_code or BUFFER_OVERFLOW

    async def _call_twice(self) -> None:
        """A second socket for this call, a second after the first: how does the server end it?"""
        messages = CallerMessages(self.report.ids, self._first_timestamp_ms)
        try:
            await asyncio.sleep(SECOND_SOCKET_AFTER_S)
            async with asyncio.timeout(SECOND_SOCKET_LIVES_S), await self._open() as second:
                await second.send(messages.connected())
                await second.send(messages.start(self._parameters))
                await second.wait_closed()
                self.report.second_socket = f"closed with {second.close_code}"
        except TimeoutError:
            self.report.second_socket = "taken"
        except InvalidStatus as error:
            self.report.second_socket = f"refused with HTTP {error.response.status_code}"
        except (OSError, InvalidHandshake, EOFError, ConnectionClosed) as error:
            self.report.second_socket = f"refused: {error}"

    async def _sleep_until(self, at: float | None) -> None:
        """Wait until that time, until a mark is due, or until ``_wake`` is set."""
        moments = [moment for moment in (at, self._playback.next_deadline()) if moment is not None]
        if moments:
            # Rounded up: uvloop's timers have whole milliseconds, and an early one would be set again.
            delay_s = max(0.0, min(moments) - time.monotonic()) + 0.0005
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        if self._timer is not None:
            self._timer.cancel()

    async def _listen(self, socket_: ClientConnection) -> None:
        try:
            while True:
                message = await socket_.recv()
                self._take(message, time.monotonic())
                if self._conduct.read_pause_s:
                    await self._pause()
        except ConnectionClosed as error:
            self._lost = error
            self._wake.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._conduct.read_pause_s):
                await self._hurry.wait()
        except TimeoutError:
            return

    def _take(self, raw: str | bytes, now: float) -> None:
        self.report.messages_received += 1
        message = read_message(raw, self.report.ids.stream_sid)
        if isinstance(message, Violation):
            self.report.refuse(message)
        else:
            self._hear(message, now)

    def _hear(self, message: Media | Mark | Clear, now: float) -> None:
        report, playback = self.report, self._playback
        report.first_message_at = report.first_message_at or now
        if self._keep_received:
            report.keep(Received(now, message))
        if isinstance(message, Media):
            report.audio_received_bytes += len(message.mulaw)
            playback.media(len(message.mulaw), now=now)
            return
        if isinstance(message, Mark):
            report.marks_received += 1
            playback.mark(message.name, now=now)
        else:
            report.clears_received += 1
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
