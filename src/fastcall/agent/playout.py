"""How much of the audio sent the caller has heard, from Twilio's marks.

Each chunk is followed by its own mark. Heard are the chunks whose marks came back before ``clear`` was sent, plus the
time since the last of them came (or since the next chunk was sent, if that is later), at most that next chunk's length.
Marks that come back because of ``clear`` carry no information. Audio that ``clear`` has dropped may be sent again; what
was heard of a speech is then the farthest that it has come.

Twilio plays and echoes in order, so a mark confirms everything sent before it, the handler's marks included. Each of
those is passed once: when it or a later one came back, or timed out. Time is an argument in monotonic seconds; one
thread.

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from fastcall.events import SAMPLE_RATE_HZ

__all__ = ["MARK_PREFIX", "Echo", "Playout"]

MARK_PREFIX = "fastcall:"
"""Prefix of our own marks' names; a handler's marks must not have it."""

# Longer than any round trip: a peer that echoes no marks is not considered playing forever.
ECHO_GRACE_S = 2.0

# Marks that clear should bring back, and the handler's marks that timed out but may still come back.
MAX_CLEARED = 1024
MAX_GIVEN_UP = 1024

Echo = Literal["played", "cleared", "late", "unknown"]
"""``late``: it timed out, or a later one came back first."""


@dataclass(slots=True, frozen=True)
class _Chunk:
    """A chunk and its mark; the handler's marks have no samples."""

    mark: str
    speech: int
    samples: int
    sent_at: float
    """For the handler's marks: when the audio before it ends."""
    is_owed: bool = False
    """A mark of the handler that is passed when it comes back, or does not come back in time."""


