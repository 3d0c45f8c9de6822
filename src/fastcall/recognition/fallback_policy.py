"""When the fallback hears a part of the call, and what its answer settles.

Goals: while the recognizer cannot serve, each utterance is recognized from its own audio as soon as it ends; audio that
nears the bound of what is kept is recognized in pieces before it is forgotten; nothing is given twice when the
recognizer is back.

Model: the *settled end* is where settled audio ends. A *span* is a part after it whose end cuts no word, as far as is
known: an utterance or a piece. Spans settle in order. What an answer settles the recognizer does not hear again, and
what the recognizer settles first is not taken from the fallback: an answer to a span that a final has cut is void, and
the rest of the span is asked for again. Words between two spans, which the voice detector took for silence, are the
recognizer's if it comes back before the later span is settled; otherwise they are lost.

Invariants: the settled end never goes back; a span is pending at most once; a text is handed out once, and in order.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

from fastcall.events import SAMPLES_PER_MS

__all__ = ["FallbackAsk", "FallbackRule", "SettledSpan", "quietest_sample"]

# Audio added around a span: detectors are late at the onset, and words end softly.
LEAD_SAMPLES = 100 * SAMPLES_PER_MS
# Without a recognizer that gets all audio, a soft word before the onset would be lost.
GAP_SAMPLES = 1000 * SAMPLES_PER_MS
TAIL_SAMPLES = 200 * SAMPLES_PER_MS
# As in the ledger: finals that end this close before the end of speech cover it.
COVER_SAMPLES = 300 * SAMPLES_PER_MS
# Recognizers round times: a final that reaches so little into a span has not cut a word of it.
CUT_SLACK_SAMPLES = 60 * SAMPLES_PER_MS
# Nobody waits for utterances that ended before the outage; most outages are shorter.
GRACE_S = 2.0
RETRY_S = 1.0
MAX_TRIES = 2
# Length of a piece near the limit: within the 30 s that Whisper processes at once.
PIECE_SAMPLES = 25_000 * SAMPLES_PER_MS
# How long before the limit a piece is requested, and the largest share of the limit that this may be.
BOUND_LEAD_SAMPLES = 20_000 * SAMPLES_PER_MS
BOUND_LEAD_SHARE = 0.4
# A piece is cut at the quietest moment of its last part.
CUT_WINDOW_SAMPLES = 3000 * SAMPLES_PER_MS
QUIET_FRAME_SAMPLES = 20 * SAMPLES_PER_MS
# Less silence than this after an utterance's end is no pause.
PAUSE_SAMPLES = 100 * SAMPLES_PER_MS
# Speech that begins so soon after a cut may still be the word that was cut.
JOIN_SAMPLES = 500 * SAMPLES_PER_MS
MAX_SPANS = 64
NEVER = float("inf")
# So much before the onset may belong to an utterance: the longest pre-roll, and the detector's delay.
PREROLL_SAMPLES = 4000 * SAMPLES_PER_MS


def quietest_sample(pcm: bytes) -> int:
    """The middle of the quietest 20 ms of LINEAR16 audio, in samples from its start; among equals the last."""
    samples = array("h", pcm)
    frames = range(0, max(1, len(samples) - QUIET_FRAME_SAMPLES + 1), QUIET_FRAME_SAMPLES)
    loudness = [max(part) - min(part) if (part := samples[at : at + QUIET_FRAME_SAMPLES]) else 0 for at in frames]
    quietest = min(range(len(loudness)), key=lambda index: (loudness[index], -index))
    return min(frames[quietest] + QUIET_FRAME_SAMPLES // 2, len(samples))


@dataclass(slots=True, frozen=True)
class FallbackAsk:
    """Request recognition of the audio [``start``, ``audio_end``); the response belongs to span ``number``."""

    number: int
    start: int
    end: int
    """The end of what the response settles."""
    voice_end: int
    """The end of the utterance that waits for it."""
    audio_end: int
    reason: str
    urgent: bool
    """Whether an utterance's end waits for it."""


@dataclass(slots=True, frozen=True)
class SettledSpan:
    """``text`` is the speech from ``start`` to ``end``."""

    start: int
    end: int
    text: str
    is_cut: bool = False
    """Whether it ends without a pause, maybe within a word."""


