"""Which connection gets a stream, when one is added, and when one is given up.

One HTTP/2 connection carries 100 streams and queues further ones in silence, so streams are spread over several. The
fullest that has room is taken, so that the others may empty and be closed. One whose connection is gone, or on which
one stream after the other fails to begin, gets no more streams and goes when its last one has ended: another takes its
place, without waiting until the old one believes again that it may connect.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PoolRule"]

# A connection carries 100 streams and queues further ones in silence; 80 leaves room for overlaps.
STREAMS_PER_CONNECTION = 80
# So many streams in a row that never began, and the connection is held to be broken.
MAX_FAILURES = 3
# An empty connection beyond the first is closed after so long: calls come and go.
EMPTY_S = 60.0


@dataclass(slots=True)
class _Member:
    streams: int = 0
    failures: int = 0
    limit: int | None = None  # the peer's, once it is known
    is_gone: bool = False
    has_worked: bool = False
    empty_since: float = 0.0


class PoolRule:
    """Connections by number. Pure; one thread.

    :param streams: at most so many on one connection, those of a rotation's overlap included
    :param empty_s: how long a connection without streams is kept
    """

    def __init__(self, *, streams: int = STREAMS_PER_CONNECTION, empty_s: float = EMPTY_S) -> None:
        self._limit = streams
        self._empty_s = empty_s
        self._members: dict[int, _Member] = {}
        self._next = 1

    @property
    def numbers(self) -> list[int]:
        """The connections, oldest first."""
        return list(self._members)

    def streams(self, number: int) -> int:
        """How many it carries."""
        return self._members[number].streams

    def has_worked(self, number: int) -> bool:
        """Whether a stream on it was answered."""
        return self._members[number].has_worked

    def take(self, *, but: int | None = None) -> int:
        """A stream begins: the number of its connection, a new one where none has room.

        :param but: not this one: it has refused the stream
        """
        # What the peer has not yet said of one connection, it has said of the others.
        expected = min((m.limit for m in self._members.values() if m.limit is not None), default=self._limit)
        open_ones = [
            (m.streams, -n)
            for n, m in self._members.items()
            if not m.is_gone and n != but and m.streams < (expected if m.limit is None else m.limit)
        ]
        if open_ones:
            number = -max(open_ones)[1]
        else:
            number = self._next
            self._next += 1
            self._members[number] = _Member()
        self._members[number].streams += 1
        return number

    def limit(self, number: int, streams: int | None) -> None:
        """The peer takes at most so many streams on this connection, None: it has not said how many.

        Of more than our own limit no use is made. A peer that takes none for now is asked with one.
        """
        self._members[number].limit = None if streams is None else max(1, min(self._limit, streams))

    def began(self, number: int) -> None:
        """The peer answered a stream of this connection."""
        member = self._members[number]
        member.failures, member.has_worked = 0, True

    def give_back(self, number: int, *, never_began: bool, now: float) -> None:
        """A stream is over.

        :param never_began: the peer could not be reached
        """
        member = self._members[number]
        member.streams -= 1
        if never_began:
            member.failures += 1
            member.is_gone = member.is_gone or member.failures >= MAX_FAILURES
        if not member.streams:
            member.empty_since = now

    def gone(self, number: int) -> None:
        """Its connection broke, or the peer says goodbye: no more streams."""
        self._members[number].is_gone = True

    def take_away(self, *, now: float) -> list[int]:
        """The connections to be closed now. They are not of the pool any more."""
        empty = [(n, m) for n, m in self._members.items() if not m.streams]
        kept = next((n for n, m in self._members.items() if not m.is_gone), None)
        closed = [n for n, m in empty if m.is_gone or (n != kept and now >= m.empty_since + self._empty_s)]
        for number in closed:
            del self._members[number]
        return closed

    def next_deadline(self) -> float | None:
        """When ``take_away`` may have something to close, by time alone; None: never."""
        kept = next((n for n, m in self._members.items() if not m.is_gone), None)
        empty = [m.empty_since for n, m in self._members.items() if not m.streams and n != kept]
        return min(empty) + self._empty_s if empty else None
