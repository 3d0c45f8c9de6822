"""Points a session's partials and finals at the utterance that is being spoken.

For code that finds the utterances itself (its own voice detector, a push-to-talk key): ``begin`` when one starts,
``await end()`` when it is over. The rules are those of ``TranscriptLedger``; this is their clock and their timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from fastcall.events import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_MS,
    FallbackAsked,
    FallbackSilent,
    RecognitionEvent,
    TranscriptEvent,
)
from fastcall.rules.ledger import TranscriptLedger

__all__ = ["TranscriptSource", "UtteranceDispatcher"]


class TranscriptSource(Protocol):
    """A session, as a dispatcher sees it: ``RecognitionSession`` and ``StreamingSTTSession`` both are one."""

    @property
    def call_samples(self) -> int:
        """Audio that was pushed so far, in samples at 8 kHz."""

    def add_listener(self, listener: Callable[..., None]) -> None:
        """Tell ``listener`` every event, on whichever thread the session has."""


@runtime_checkable
class UtteranceListener(Protocol):
    """A session that wants to know the utterances, for its fallback: both of the above."""

    def note_utterance(self, begins: bool, sample: int) -> None:
        """An utterance begins at ``sample`` of the audio, or the open one ends there. Returns at once."""


class UtteranceDispatcher:
    """The utterances of one session. ``begin`` and ``end`` belong to one event loop's thread; the session's events may
    come from another.

    :param session: whose results these are; its audio is the clock. Without one, wire ``on_partial`` and ``on_final``
        to a session's callbacks: results then count when they arrive, which is rougher
    :param commit_ms: how long ``end`` waits for a final
    :param debounce_ms: partials are never closer than this
    :param preroll_ms: audio before ``begin`` that belongs to the utterance
    :param fallback_timeout_ms: how long ``end`` waits for the fallback while the recogniser cannot serve
    :param on_amended: called with an utterance's id and its whole new text when a late final changed it
    """

    def __init__(
        self,
        session: TranscriptSource | None = None,
        *,
        commit_ms: int = 300,
        debounce_ms: int = 180,
        preroll_ms: int = 300,
        fallback_timeout_ms: int = 2000,
        on_amended: Callable[[int, str], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ledger = TranscriptLedger(commit_s=commit_ms / 1000, debounce_s=debounce_ms / 1000)
        self._fallback_wait_s = fallback_timeout_ms / 1000
        self._preroll_samples = preroll_ms * SAMPLES_PER_MS
        self._on_amended = on_amended
        self._started_at = self._loop.time()
        self._session = session
        self._partial_cbs: dict[int, Callable[[str], None]] = {}
        self._ends: dict[int, asyncio.Future[str]] = {}
        self._floor_sample = 0
        self._timer: asyncio.TimerHandle | None = None
        if session is not None:
            session.add_listener(self._heard)

    def begin(self, partial_cb: Callable[[str], None] | None = None) -> int:
        """An utterance begins now.

        :param partial_cb: called on this loop with the utterance's text so far, debounced
        :return: the utterance's id
        """
        now_sample = self._now_sample()
        start = max(self._floor_sample, now_sample - self._preroll_samples, 0)
        utterance_id = self._ledger.begin(start, now=self._loop.time(), voice_sample=max(start, now_sample))
        if partial_cb is not None:
            self._partial_cbs[utterance_id] = partial_cb
        self._note_utterance(True, start)
        self._step()
        return utterance_id

    async def end(self, *, silence_ms: int = 0) -> str:
        """The utterance is over: its text, from finals as soon as they cover it, else after ``commit_ms`` with what
        is known by then.

        :param silence_ms: how much of the audio's end is known to be silence (a voice detector's hangover)
        :return: the committed text; empty if no utterance was begun
        """
        end_sample = max(self._floor_sample, self._now_sample() - silence_ms * SAMPLES_PER_MS)
        utterance_id = self._ledger.end(end_sample, now=self._loop.time())
        if utterance_id is None:
            return ""
        self._floor_sample = end_sample
        committed: asyncio.Future[str] = self._loop.create_future()
        self._ends[utterance_id] = committed
        self._note_utterance(False, end_sample)
        self._step()
        return await committed

    # --- results, from any thread -----------------------------------------------------------------------

    def on_partial(self, text: str) -> None:
        """A session's text since its last final, for wiring without a ``session``. Any thread."""
        self._heard(RecognitionEvent("interim", text, self._now_sample(), "callback"))

    def on_final(self, text: str) -> None:
        """A session's final, for wiring without a ``session``. Any thread."""
        self._heard(RecognitionEvent("final", text, self._now_sample(), "callback"))

    def _heard(self, event: object) -> None:
        if isinstance(event, RecognitionEvent | FallbackAsked | FallbackSilent):
            self._loop.call_soon_threadsafe(self._receive, event)

    def _receive(self, event: RecognitionEvent | FallbackAsked | FallbackSilent) -> None:
        now = self._loop.time()
        if isinstance(event, RecognitionEvent):
            self._ledger.receive(event, now=now)
        else:
            wait_s = self._fallback_wait_s if isinstance(event, FallbackAsked) else 0.0
            self._ledger.reschedule(event.end_sample, commit_at=now + wait_s)
        self._step()

    def _note_utterance(self, begins: bool, sample: int) -> None:
        if isinstance(self._session, UtteranceListener):
            self._session.note_utterance(begins, sample)

    # --- the ledger's clock -----------------------------------------------------------------------------

    def _now_sample(self) -> int:
        if self._session is not None:
            return self._session.call_samples
        return int((self._loop.time() - self._started_at) * SAMPLE_RATE_HZ)

    def _step(self) -> None:
        for event in self._ledger.take():
            self._hand_out(event)
        due_at = self._ledger.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_at is not None:
            self._timer = self._loop.call_at(due_at, self._timer_fired, due_at)

    def _timer_fired(self, planned: float) -> None:
        self._timer = None
        self._ledger.handle_deadline(now=max(planned, self._loop.time()))
        self._step()

    def _hand_out(self, event: TranscriptEvent) -> None:
        utterance_id, text = event.utterance_id or 0, event.text or ""
        if event.event == "partial":
            partial_cb = self._partial_cbs.get(utterance_id)
            if partial_cb is not None:
                partial_cb(text)
        elif event.event == "utterance_end":
            self._partial_cbs.pop(utterance_id, None)
            committed = self._ends.pop(utterance_id, None)
            if committed is not None and not committed.done():
                committed.set_result(text)
        elif event.event == "amended" and self._on_amended is not None:
            self._on_amended(utterance_id, text)
