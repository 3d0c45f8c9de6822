"""The telephone's end of a call for tests of what handlers do: it keeps what it is sent, and what it is told."""

from __future__ import annotations

import base64
import json
from typing import Any

from fastcall.agent.heard_text import Heard
from fastcall.agent.player import Speech
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
