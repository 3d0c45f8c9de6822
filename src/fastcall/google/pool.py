"""Which connection gets a stream, and when connections are added and closed.

One HTTP/2 connection carries 100 streams and silently queues further ones, so streams are spread over several. The
fullest one with room is chosen, so that the others can become empty and be closed. A connection that is lost, or on
which several streams in a row fail to begin, gets no more streams and is closed when its last one has ended. Another
replaces it at once, without waiting for its reconnect back-off.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PoolRule"]

# Google's limit is 100, and further streams are queued silently; 80 leaves room for overlaps.
STREAMS_PER_CONNECTION = 80
# After this many consecutive streams that never began, the connection is considered broken.
MAX_FAILURES = 3
# An empty connection beyond the first is closed after this time: calls come and go.
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

    :param streams: limit per connection, including those of a rotation's overlap
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
        """How many streams it carries."""
        return self._members[number].streams

    def has_worked(self, number: int) -> bool:
        """Whether a stream on it was answered."""
        return self._members[number].has_worked

    def take(self, *, but: int | None = None) -> int:
        """The number of the connection for a new stream; a new connection where none has room.

        :param but: excluded, because it has refused the stream
        """
        # Where the limit of a connection is not known yet, assume that of the others.
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
        """Set the peer's limit of streams on this connection; None: not known.

        Our own limit applies as well. A limit of 0, which may be temporary, counts as 1.
        """
        self._members[number].limit = None if streams is None else max(1, min(self._limit, streams))

    def began(self, number: int) -> None:
        """A stream of this connection began."""
        member = self._members[number]
        member.failures, member.has_worked = 0, True

    def give_back(self, number: int, *, never_began: bool, now: float) -> None:
        """A stream has ended.

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
        """The connection broke, or the peer sent GOAWAY: no more streams."""
        self._members[number].is_gone = True

    def take_away(self, *, now: float) -> list[int]:
        """The connections to close now; they leave the pool."""
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
