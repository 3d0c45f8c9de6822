"""Whether a call may begin: asked once a call, when its ``start`` was read, before anything is opened for it.

Goals: a stream's audio comes over one socket; a server that has enough does not take more; what TwiML promised a caller
is kept. A place is taken first and counted at once (*reserve, then check*): between TwiML's answer and the stream's
start lies a second, in which a hundred other callers may have asked.

Places are by ``StreamKey``: two streams of one call are two calls here. Who comes with the key of a call that has a
living socket is refused, whoever it is: the one there has proven itself by its audio, and a stranger that learnt a
call's id must not be able to push it out. Twilio sends audio without pause; a socket that has been silent for seconds
is dead, though TCP may not know it yet, and then the newcomer is the call. A call that goes on over another stream
enters once more, for its token (``server/comeback.py`` says when).
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
# Not ready before the last place is gone: whoever balances the load needs time to see it.
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
        """What the call is told."""
        return Refused(self.code, f"{self.text}, call {field_value(call.call_sid)}")


class CallHolder(Protocol):
    """Who has a call's socket."""

    def silent_s(self) -> float:
        """How long nothing was heard of it, in seconds."""

    def replaced(self) -> None:
        """Another socket has the call now."""


class Gate(Protocol):
    """Who is asked whether a call may begin; answers at once."""

    def enter(self, call: CallStarted, holder: CallHolder) -> Refusal | None:
        """The call's ``start`` came; None lets it begin, and ``leave`` is then owed."""

    def holder(self, key: StreamKey) -> CallHolder | None:
        """Who has the call's socket, as far as this process knows."""

    def leave(self, key: StreamKey, holder: CallHolder) -> None:
        """The call has no socket any more."""


class Entrance(Gate, Protocol):
    """The gate, as one connection sees it."""

    def pass_on(self, call: CallStarted) -> bool:
        """Whether another process has the call, and has the connection now. Asked before ``enter``."""


class CallAdmission:
    """The calls of one process, and the places for more. Pure; one thread.

    :param max_calls: how many calls at once
    :param tokens: one-time tokens, if calls need one
    :param tickets: the console's; a call that bears one needs no token
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
        """Calls that are live."""
        return len(self._holders)

    @property
    def streams(self) -> tuple[tuple[StreamKey, str], ...]:
        """The calls that are live, the oldest first: each one's key, and the id of the stream that it has now."""
        return tuple(self._stream_sids.items())

    def reserve(self, call_sid: str, *, now: float) -> bool:
        """Keep a place for a call that is about to come, by a stream without a name.

        :param now: monotonic, in seconds: a place is not kept longer because a clock was set
        :return: whether there is one
        """
        self._forget(now)
        if call_sid not in self._reserved and not self._has_place():
            return False
        self._reserved.pop(call_sid, None)
        self._reserved[call_sid] = now + RESERVED_S
        return True

    def take_no_more(self) -> None:
        """From now on only calls come that have a place reserved."""
        self._takes_more = False

    def may_come(self, *, now: float) -> bool:
        """Whether a call may come of which nothing is known yet: there is a place, or it may be one with a place
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
        """A call's ``start`` came.

        :param now: monotonic, in seconds
        :param unix_now: Unix time in seconds, which is what tokens expire by
        :param has_waited: it was refused as a second socket before, so its token was good, and is spent
        :param holder: the one that has the call already, if it goes on over another stream
        :return: None if it may begin; ``leave`` is then owed
        """
        reason = None if has_waited else self._spend(call, unix_now)
        if reason is not None:
            return Refusal(reason, POLICY_VIOLATION, f"the stream has no valid token: {reason}", is_auth=True)
        key = StreamKey.of(call)
        other = self._holders.get(key)
        if other is not None and other is not holder:
            if other.silent_s() < DEAD_AFTER_S:
                return Refusal("second_socket", POLICY_VIOLATION, "this call has a socket already")
            other.replaced()
        self._forget(now)
        # A fork has a name, and does not use up what was promised to the call.
        is_promised = not key.name and self._reserved.pop(key.call_sid, None) is not None
        if not is_promised and other is None and not self._has_place():
            return Refusal("no_capacity", TRY_AGAIN_LATER, "no place is free")
        self._holders[key], self._stream_sids[key] = holder, call.stream_sid
        return None

    def holder(self, key: StreamKey) -> CallHolder | None:
        """Who has a call's socket."""
        return self._holders.get(key)

    def leave(self, key: StreamKey, holder: CallHolder) -> None:
        """The call is over, or another socket has it."""
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
