"""Whether a call may begin: asked once a call, when its ``start`` was read, before anything is opened for it.

Goals: a stream's audio comes over one socket; a full server accepts no more calls; a caller who was sent TwiML is not
turned away. A place is reserved and counted when TwiML is sent: the stream starts up to a second later, and a hundred
other callers may ask in between.

Places are by ``StreamKey``: two streams of one call are two calls here. A second socket with the key of a live call is
refused: the first has proven itself by its audio, and a stranger who learnt a call's id must not be able to displace
it. Twilio sends audio without pause, so a socket that has been silent for seconds is dead, even if TCP has not noticed,
and the new socket gets the call. A call that continues on another stream is admitted again, to spend its token
(``server/comeback.py`` says when).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fastcall.events import CallStarted, Refused
from fastcall.formats import field_value
from fastcall.twilio.stream_key import StreamKey
from fastcall.twilio.stream_tokens import PARAMETER, TICKET, StreamTokens

__all__ = ["CallAdmission", "CallHolder", "Entrance", "Gate", "Refusal"]

# Twilio sends 50 messages a second, silence too.
DEAD_AFTER_S = 5.0
# How long a place is kept for a call that was sent TwiML.
RESERVED_S = 30.0
# Not ready before the last place is taken: a load balancer needs time to notice.
READY_SHARE = 0.95

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a call may not begin; ``reason`` is a counter's label."""

    reason: str
    code: int
    text: str
    is_auth: bool = False

    def of(self, call: CallStarted) -> Refused:
        """The close code and reason for the call's socket."""
        return Refused(self.code, f"{self.text}, call {field_value(call.call_sid)}")


class CallHolder(Protocol):
    """The owner of a call's socket."""

    def silent_s(self) -> float:
        """Seconds since its last message."""

    def replaced(self) -> None:
        """The call moved to another socket."""


class Gate(Protocol):
    """Decides whether a call may begin, without waiting."""

    def enter(self, call: CallStarted, holder: CallHolder) -> Refusal | None:
        """The call's ``start`` was received; None lets it begin, and ``leave`` must be called later."""

    def holder(self, key: StreamKey) -> CallHolder | None:
        """The owner of the call's socket, if it is known to this process."""

    def leave(self, key: StreamKey, holder: CallHolder) -> None:
        """The call's socket closed."""


class Entrance(Gate, Protocol):
    """The gate, as one connection sees it."""

    def pass_on(self, call: CallStarted) -> bool:
        """Whether another process has the call and took over the connection. Called before ``enter``."""


class CallAdmission:
    """The calls of one process, and the places for more. Pure; one thread.

    :param max_calls: how many calls at once
    :param tokens: one-time tokens, if calls need one
    :param tickets: the console's; a call with one needs no token
    """

    def __init__(
        self, *, max_calls: int, tokens: StreamTokens | None = None, tickets: StreamTokens | None = None
    ) -> None:
        self._max_calls = max_calls
        self._tokens = tokens
        self._tickets = tickets
        self._holders: dict[StreamKey, CallHolder] = {}
        self._stream_sids: dict[StreamKey, str] = {}
        self._reserved: dict[str, float] = {}
        self._takes_more = True

    @property
    def live(self) -> int:
        """Number of live calls."""
        return len(self._holders)

    @property
    def streams(self) -> tuple[tuple[StreamKey, str], ...]:
        """The live calls, oldest first: each one's key and the id of its current stream."""
        return tuple(self._stream_sids.items())

    def reserve(self, call_sid: str, *, now: float) -> bool:
        """Reserve a place for a call whose unnamed stream will start soon.

        :param now: monotonic seconds, so that setting the clock does not extend a reservation
        :return: whether one is free
        """
        self._forget(now)
        if call_sid not in self._reserved and not self._has_place():
            return False
        self._reserved.pop(call_sid, None)
        self._reserved[call_sid] = now + RESERVED_S
        return True

    def take_no_more(self) -> None:
        """From now on, accept only calls with a reserved place."""
        self._takes_more = False

    def may_come(self, *, now: float) -> bool:
        """Whether to let in a socket whose call is not known yet: a place is free, or the call may have one
        reserved."""
        self._forget(now)
        return bool(self._reserved) or self._has_place()

    def is_ready(self, *, now: float) -> bool:
        """Whether more calls should be sent here."""
        self._forget(now)
        taken = len(self._holders) + len(self._reserved)
        return self._takes_more and taken < self._max_calls * READY_SHARE

    def enter(
        self, call: CallStarted, holder: CallHolder, *, now: float, unix_now: float, has_waited: bool = False
    ) -> Refusal | None:
        """A call's ``start`` was received.

        :param now: monotonic, in seconds
        :param unix_now: Unix time in seconds, which token expiry is compared with
        :param has_waited: it was refused as a second socket before, so its token was valid and is spent
        :param holder: the current owner, if the call continues on another stream
        :return: None if it may begin; ``leave`` must then be called later
        """
        reason = None if has_waited else self._spend(call, unix_now)
        if reason is not None:
            return Refusal(reason, POLICY_VIOLATION, f"the stream has no valid token: {reason}", is_auth=True)
        key = StreamKey.of(call)
        other = self._holders.get(key)
        if other is not None and other is not holder:
            if other.silent_s() < DEAD_AFTER_S:
                return Refusal("second_socket", POLICY_VIOLATION, "this call already has a socket")
            other.replaced()
        self._forget(now)
        # A fork has a name, and must not use up the call's reserved place.
        is_promised = not key.name and self._reserved.pop(key.call_sid, None) is not None
        if not is_promised and other is None and not self._has_place():
            return Refusal("no_capacity", TRY_AGAIN_LATER, "no capacity for another call")
        self._holders[key], self._stream_sids[key] = holder, call.stream_sid
        return None

    def holder(self, key: StreamKey) -> CallHolder | None:
        """The owner of a call's socket."""
        return self._holders.get(key)

    def leave(self, key: StreamKey, holder: CallHolder) -> None:
        """The call is over, or moved to another socket."""
        if self._holders.get(key) is holder:
            del self._holders[key], self._stream_sids[key]

    def _spend(self, call: CallStarted, unix_now: float) -> str | None:
        ticket = call.custom_parameters.get(TICKET, "")
        if self._tickets is not None and ticket:
            return self._tickets.spend(ticket, call.call_sid, now=unix_now)
        if self._tokens is not None:
            return self._tokens.spend(call.custom_parameters.get(PARAMETER, ""), call.call_sid, now=unix_now)
        return None

    def _has_place(self) -> bool:
        return self._takes_more and len(self._holders) + len(self._reserved) < self._max_calls

    def _forget(self, now: float) -> None:
        # They expire in the order in which they were made.
        while self._reserved:
            call_sid, until = next(iter(self._reserved.items()))
            if until > now:
                return
            del self._reserved[call_sid]
