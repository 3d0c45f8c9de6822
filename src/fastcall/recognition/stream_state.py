"""What is known of one provider stream: what it was sent, what it returned, and how its time maps to the call's.

``ProviderStream`` sends, and keeps the position here; ``RecognitionMachine`` reads it, and keeps what results say.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastcall._codec import StreamPosition
from fastcall.events import Word
from fastcall.ports import StreamConfig, StreamResult
from fastcall.recognition.reported import Reported, StreamReports
from fastcall.recognition.rotation import RotationPlan
from fastcall.recognition.time_map import TimeMap

__all__ = ["StreamState"]

# A stream that accepts nothing for so long, while audio waits, is stuck.
STUCK_S = 8.0


class StreamState:
    """One stream. Pure; one thread. Compared by identity.

    :param config: the stream's configuration: its end is interpreted by this, whatever other calls have learned since
    :param start: the first sample of the call that it is to hear
    :param plan: when it is to be replaced because of its age
    """

    __slots__ = (
        "answered_at",
        "caught_up_since",
        "config",
        "half_closed",
        "is_blocked",
        "is_paced",
        "map",
        "opened_at",
        "plan",
        "position",
        "reports",
        "start",
    )

    def __init__(self, config: StreamConfig, *, start: int, plan: RotationPlan, now: float) -> None:
        self.config = config
        self.start = start
        self.plan = plan
        self.opened_at = now
        # --- of the sender
        self.position = StreamPosition(start, now=now)
        """How far it was sent the call's audio; ``LiveAudio`` advances it too."""
        self.map = TimeMap(self.position)
        self.is_paced = False
        """Whether it is so far behind that audio is sent at a limited speed."""
        self.is_blocked = False
        """Whether it is paced, and accepted no audio when some was due."""
        self.caught_up_since: float | None = None
        """Since when it has had all audio of the call, except for a batch; None while it has not."""
        self.half_closed = False
        """Whether all audio was sent and the stream was half-closed."""
        # --- of the machine
        self.reports = StreamReports()
        self.answered_at: float | None = None
        """When the last result arrived; None before the first."""

    @property
    def cursor(self) -> int:
        """The next sample of the call to be sent."""
        return self.position.cursor

    @property
    def has_answered(self) -> bool:
        """Whether there was a result."""
        return self.answered_at is not None

    def is_stuck(self, *, now: float) -> bool:
        """Whether it accepts no audio, although more and more waits."""
        return self.is_blocked and now - self.position.last_write_at > STUCK_S

    # --- what a response says, in call time -----------------------------------------------------------

    def end_of(self, result: StreamResult) -> int:
        """Where a result ends."""
        return self.map.to_call(result.end_sample)

    def words_of(self, result: StreamResult) -> tuple[Word, ...]:
        """The words of a result, if they have times."""
        return tuple(Word(w.text, *self.map.span_to_call(w.start_sample, w.end_sample)) for w in result.words)

    def sound(self, results: Sequence[StreamResult]) -> list[StreamResult]:
        """A response's results without text settled before: its finals, then all its interims as one; each with an
        end."""
        sent = self.map.length_samples
        sound, interims = [], []
        for result in results:
            if not result.is_final:
                interims.append(result)
            elif (new := self.reports.final(result.text, result.words, result.end_sample, sent=sent)) is not None:
                sound.append(_as_reported(result, new))
        if interims:
            text = "".join(result.text for result in interims)
            end_sample = max(result.end_sample for result in interims)
            words = tuple(word for result in interims for word in result.words)
            whole = StreamResult(text, False, end_sample, words)
            sound.append(_as_reported(whole, self.reports.interim(text, words, end_sample, sent=sent)))
        return sound


def _as_reported(result: StreamResult, reported: Reported) -> StreamResult:
    words = result.words[reported.first_word :] if reported.is_timed else ()
    return StreamResult(reported.text, result.is_final, reported.end_sample, words)
