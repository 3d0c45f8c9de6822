"""The transcript ledger: which words belong to which utterance.

It is known of every word when it was said, exactly or within a span, and its utterance is a function of that and of
the utterances (``assignment``). The *settled end* is where the last final ends. Words before it are settled: they stay
where they were assigned. Words after it are the newest interim's, assigned anew at each change, so that an utterance's
text is ready at its deadline. Amendments are found by comparing an utterance's text with what was published of it.

Invariants: one ``utterance_end`` per utterance, then only ``amended``; each word of a final is assigned to exactly one
utterance; a committed word stays with its utterance unless a final says otherwise.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from operator import attrgetter, itemgetter

from fastcall._codec import Debouncer
from fastcall.events import SAMPLES_PER_MS, RecognitionEvent, TranscriptEvent, TranscriptEventName
from fastcall.recognition.alignment import matching_prefix, words_before
from fastcall.recognition.assignment import ORPHAN_SAMPLES, Span, assign, carried, nearest
from fastcall.recognition.fallback_policy import GAP_SAMPLES
from fastcall.recognition.tokenization import joined, tokens_by_word, tokens_of
from fastcall.recognition.utterance import COVER_TOLERANCE_SAMPLES, Utterance

__all__ = ["TranscriptLedger"]

# Utterances that a final may still reach. Google sends finals within seconds, rarely after a minute.
MAX_KEPT = 64
# The pace of fast speech: words that an interim is the first to have are the last before its end.
WORD_SAMPLES = 200 * SAMPLES_PER_MS
AT_ONCE = float("-inf")

_Shares = list[tuple[Utterance, list[str]]]


class TranscriptLedger:
    """The utterances of one call and their words. Pure; one thread.

    :param commit_s: how long after ``end`` an utterance waits for its finals
    :param debounce_s: minimum interval between the call's partials
    """

    def __init__(self, *, commit_s: float, debounce_s: float) -> None:
        self._commit_s = commit_s
        self._debouncer = Debouncer(debounce_s)
        self._utterances: list[Utterance] = []
        self._next_id = 1
        self._settled_end = 0
        self._interim_end = 0
        self._words: list[str] = []
        """Those after the settled end, of the newest interim."""
        self._spans: list[Span] = []
        """When each of them was said."""
        self._out: list[TranscriptEvent] = []

    # --- what happens ---------------------------------------------------------------------------

    def begin(self, start_sample: int, *, now: float, voice_sample: int | None = None) -> int:
        """An utterance begins at ``start_sample`` (call time), or at the end of the previous one, if that is later: a
        final may arrive before the detector notices the voice, and create an utterance.

        :param voice_sample: where voice was first detected, after the pre-roll; by default ``start_sample``
        :return: its id, counted from 1 in the order in which they begin
        """
        if self._utterances:
            self.end(start_sample, now=now)
            start_sample = max(start_sample, self._utterances[-1].end_sample or 0)
        # Words that were committed are not the new utterance's, even if they were heard after its onset.
        for index in range(sum(len(u.unsettled) for u in self._utterances if u.committed is not None)):
            low, high = self._spans[index]
            self._spans[index] = min(low, start_sample), min(high, start_sample)
        # The waiting partial is the previous utterance's, and the new one may have the same text.
        self._debouncer.reset()
        utterance = self._new(start_sample, max(start_sample, voice_sample or 0))
        self._assign_unsettled()
        self._offer_partial(now)
        return utterance.id

    def end(self, end_sample: int, *, now: float) -> int | None:
        """The newest utterance's speech ended at ``end_sample``; it is committed when finals cover that, or
        at its deadline.

        :return: its id, or None if none is open
        """
        utterance = self._utterances[-1] if self._utterances else None
        if utterance is None or utterance.end_sample is not None:
            return None
        utterance.end_sample = max(end_sample, utterance.start_sample)
        utterance.commit_at = now + self._commit_s
        if utterance.is_covered(self._settled_end):
            self._assign_unsettled()
            self._commit_due(now)
        return utterance.id

    def receive(self, event: RecognitionEvent, *, now: float) -> None:
        """A result of the recognizer. Late ones, and ones that span several utterances, are normal."""
        tokens = tokens_of(event.text)
        if event.kind == "final":
            if event.start_sample is not None and event.start_sample > self._settled_end:
                self._keep_words_before(event.start_sample, event.end_sample, tokens)
            self._settle(event, tokens)
            self._commit_due(now)
            self._amend(self._utterances)
            self._prune()
        else:
            self._take_interim(event, tokens)
            if not tokens:
                # Nothing is left after the finals: what an earlier interim had beyond them is retracted.
                self._amend([u for u in self._utterances if u.settled])
        self._offer_partial(now)

    def reschedule(self, end_sample: int, *, commit_at: float) -> int | None:
        """The utterance that ended at ``end_sample`` waits until ``commit_at``, unless it is committed; its id."""
        for utterance in self._utterances:
            if utterance.end_sample == end_sample:
                utterance.commit_at = commit_at if utterance.committed is None else None
                return utterance.id
        return None

    def finish(self, *, now: float) -> None:
        """No more results will come: commit everything with the words known."""
        self.end(max(self._interim_end, self._settled_end), now=now)
        for utterance in self._utterances:
            if utterance.committed is None:
                utterance.commit_at = AT_ONCE
        self._commit_due(now)

    @property
    def open_text(self) -> str | None:
        """The text so far of the newest utterance, until it is committed; then None."""
        newest = self._utterances[-1] if self._utterances else None
        return newest.text if newest is not None and newest.committed is None else None

    # --- time ----------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` has something to do, or None."""
        times = [u.commit_at for u in self._utterances if u.commit_at is not None]
        if self._debouncer.deadline is not None:
            times.append(self._debouncer.deadline)
        return min(times, default=None)

    def handle_deadline(self, *, now: float) -> None:
        """Commit what is due and publish a waiting partial."""
        self._commit_due(now)
        self._emit_partial(self._debouncer.fire(now=now))

    def take(self) -> list[TranscriptEvent]:
        """The events since the last call, in order."""
        out, self._out = self._out, []
        return out

    # --- words ---------------------------------------------------------------------------------

    def _take_interim(self, event: RecognitionEvent, tokens: list[str]) -> None:
        spans = carried(self._spans, self._words, tokens)
        new = len(tokens) - len(spans)
        if new > 0:
            last_low, last_high = spans[-1] if spans else (0, 0)
            high = max(event.end_sample, last_high)
            # An interim that ends before the one that it replaces is another stream's, and shows nothing of new words.
            known_to = self._interim_end if self._interim_end < event.end_sample else 0
            low = max(self._settled_end, known_to, last_low, high - new * WORD_SAMPLES)
            spans = spans + [(min(low, high), high)] * new
        self._words, self._spans, self._interim_end = tokens, spans, event.end_sample
        self._assign_unsettled(event.source)

    def _assign_unsettled(self, source: str | None = None) -> None:
        """Assign the words after the settled end to the utterances that finals do not cover."""
        uncovered = []
        for utterance in self._utterances:
            utterance.unsettled = []
            if not utterance.is_covered(self._settled_end):
                uncovered.append(utterance)
        for utterance, words in zip(uncovered, assign(self._words, self._spans, uncovered), strict=True):
            if words:
                utterance.unsettled = words
                utterance.source = source or utterance.source

    def _settle(self, event: RecognitionEvent, tokens: list[str]) -> None:
        for utterance, words in self._share_out(event, tokens):
            utterance.settled += words
            utterance.source = event.source
            self._emit("final", utterance, joined(words), event.end_sample)
        self._drop(self._settled_by(event, tokens))
        self._settled_end = max(self._settled_end, event.end_sample)
        self._assign_unsettled(event.source)

    def _settled_by(self, event: RecognitionEvent, tokens: list[str]) -> int:
        """How many words after the settled end this final settles."""
        if event.end_sample >= self._interim_end - COVER_TOLERANCE_SAMPLES:
            return len(self._words)
        return matching_prefix(tokens, self._words)

    def _drop(self, count: int) -> None:
        self._words, self._spans = self._words[count:], self._spans[count:]

    def _keep_words_before(self, start: int, end: int, tokens: list[str]) -> None:
        """Nothing will settle words that a final of one span leaves out: keep interim words there."""
        over = [u for u in self._utterances if u.end_sample is not None and u.start_sample < end]
        # The fallback may also return a word before an onset: its audio is longer than the span.
        sure = sum(len(u.unsettled) for u in over if (u.end_sample or 0) <= start)
        likely = sum(len(u.unsettled) for u in over if u.start_sample < start)
        sure = max(sure, bisect_right(self._spans, start - GAP_SAMPLES, key=itemgetter(1)))
        likely = max(likely, bisect_right(self._spans, start, key=itemgetter(1)))
        count = words_before(self._words, tokens, sure=sure, likely=likely)
        for utterance in over:
            kept = utterance.unsettled[:count]
            utterance.settled += kept
            self._drop(len(kept))
            count -= len(kept)
        self._settled_end = start

    def _share_out(self, event: RecognitionEvent, tokens: list[str]) -> _Shares:
        """Assign a final's words to utterances, in order of time."""
        begun = [u for u in self._utterances if u.start_sample < event.end_sample]
        if event.words:
            return self._by_word_times(event, begun)
        # Without word times, a final reaches an utterance only if its span does.
        reached = [u for u in begun if u.end_sample is None or u.end_sample > self._settled_end]
        if tokens and not reached:
            reached = [self._orphan(self._settled_end, event.end_sample)]
        known = self._settled_by(event, tokens)
        spans = carried(self._spans[:known], self._words[:known], tokens)
        low = spans[-1][1] if spans else self._settled_end
        spans += [(low, max(low, event.end_sample))] * (len(tokens) - len(spans))
        return [(u, words) for u, words in zip(reached, assign(tokens, spans, reached), strict=True) if words]

    def _by_word_times(self, event: RecognitionEvent, utterances: list[Utterance]) -> _Shares:
        by_word = tokens_by_word(event.text, [word.text for word in event.words])
        result: dict[int, tuple[Utterance, list[str]]] = {}
        orphan: Utterance | None = None
        for tokens, word in zip(by_word, event.words, strict=True):
            if not tokens:
                continue
            owner = nearest(word, utterances)
            if owner is None:
                owner = orphan = self._orphan(word.start_sample, word.end_sample)
                utterances.append(orphan)
            elif owner is orphan:
                orphan.end_sample = max(orphan.end_sample or 0, word.end_sample)
            result.setdefault(owner.id, (owner, []))[1].extend(tokens)
        return list(result.values())

    # --- utterances ----------------------------------------------------------------------------

    def _new(self, start_sample: int, voice_sample: int) -> Utterance:
        utterance = Utterance(self._next_id, start_sample, voice_sample)
        self._next_id += 1
        insort(self._utterances, utterance, key=attrgetter("start_sample"))
        self._out.append(TranscriptEvent("utterance_begin", utterance.id, start_sample=start_sample))
        return utterance

    def _orphan(self, start_sample: int, end_sample: int) -> Utterance:
        """Make text outside all utterances a new utterance, begun and ended at once."""
        newest = self._utterances[-1:]
        is_open = bool(newest) and newest[0].end_sample is None
        if is_open:
            self._utterances.pop()
            start_sample = min(start_sample, newest[0].start_sample)
        utterance = self._new(start_sample, start_sample)
        if is_open:
            self._utterances += newest  # it must stay the newest, or it would never be ended
        utterance.end_sample, utterance.commit_at = end_sample, AT_ONCE
        return utterance

    def _commit_due(self, now: float) -> None:
        """Commit the utterances that finals cover, and those whose deadline has passed."""
        for utterance in self._utterances:
            if utterance.commit_at is None:
                continue
            if now >= utterance.commit_at or utterance.is_covered(self._settled_end):
                utterance.commit_at, utterance.committed = None, utterance.text
                if utterance is self._utterances[-1]:
                    self._debouncer.reset()
                self._emit("utterance_end", utterance, utterance.committed)

    def _amend(self, utterances: Sequence[Utterance]) -> None:
        for utterance in utterances:
            text = utterance.text
            if utterance.committed is not None and text != utterance.committed:
                utterance.committed = text
                self._emit("amended", utterance, text)

    def _prune(self) -> None:
        """Drop utterances that no final can reach any more."""
        reach_back = self._settled_end - ORPHAN_SAMPLES
        newest = self._utterances[-1:]
        kept = [u for u in self._utterances[:-1] if u.committed is None or (u.end_sample or 0) > reach_back]
        self._utterances = (kept + newest)[-MAX_KEPT:]

    # --- events --------------------------------------------------------------------------------

    def _offer_partial(self, now: float) -> None:
        text = self.open_text
        if text:
            self._emit_partial(self._debouncer.offer(text, now=now))

    def _emit_partial(self, text: str | None) -> None:
        """A waiting partial is the newest utterance's: its commit, and the next one's begin, discard it."""
        if text is not None:
            self._emit("partial", self._utterances[-1], text)

    def _emit(self, event: TranscriptEventName, utterance: Utterance, text: str, end_sample: int | None = None) -> None:
        end_sample = utterance.end_sample if end_sample is None else end_sample
        self._out.append(
            TranscriptEvent(event, utterance.id, text, utterance.start_sample, end_sample, utterance.source)
        )
