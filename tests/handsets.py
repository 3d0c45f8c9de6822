"""The telephone's end of a call for tests of what handlers do: it keeps what it is sent, and what it is told."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from typing import Any

from fastcall.agent.heard_text import Heard
from fastcall.agent.player import AudioPlayer, Speech
from fastcall.turns.completeness import Expectation
from peers import messages_of


class Twilio:
    """What is sent, and an owner that keeps what it is told. Fulfils ``CallSocket`` and ``CallOwner``."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed: list[tuple[int, str]] = []
        self.told: list[tuple[str, Any]] = []

    def send_soon(self, frames: bytes) -> None:
        self.sent += map(json.loads, messages_of(frames))

    def close_soon(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def speech_held(self, speech: Speech) -> None:
        self.told.append(("held", speech.number))

    def speech_began(self, speech: Speech) -> None:
        self.told.append(("began", speech.number))

    def speech_ended(self, speech: Speech, heard: Heard) -> None:
        self.told.append(("ended", heard))

    def speech_paused(self, speech: Speech, heard: Heard) -> None:
        self.told.append(("paused", heard))

    def speech_resumed(self, speech: Speech) -> None:
        self.told.append(("resumed", speech.number))

    def mark_passed(self, name: str) -> None:
        self.told.append(("mark", name))

    def clear_overdue(self, marks: int) -> None:
        self.told.append(("overdue", marks))

    def audio_sent(self, codes: bytes | memoryview) -> None:
        pass

    def expect(self, expectation: Expectation | None) -> None:
        self.expectation = expectation

    def source_failed(self, error: BaseException) -> None:
        self.told.append(("failed", error))

    def stalled(self, seconds: float) -> None:
        self.told.append(("stalled", seconds))

    @property
    def events(self) -> list[str]:
        return [message["event"] for message in self.sent]

    @property
    def audio(self) -> bytes:
        return b"".join(base64.b64decode(m["media"]["payload"]) for m in self.sent if m["event"] == "media")

    @property
    def marks(self) -> list[str]:
        return [m["mark"]["name"] for m in self.sent if m["event"] == "mark"]


class Phone(Twilio):
    """Plays what it is sent in real time, drops it at ``clear``, and sends marks back, each way after a delay."""

    def __init__(self, *, delay_s: float = 0.0, echoes: bool = True) -> None:
        super().__init__()
        self.player: AudioPlayer
        self.heard = [bytearray()]
        """What the caller heard; a new part begins at each ``clear``."""
        self._delay_s = delay_s
        self._echoes = echoes
        self._loop = asyncio.get_running_loop()
        self._coming: deque[dict[str, Any]] = deque()
        self._going: deque[str] = deque()
        self._buffer: deque[bytes | str] = deque()
        self._playing: tuple[float, bytes, asyncio.TimerHandle] | None = None

    def send_soon(self, frames: bytes) -> None:
        before = len(self.sent)
        super().send_soon(frames)
        for message in self.sent[before:]:
            self._coming.append(message)
            self._loop.call_later(self._delay_s, self._arrived)

    def _arrived(self) -> None:
        message = self._coming.popleft()
        if message["event"] == "media":
            self._buffer.append(base64.b64decode(message["media"]["payload"]))
        elif message["event"] == "mark":
            self._buffer.append(message["mark"]["name"])
        else:
            self._cleared()
        self._play()

    def _cleared(self) -> None:
        if self._playing is not None:
            began_at, audio, timer = self._playing
            timer.cancel()
            self._playing = None
            self.heard[-1] += audio[: round((self._loop.time() - began_at) * 8000)]
        self.heard.append(bytearray())
        self._buffer = deque(each for each in self._buffer if isinstance(each, str))

    def _play(self) -> None:
        while self._buffer and self._playing is None:
            first = self._buffer.popleft()
            if isinstance(first, bytes):
                timer = self._loop.call_later(len(first) / 8000, self._played)
                self._playing = (self._loop.time(), first, timer)
            elif self._echoes:
                self._going.append(first)
                self._loop.call_later(self._delay_s, lambda: self.player.echoed(self._going.popleft()))

    def _played(self) -> None:
        assert self._playing is not None
        self.heard[-1] += self._playing[1]
        self._playing = None
        self._play()

    @property
    def played_samples(self) -> int:
        now = self._loop.time()
        playing = 0 if self._playing is None else round((now - self._playing[0]) * 8000)
        return sum(map(len, self.heard)) + playing

    def told_of(self, *kinds: str) -> list[Any]:
        return [each for each in self.told if each[0] in kinds]