@dataclass(slots=True)
class _Span:
    start: int
    end: int
    """The end of what its response settles."""
    voice_end: int
    """Where the utterance ends; later than ``end`` if that was moved out of a word."""
    due_at: float
    is_piece: bool = False
    is_cut: bool = False
    """Whether it ends without a pause."""
    number: int = 0
    """Number of the pending request; 0 if there is none."""
    tries: int = 0
    text: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether later spans need not wait for it."""
        return self.text is not None or (not self.number and self.tries >= MAX_TRIES)

    def is_covered(self, settled_end: int) -> bool:
        """Whether the settled end reaches its end of speech."""
        return settled_end >= self.end or settled_end > max(self.end - COVER_SAMPLES, (self.start + self.end) // 2)


class FallbackRule:
    """The spans of one call. Pure; one thread.

    :param limit_samples: how much unsettled audio is kept
    """

    def __init__(self, *, limit_samples: int) -> None:
        lead = min(BOUND_LEAD_SAMPLES, int(limit_samples * BOUND_LEAD_SHARE))
        self._piece_when = limit_samples - lead
        self._piece_samples = min(PIECE_SAMPLES, self._piece_when)
        self._spans: list[_Span] = []
        self._speech_start: int | None = None
        self._has_heard_speech = False  # a voice detector that never does may be deaf
        self._rest: tuple[int, int] | None = None
        self._settled_end = 0
        self._trouble = ""
        self._numbers = 0

    @property
    def trouble(self) -> str:
        """Why the recognizer is down; empty if it works."""
        return self._trouble

    @property
    def unanswered(self) -> list[tuple[int, int]]:
        """Begin and end of utterances that wait for a response, or will be requested."""
        return [(span.start, span.voice_end) for span in self._spans if self._trouble and not span.is_over]

    def end_of(self, number: int) -> int | None:
        """Where the span of this request ends; None if the response is not needed any more."""
        span = self._of(number)
        return span.end if span is not None else None

    # --- what happens -----------------------------------------------------------------------------------

    def note_speech(
        self, speaking: bool, sample: int, *, call_end: int, now: float, quietest: Callable[[int, int], int]
    ) -> None:
        """From the endpointer: an utterance begins at ``sample``, or the open one ends there.

        :param call_end: the end of the audio
        :param quietest: the best moment for a cut between two samples
        """
        if speaking:
            self._has_heard_speech = True
            self._speech_start = self._take_rest(sample, now)
            return
        start, self._speech_start = self._speech_start, None
        if start is None or sample <= start:
            return
        start = max([start, self._settled_end, *(span.end for span in self._spans)])
        end = cut = max(start, sample)
        is_cut = call_end - sample < PAUSE_SAMPLES
        if is_cut:
            # It was ended without a pause, because of its length or because no more audio came: maybe within a word.
            cut = quietest(max(start, end - CUT_WINDOW_SAMPLES // 2), end)
            self._rest = (cut, end)
        self._spans.append(_Span(start, cut, end, now if self._trouble else NEVER, is_cut=is_cut))
        del self._spans[:-MAX_SPANS]

    def _take_rest(self, onset: int, now: float) -> int:
        """Where the span of speech beginning at ``onset`` starts: the rest of a cut utterance belongs to speech that
        follows at once, and else is a separate span."""
        if self._rest is None:
            return onset
        (low, high), self._rest = self._rest, None
        if onset - high < JOIN_SAMPLES:
            return low
        if high - low >= PAUSE_SAMPLES:
            self._spans.append(_Span(low, high, high, now if self._trouble else NEVER))
        return onset

    def finish(self, *, now: float) -> None:
        """No more audio will come."""
        if self._rest is not None:
            self._take_rest(self._rest[1] + JOIN_SAMPLES, now)

    def note_trouble(self, reason: str, *, now: float) -> None:
        """The recognizer is down (``outage``, ``failed``, ``off``), or, if empty, works."""
        if reason and not self._trouble:
            for span in self._spans:
                span.due_at = min(span.due_at, now + GRACE_S)
        elif not reason:
            for span in self._spans:
                span.due_at = NEVER
        self._trouble = reason

    def settled(self, settled_end: int) -> None:
        """Speech before ``settled_end`` is settled."""
        self._settled_end = max(self._settled_end, settled_end)
        self._spans = [span for span in self._spans if not span.is_covered(settled_end)]
        for span in self._spans:
            if settled_end > span.start + CUT_SLACK_SAMPLES:
                span.start, span.number, span.text, span.tries = settled_end, 0, None, 0

    def forgotten(self, replay_buffer_start: int) -> None:
        """Audio before ``buffer_start`` is not kept any more: only earlier requests can still recognize it."""
        self._spans = [span for span in self._spans if span.number or span.text or span.end > replay_buffer_start]

    def unneeded_before(self, call_end: int) -> int:
        """The fallback does not need audio before this: the detector found no speech in it."""
        starts = [span.start for span in self._spans]
        starts += [self._speech_start] if self._speech_start is not None else []
        starts += [self._rest[0]] if self._rest is not None else []
        return min(starts, default=call_end - PREROLL_SAMPLES) - LEAD_SAMPLES

    def give_up(self) -> None:
        """No response is awaited any more: publish texts that waited for their turn."""
        for span in self._spans:
            span.number, span.tries = 0, MAX_TRIES

    # --- asking -----------------------------------------------------------------------------------------

    def asks(
        self, *, settled_end: int, call_end: int, now: float, quietest: Callable[[int, int], int]
    ) -> list[FallbackAsk]:
        """The requests due now.

        :param quietest: the best moment for a cut between two samples
        """
        if not self._trouble:
            return []
        self._cut_piece(settled_end, call_end, now, quietest)
        newest_due = max((i for i, span in enumerate(self._spans) if span.due_at <= now), default=-1)
        return [
            self._ask(span, settled_end, call_end)
            for span in self._spans[: newest_due + 1]
            if not span.number and not span.is_over and (span.due_at <= now or not span.tries)
        ]

    def _ask(self, span: _Span, settled_end: int, call_end: int) -> FallbackAsk:
        self._numbers += 1
        span.number, span.tries = self._numbers, span.tries + 1
        before = max([settled_end, *(other.end for other in self._spans if other.end <= span.start)])
        lead = LEAD_SAMPLES if self._trouble == "off" else GAP_SAMPLES
        start, audio_end = min(span.start, max(span.start - lead, before)), span.end
        if span.is_piece:
            start = span.start
        elif span.end == span.voice_end:
            audio_end = max(span.end, min(span.end + TAIL_SAMPLES, call_end))
        reason = "bound" if span.is_piece and self._trouble != "off" else self._trouble
        return FallbackAsk(span.number, start, span.end, span.voice_end, audio_end, reason, urgent=not span.is_piece)

    def _cut_piece(self, settled_end: int, call_end: int, now: float, quietest: Callable[[int, int], int]) -> None:
        """Make a span of the oldest unsettled audio, if it nears the bound and is not one yet."""
        low, first = settled_end, None
        for index, span in enumerate(self._spans):
            if span.start - low > LEAD_SAMPLES and not span.is_over:
                first = index
                break
            low = max(low, span.end)
        if call_end - low <= self._piece_when or len(self._spans) >= MAX_SPANS:
            return
        high = low + self._piece_samples
        begins = [self._spans[first].start] if first is not None else []
        begins += [self._speech_start] if self._speech_start is not None else []
        begins = [begin - LEAD_SAMPLES for begin in begins if begin - LEAD_SAMPLES > low]
        is_cut = not begins or min(begins) > high
        high = quietest(max(low + 1, high - CUT_WINDOW_SAMPLES), high) if is_cut else min(begins)
        piece = _Span(low, high, high, now, is_piece=True, is_cut=is_cut)
        is_spoken = self._speech_start is not None and self._speech_start < high
        if self._has_heard_speech and not is_spoken and not self._rest_is_in(low, high):
            # No speech was detected in it: a fallback would hallucinate words.
            piece.text, piece.is_cut = "", False
        self._spans.insert(len(self._spans) if first is None else first, piece)

    def _rest_is_in(self, low: int, high: int) -> bool:
        return self._rest is not None and self._rest[0] < high and self._rest[1] > low

    def next_deadline(self) -> float | None:
        """When ``asks`` may return more by time alone."""
        if not self._trouble:
            return None
        times = [span.due_at for span in self._spans if not span.number and not span.is_over]
        return min((at for at in times if at != NEVER), default=None)

    # --- answers ----------------------------------------------------------------------------------------

    def answered(self, number: int, text: str) -> None:
        """The fallback's text for request ``number``; empty if it has no words."""
        span = self._of(number)
        if span is not None:
            span.number, span.text = 0, text

    def failed(self, number: int, *, now: float) -> bool:
        """The fallback failed for request ``number``.

        :return: whether it failed for good
        """
        span = self._of(number)
        if span is None:
            return False
        span.number, span.due_at = 0, now + RETRY_S
        return span.is_over

    def take_settled(self, is_known: Callable[[int], bool]) -> SettledSpan | None:
        """The next text, unless the recognizer is back and has results for the same speech.

        One at a time, since settling it may settle more. A span without words, or without a response, keeps its
        place until words after it are settled: until then the recognizer may return and recognize it. If it never
        will, or the limit is near, silence is settled too.

        :param is_known: whether a working recognizer has results up to this sample: its final will settle them
        """
        for index, span in enumerate(self._spans):
            if not span.is_over:
                break
            if span.text and is_known(span.end):
                span.text, span.tries, span.due_at = None, 0, NEVER
                break
            is_last_word = (span.is_piece and span.text is not None) or self._trouble in ("off", "failed")
            if span.text or is_last_word:
                del self._spans[: index + 1]
                return SettledSpan(span.start, span.end, span.text or "", span.is_cut)
        return None

    def _of(self, number: int) -> _Span | None:
        return next((span for span in self._spans if span.number == number and number), None)