class Playout:
    """The chunks of one call that were sent and not yet confirmed as played.

    ``speech`` is any number that groups chunks.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Chunk] = deque()
        self._cleared: deque[_Chunk] = deque()
        self._given_up: deque[str] = deque(maxlen=MAX_GIVEN_UP)
        self._passed: list[str] = []
        self._played: dict[int, int] = {}
        """The position in each speech up to which it was played, by the marks."""
        self._reached: dict[int, int] = {}
        """What was heard of speeches that were set back."""
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

    def mark_sent(self, name: str, *, now: float) -> None:
        """A mark of the handler was sent."""
        self._waiting.append(_Chunk(name, 0, 0, max(self._ends_at, now), is_owed=True))

    def take_passed(self) -> list[str]:
        """The handler's marks passed since the last call, in order."""
        passed, self._passed = self._passed, []
        return passed

    def echoed(self, mark: str, *, now: float) -> Echo:
        """A mark came back: the audio before it was ``played``, or dropped by ``clear``."""
        if _holds(self._cleared, mark):
            self._pass_up_to(mark, self._cleared)
            return "cleared"
        if not _holds(self._waiting, mark):
            if mark in self._given_up:
                self._given_up.remove(mark)
                return "late"
            return "late" if mark.startswith(MARK_PREFIX) else "unknown"
        self.give_up_cleared()
        for chunk in self._pass_up_to(mark, self._waiting):
            if chunk.samples:
                self._played[chunk.speech] += chunk.samples
        self._last_echo_at = now
        if self.is_drained:
            self._ends_at = min(self._ends_at, now)
        return "played"

    def _pass_up_to(self, mark: str, chunks: deque[_Chunk]) -> list[_Chunk]:
        gone: list[_Chunk] = []
        while not gone or gone[-1].mark != mark:
            gone.append(chunks.popleft())
        for chunk in gone[:-1]:
            self._give_up(chunk)
        if gone[-1].is_owed:
            self._passed.append(mark)
        return gone

    def clear(self, *, now: float) -> dict[int, int]:
        """``clear`` is being sent.

        :return: for each speech that was not fully played, the samples heard
        """
        speeches = {chunk.speech for chunk in self._waiting if chunk.samples}
        stopped = {speech: self.heard_samples(speech, now=now) for speech in speeches}
        self._played.update({speech: self.position(speech, now=now) for speech in speeches})
        self._expect_cleared(self._waiting, now=now)
        return stopped

    def take_back(self, *, now: float) -> list[int | str]:
        """``clear`` is being sent, and what was not heard will be sent again, after ``set_back``.

        :return: the speeches and the handler's marks that it drops, in order. Marks before the audio that is being
            played are passed.
        """
        unheard = sum(chunk.samples for chunk in self._waiting)
        gone: list[_Chunk] = []
        # What should have been played long ago was played, by a peer that echoes no marks.
        limit = (self.lead_s(now=now) + ECHO_GRACE_S) * SAMPLE_RATE_HZ
        while self._waiting and (unheard > limit or not self._waiting[0].samples):
            chunk = self._waiting.popleft()
            unheard -= chunk.samples
            if chunk.samples:
                self._played[chunk.speech] += chunk.samples
            gone.append(chunk)
        if not any(chunk.is_owed for chunk in self._cleared):  # else they come after those
            self._passed += [chunk.mark for chunk in gone if chunk.is_owed]
            gone = [replace(chunk, is_owed=False) for chunk in gone]
        dropped: list[int | str] = []
        for number, chunk in enumerate(self._waiting):
            if not chunk.samples:
                dropped.append(chunk.mark)
                continue
            heard = 0 if number else self._heard_of_head(chunk, now=now)
            self._played[chunk.speech] += heard
            if heard < chunk.samples and chunk.speech not in dropped:
                dropped.append(chunk.speech)
        self._expect_cleared([*gone, *(replace(chunk, is_owed=False) for chunk in self._waiting)], now=now)
        return dropped

    def set_back(self, speech: int, position: int, *, now: float) -> None:
        """The speech will be sent again from this position."""
        self._reached[speech] = self.heard_samples(speech, now=now)
        self._played[speech] = position

    def _expect_cleared(self, chunks: Iterable[_Chunk], *, now: float) -> None:
        self._cleared.extend(chunks)
        self._waiting.clear()
        while len(self._cleared) > MAX_CLEARED:
            self._give_up(self._cleared.popleft())
        self._ends_at = min(self._ends_at, now)

    def give_up_cleared(self) -> None:
        """Marks that ``clear`` has not brought back will not come."""
        while self._cleared:
            self._give_up(self._cleared.popleft())

    def give_up(self, *, now: float) -> None:
        """No mark will come back: like ``clear``, for a peer that echoes no marks."""
        self.clear(now=now)
        self.give_up_cleared()

    def _give_up(self, chunk: _Chunk) -> None:
        if chunk.is_owed:
            self._passed.append(chunk.mark)
        if not chunk.samples:
            self._given_up.append(chunk.mark)

    def heard_samples(self, speech: int, *, now: float) -> int:
        """How much of a speech was heard by now."""
        return max(self._reached.get(speech, 0), self.position(speech, now=now))

    def position(self, speech: int, *, now: float) -> int:
        """Where in a speech the caller is; before what was heard of it when a part is repeated."""
        position = self._played.get(speech, 0)
        head = self._head()
        if head is not None and head.speech == speech:
            position += self._heard_of_head(head, now=now)
        return position

    def _heard_of_head(self, head: _Chunk, *, now: float) -> int:
        playing_s = now - max(self._last_echo_at, head.sent_at)
        return min(head.samples, max(0, int(playing_s * SAMPLE_RATE_HZ)))

    def is_waiting(self, speech: int) -> bool:
        """Whether a chunk of the speech has not been heard to its end."""
        return any(chunk.speech == speech and chunk.samples for chunk in self._waiting)

    def forget(self, speech: int) -> None:
        """This speech is not needed any more."""
        self._played.pop(speech, None)
        self._reached.pop(speech, None)

    @property
    def cleared_marks(self) -> int:
        """Marks that ``clear`` has yet to bring back."""
        return len(self._cleared)

    def is_playing(self, *, now: float) -> bool:
        """Whether the caller hears something, as far as is known."""
        return not self.is_drained and now < self._ends_at + ECHO_GRACE_S

    @property
    def is_drained(self) -> bool:
        """Whether all chunks were heard to their ends."""
        return self._head() is None

    def _head(self) -> _Chunk | None:
        return next((chunk for chunk in self._waiting if chunk.samples), None)

    @property
    def marks(self) -> int:
        """The handler's marks that were sent and have not come back, cleared ones included."""
        return sum(chunk.is_owed for chunks in (self._waiting, self._cleared) for chunk in chunks)

    def next_deadline(self) -> float | None:
        """When the handler's first outstanding mark times out."""
        first = next((chunk.sent_at for chunk in self._waiting if not chunk.samples), None)
        return None if first is None else first + ECHO_GRACE_S

    def give_up_marks(self, *, now: float) -> None:
        """Pass the handler's overdue marks; chunks keep waiting."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            self.give_up_cleared()  # older than what waits
            late = next(chunk for chunk in self._waiting if not chunk.samples)
            self._waiting.remove(late)
            self._give_up(late)

    def lead_s(self, *, now: float) -> float:
        """How much audio the peer has buffered, in seconds."""
        return max(0.0, self._ends_at - now)


def _holds(chunks: deque[_Chunk], mark: str) -> bool:
    return any(chunk.mark == mark for chunk in chunks)
