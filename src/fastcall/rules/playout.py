"""What of the audio that was sent has the caller heard: the server's side of Twilio's marks.

The rule: each chunk is followed by a mark of its own. Heard are the chunks whose marks came back before ``clear`` was
sent, plus the time since the last of them came (or since the next chunk was sent, if that is later), at most that next
chunk's length. Marks that come back because of ``clear`` say nothing.

Twilio plays in order and echoes in order, so a mark speaks for all chunks before it. Time is an argument in seconds,
monotonic; one thread.

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from fastcall.events import SAMPLE_RATE_HZ

__all__ = ["MARK_PREFIX", "Echo", "Playout"]

MARK_PREFIX = "fastcall:"
"""How our own marks' names begin; a handler's own may not."""

# Longer than any way there and back: a peer that echoes no marks is not held to be playing for ever.
ECHO_GRACE_S = 2.0

# Marks that clear should bring back; a peer that does not is not waited for.
MAX_CLEARED = 256

Echo = Literal["played", "cleared", "unknown"]


@dataclass(slots=True, frozen=True)
class _Chunk:
    mark: str
    speech: int
    samples: int
    sent_at: float


class Playout:
    """The chunks of one call that are on their way to the caller's ear.

    ``speech`` is any number that the caller of this class gives to what belongs together.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Chunk] = deque()
        self._cleared: deque[str] = deque(maxlen=MAX_CLEARED)
        self._played: dict[int, int] = {}
        self._last_echo_at = float("-inf")
        self._ends_at = float("-inf")
        self._marks = 0

    def sent(self, speech: int, samples: int, *, now: float) -> str:
        """A chunk was sent.

        :return: the name of the mark that must follow it
        """
        self._marks += 1
        name = f"{MARK_PREFIX}{self._marks}"
        self._waiting.append(_Chunk(name, speech, samples, now))
        self._played.setdefault(speech, 0)
        self._ends_at = max(self._ends_at, now) + samples / SAMPLE_RATE_HZ
        return name

    def echoed(self, mark: str, *, now: float) -> Echo:
        """A mark came back: what was before it was ``played``, or dropped because of ``clear``."""
        if mark in self._cleared:
            while self._cleared.popleft() != mark:
                pass
            return "cleared"
        if not any(chunk.mark == mark for chunk in self._waiting):
            return "unknown"
        self._cleared.clear()
        while True:
            chunk = self._waiting.popleft()
            self._played[chunk.speech] += chunk.samples
            if chunk.mark == mark:
                break
        self._last_echo_at = now
        if not self._waiting:
            self._ends_at = min(self._ends_at, now)
        return "played"

    def clear(self, *, now: float) -> dict[int, int]:
        """``clear`` is being sent.

        :return: of each speech of which something was waiting, the samples that were heard
        """
        stopped = {chunk.speech: self.heard_samples(chunk.speech, now=now) for chunk in self._waiting}
        self._cleared.extend(chunk.mark for chunk in self._waiting)
        self._waiting.clear()
        self._played.update(stopped)
        self._ends_at = min(self._ends_at, now)
        return stopped

    def heard_samples(self, speech: int, *, now: float) -> int:
        """How much of a speech was heard by now."""
        heard = self._played.get(speech, 0)
        head = self._waiting[0] if self._waiting else None
        if head is not None and head.speech == speech:
            playing_s = now - max(self._last_echo_at, head.sent_at)
            heard += min(head.samples, max(0, int(playing_s * SAMPLE_RATE_HZ)))
        return heard

    def is_waiting(self, speech: int) -> bool:
        """Whether a chunk of the speech has not been heard to its end."""
        return any(chunk.speech == speech for chunk in self._waiting)

    def forget(self, speech: int) -> None:
        """Nobody asks for this speech any more."""
        self._played.pop(speech, None)

    @property
    def cleared_marks(self) -> int:
        """Marks that ``clear`` is still to bring back."""
        return len(self._cleared)

    def is_playing(self, *, now: float) -> bool:
        """Whether the caller hears something, as far as can be known."""
        return bool(self._waiting) and now < self._ends_at + ECHO_GRACE_S

    def lead_s(self, *, now: float) -> float:
        """How much audio the peer has in store, in seconds."""
        return max(0.0, self._ends_at - now)
