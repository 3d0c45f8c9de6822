"""The transcript ledger: which words belong to which utterance.

Goals: every word from the recognizer is assigned to exactly one utterance, the one in which it was spoken, however
late the final arrives and however many utterances it spans; an utterance's text is ready at its deadline, from
finals as far as they go and from the newest interim beyond; a later final that differs amends it.

Model: the *settled end* is where the last final ends. Speech before it is settled. Speech after it is known only from
the newest interim, whose words are assigned to the utterances there in order (their *claims*). A final replaces the
claims of its span.

Invariants: one `utterance_end` per utterance, then only `amended`; a final's word is assigned once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fastcall._codec import Debouncer
from fastcall.events import SAMPLES_PER_MS, RecognitionEvent, TranscriptEvent, TranscriptEventName
from fastcall.recognition.alignment import matching_prefix, words_before
from fastcall.recognition.fallback_policy import GAP_SAMPLES
from fastcall.recognition.tokenization import joined, tokens_by_word, tokens_of
from fastcall.recognition.utterance import COVER_TOLERANCE_SAMPLES, Utterance

__all__ = ["TranscriptLedger"]

# A word this far outside all utterances belongs to none of them.
ORPHAN_SAMPLES = 1000 * SAMPLES_PER_MS
# An interim that ends this close to an onset was still about the utterance before.
ONSET_SLACK_SAMPLES = 100 * SAMPLES_PER_MS
# Utterances that a final may still reach. Google sends finals within seconds, rarely after a minute.
MAX_KEPT = 64
RECENT_INTERIMS = 16


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
        self._interim: list[str] = []
        self._interim_end = 0
        self._recent: deque[tuple[int, int]] = deque(maxlen=RECENT_INTERIMS)
        self._out: list[TranscriptEvent] = []

    # --- what happens ---------------------------------------------------------------------------

    def begin(self, start_sample: int, *, now: float, voice_sample: int | None = None) -> int:
        """An utterance begins at ``start_sample`` (call time), or at the end of the previous one, if that is later: a
        final may arrive before the detector notices the voice, and create an utterance.

        :param voice_sample: where voice was first detected, after the pre-roll; by default ``start_sample``
        :return: its id, counted from 1 in the order in which they begin
        """
        before = self._utterances[-1] if self._utterances else None
        if before is not None:
            if before.end_sample is None:
                self.end(start_sample, now=now)
            start_sample = max(start_sample, before.end_sample or 0)
        # The waiting partial is the previous utterance's, and the new one may have the same text.
        self._debouncer.reset()
        utterance = self._new(start_sample, max(start_sample, voice_sample or 0))
        if before is not None and before.claim:
            del before.claim[self._claimed_before(before, utterance) :]
        self._deal_interim()
        self._offer_partial(now)
        return utterance.id

    def _claimed_before(self, before: Utterance, utterance: Utterance) -> int:
        """How many words of ``before``'s claim stay with it when ``utterance`` begins.

        Words of an interim that reached past the onset may be the new utterance's.
        """
        known = [n for end, n in self._recent if end <= utterance.voice_sample + ONSET_SLACK_SAMPLES]
        if known:
            others = sum(len(u.claim) for u in self._open_for_text() if u not in (before, utterance))
            return max(0, known[-1] - others)
        return round(len(before.claim) * self._speech_share([before, utterance], self._interim_end))

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
            self._commit(utterance)
        return utterance.id

    def receive(self, event: RecognitionEvent, *, now: float) -> None:
        """A result of the recognizer. Late ones, and ones that span several utterances, are normal."""
        if event.kind == "final":
            if event.start_sample is not None:
                self._keep_claims_before(event, event.start_sample)
            self._receive_final(event)
            self._commit_covered(now)
            self._amend(self._utterances)
            self._prune()
        else:
            self._interim = tokens_of(event.text)
            self._interim_end = event.end_sample
            self._deal_interim(event.source)
            self._recent.append((event.end_sample, len(self._interim)))
            if not self._interim:
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
        if self._utterances and self._utterances[-1].end_sample is None:
            self.end(max(self._interim_end, self._settled_end, self._utterances[-1].start_sample), now=now)
        for utterance in self._utterances:
            if utterance.committed is None:
                self._commit(utterance)

    # --- time ----------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` has something to do, or None."""
        times = [u.commit_at for u in self._utterances if u.commit_at is not None]
        if self._debouncer.deadline is not None:
            times.append(self._debouncer.deadline)
        return min(times, default=None)

    def handle_deadline(self, *, now: float) -> None:
        """Commit what is due and publish a waiting partial."""
        for utterance in self._utterances:
            if utterance.commit_at is not None and now >= utterance.commit_at:
                self._commit(utterance)
        text = self._debouncer.fire(now=now)
        if text is not None:
            self._emit_partial(text)

    def take(self) -> list[TranscriptEvent]:
        """The events since the last call, in order."""
        out, self._out = self._out, []
        return out

    # --- interims ------------------------------------------------------------------------------

    def _open_for_text(self) -> list[Utterance]:
        """The utterances that words after the settled end may belong to, in order."""
        return [u for u in self._utterances if not u.is_covered(self._settled_end)]

    def _deal_interim(self, source: str | None = None) -> None:
        """Divide the interim: an earlier utterance keeps what it claimed, the newest gets the rest.

        The newest is the one that the interim reaches. During a replay, interims are many utterances behind the call.
        """
        rest = self._interim
        utterances = self._open_for_text()
        reached = [u for u in utterances if u.start_sample <= self._interim_end + ONSET_SLACK_SAMPLES]
        utterances, beyond = (reached or utterances[:1]), utterances[len(reached) or 1 :]
        for utterance in beyond:
            utterance.claim = []
        for utterance in utterances[:-1]:
            taken = matching_prefix(utterance.claim, rest)
            if taken < len(rest):
                utterance.claim = rest[:taken]  # maybe corrected by now
            rest = rest[taken:]
        if utterances:
            utterances[-1].claim = list(rest)
            utterances[-1].source = source or utterances[-1].source

    def _offer_partial(self, now: float) -> None:
        utterance = self._active()
        if utterance is None or not utterance.text:
            return
        text = self._debouncer.offer(utterance.text, now=now)
        if text is not None:
            self._emit_partial(text)

    def _active(self) -> Utterance | None:
        newest = self._utterances[-1] if self._utterances else None
        return newest if newest is not None and newest.committed is None else None

    def _emit_partial(self, text: str) -> None:
        utterance = self._active()
        if utterance is not None:
            self._emit("partial", utterance, text)

    # --- finals --------------------------------------------------------------------------------

    def _keep_claims_before(self, event: RecognitionEvent, start: int) -> None:
        """Nothing will settle words that a final of one span leaves out: keep interim words there."""
        if start > self._settled_end:
            claimants = self._open_for_text()
            over = [u for u in claimants if u.end_sample is not None and u.start_sample < event.end_sample]
            # The fallback may also return a word before an onset: its audio is longer than the span.
            told_before = self._interim_end <= start - GAP_SAMPLES
            certain = [u for u in over if told_before or (u.end_sample or 0) <= start]
            begun = [u for u in over if u in certain or u.start_sample < start or self._interim_end <= start]
            known = [word for u in claimants for word in u.claim]
            sure, likely = (sum(len(u.claim) for u in some) for some in (certain, begun))
            count = words_before(known, tokens_of(event.text), sure=sure, likely=likely)
            self._interim = self._interim[matching_prefix(known[:count], self._interim) :]
            for utterance in over:
                kept = utterance.claim[:count]
                utterance.settled, utterance.claim = utterance.settled + kept, utterance.claim[count:]
                count -= len(kept)
        self._settled_end = max(self._settled_end, start)

    def _receive_final(self, event: RecognitionEvent) -> None:
        tokens = tokens_of(event.text)
        shares = self._share_out(event, tokens)
        self._take_from_claims(tokens)
        for utterance, words in shares:
            if words:
                utterance.settled += words
                utterance.source = event.source
                self._out.append(
                    TranscriptEvent(
                        "final", utterance.id, joined(words), utterance.start_sample, event.end_sample, event.source
                    )
                )
        known = len(self._interim)
        if event.end_sample >= self._interim_end - COVER_TOLERANCE_SAMPLES:
            self._interim = []
        else:
            self._interim = self._interim[matching_prefix(tokens, self._interim) :]
        settled = known - len(self._interim)
        recent = [(end, max(0, count - settled)) for end, count in self._recent if end > event.end_sample]
        self._recent = deque(recent, maxlen=RECENT_INTERIMS)
        self._settled_end = max(self._settled_end, event.end_sample)
        for utterance in self._utterances:
            if utterance.is_covered(self._settled_end):
                utterance.claim = []
        self._deal_interim(event.source)

    def _take_from_claims(self, tokens: list[str]) -> None:
        """Remove a final's words from all claims, also of utterances that do not get them."""
        claimants = self._open_for_text()
        count = matching_prefix(tokens, [word for utterance in claimants for word in utterance.claim])
        for utterance in claimants:
            taken = min(count, len(utterance.claim))
            del utterance.claim[:taken]
            count -= taken

    def _share_out(self, event: RecognitionEvent, tokens: list[str]) -> list[tuple[Utterance, list[str]]]:
        """Assign a final's words to utterances, in order of time."""
        if not tokens:
            return []
        reach_back = self._settled_end - ORPHAN_SAMPLES
        candidates = [
            u
            for u in self._utterances
            if u.start_sample < event.end_sample and (u.end_sample is None or u.end_sample > reach_back)
        ]
        if event.words:
            return self._share_by_time(event, candidates)
        # Without word times, a final reaches an utterance only if its span does.
        candidates = [u for u in candidates if u.end_sample is None or u.end_sample > self._settled_end]
        if not candidates:
            own = self._orphan(self._settled_end, event.end_sample)
            return [(own, tokens)]
        return self._share_by_claim(event, tokens, candidates)

    def _share_by_time(self, event: RecognitionEvent, candidates: list[Utterance]) -> list[tuple[Utterance, list[str]]]:
        shares: list[tuple[Utterance, list[str]]] = []
        orphan: Utterance | None = None
        by_word = tokens_by_word(event.text, [word.text for word in event.words])
        for tokens, word in zip(by_word, event.words, strict=True):
            if not tokens:
                continue
            owner = min(candidates, key=lambda u: u.distance(word), default=None)
            if owner is None or owner.distance(word) > ORPHAN_SAMPLES:
                owner = orphan = self._orphan(word.start_sample, word.end_sample)
                candidates = [*candidates, owner]
            elif owner is orphan:
                owner.end_sample = max(owner.end_sample or 0, word.end_sample)
            if shares and shares[-1][0] is owner:
                shares[-1][1].extend(tokens)
            else:
                shares.append((owner, tokens))
        return shares

    def _share_by_claim(
        self, event: RecognitionEvent, tokens: list[str], candidates: list[Utterance]
    ) -> list[tuple[Utterance, list[str]]]:
        shares: list[tuple[Utterance, list[str]]] = []
        rest = tokens
        for index, utterance in enumerate(candidates[:-1]):
            if utterance.claim:
                count = matching_prefix(utterance.claim, rest)
            else:
                count = round(len(rest) * self._speech_share(candidates[index:], event.end_sample))
            shares.append((utterance, rest[:count]))
            rest = rest[count:]
        shares.append((candidates[-1], rest))
        return shares

    def _speech_share(self, utterances: Sequence[Utterance], end_sample: int) -> float:
        """The first utterance's share of the speech time of all, within the final's span."""
        lengths = [
            max(0, min(u.end_sample or end_sample, end_sample) - max(u.start_sample, self._settled_end))
            for u in utterances
        ]
        return lengths[0] / sum(lengths) if sum(lengths) else 1.0

    def _orphan(self, start_sample: int, end_sample: int) -> Utterance:
        """Make text outside all utterances a new utterance, begun and ended at once."""
        utterance = self._new(start_sample, start_sample, keep_order=True)
        utterance.end_sample = end_sample
        utterance.commit_at = float("-inf")
        return utterance

    # --- commit --------------------------------------------------------------------------------

    def _commit_covered(self, now: float) -> None:
        for utterance in self._utterances:
            if utterance.commit_at is None:
                continue
            if utterance.is_covered(self._settled_end) or now >= utterance.commit_at:
                self._commit(utterance)

    def _commit(self, utterance: Utterance) -> None:
        utterance.commit_at = None
        if utterance.is_covered(self._settled_end):
            utterance.claim = []
        utterance.committed = utterance.text
        if utterance is self._utterances[-1]:
            self._debouncer.reset()
        self._emit("utterance_end", utterance, utterance.committed)

    def _amend(self, utterances: Sequence[Utterance]) -> None:
        for utterance in utterances:
            if utterance.committed is not None and utterance.text != utterance.committed:
                utterance.committed = utterance.text
                self._emit("amended", utterance, utterance.committed)

    def _prune(self) -> None:
        """Drop utterances that no final can reach any more."""
        reach_back = self._settled_end - ORPHAN_SAMPLES
        newest = self._utterances[-1:]
        kept = [
            u for u in self._utterances[:-1] if u.committed is None or u.end_sample is None or u.end_sample > reach_back
        ]
        self._utterances = (kept + newest)[-MAX_KEPT:]

    def _new(self, start_sample: int, voice_sample: int, *, keep_order: bool = False) -> Utterance:
        utterance = Utterance(self._next_id, start_sample, voice_sample)
        self._next_id += 1
        position = len(self._utterances)
        if keep_order:
            while position and self._utterances[position - 1].start_sample > start_sample:
                position -= 1
        self._utterances.insert(position, utterance)
        self._out.append(TranscriptEvent("utterance_begin", utterance.id, start_sample=start_sample))
        return utterance

    def _emit(self, event: TranscriptEventName, utterance: Utterance, text: str) -> None:
        self._out.append(
            TranscriptEvent(event, utterance.id, text, utterance.start_sample, utterance.end_sample, utterance.source)
        )
