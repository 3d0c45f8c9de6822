"""How long a caller waits for a response, and where the time goes.

::

    end of speech | endpointing | commit | agent | first audio
                  |             |        |       +- from the first say() to its first audio sent
                  |             |        +--------- from the committed text to the agent's first say()
                  |             +------------------ from the endpointer's decision to the committed text
                  +-------------------------------- the silence that marks the end, and network delay

Pure; all times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["FirstResponse", "OpenTurn", "ResponseLatency"]

# Ended utterances that wait for their text; beyond this they are not measured.
MAX_ENDED = 16


@dataclass(slots=True, frozen=True)
class FirstResponse:
    """One turn's wait, in seconds. The four parts add up to ``total_s``."""

    utterance_id: int
    total_s: float
    endpointing_s: float
    commit_s: float
    agent_s: float
    first_audio_s: float
    gained_s: float
    """How much later the response would have come if the agent had started at the committed text."""


@dataclass(slots=True)
class OpenTurn:
    """An utterance that needs a response; filled in step by step."""

    utterance_id: int
    spoken_at: float
    """When its speech ended."""
    ended_at: float
    committed_at: float
    said_at: float | None = None
    gained_s: float = 0.0


class ResponseLatency:
    """The turns of one call. One thread."""

    def __init__(self) -> None:
        self._ended: deque[tuple[int, float]] = deque(maxlen=MAX_ENDED)
        self._open: OpenTurn | None = None

    def ended(self, end_sample: int, *, now: float) -> None:
        """The endpointer decided that the utterance whose speech ended at ``end_sample`` is over."""
        self._ended.append((end_sample, now))

    def committed(self, utterance_id: int, end_sample: int, *, spoken_at: float, now: float) -> None:
        """Its text is committed: a turn begins; an unanswered one before it is abandoned."""
        ended_at = next((at for sample, at in self._ended if sample == end_sample), now)
        self._open = OpenTurn(utterance_id, min(spoken_at, ended_at), ended_at, now)

    def said(self, *, now: float, began_at: float | None = None, ready_at: float | None = None) -> OpenTurn | None:
        """The agent called ``say``.

        :param began_at: when the agent started this reply, if that was before the text was committed
        :param ready_at: when it would have called ``say``, had it not been held back
        :return: the turn to which this is the first response, for ``sent``; None if there is none
        """
        turn = self._open
        if turn is None:
            return None
        self._open = None
        turn.said_at = now
        if began_at is not None:
            until = min(now if ready_at is None else ready_at, turn.committed_at)
            turn.gained_s = max(0.0, until - began_at)
        return turn

    @staticmethod
    def sent(turn: OpenTurn, *, now: float) -> FirstResponse:
        """The first audio of the response was sent."""
        said_at = now if turn.said_at is None else turn.said_at
        return FirstResponse(
            turn.utterance_id,
            total_s=now - turn.spoken_at,
            endpointing_s=turn.ended_at - turn.spoken_at,
            commit_s=turn.committed_at - turn.ended_at,
            agent_s=said_at - turn.committed_at,
            first_audio_s=now - said_at,
            gained_s=turn.gained_s,
        )
