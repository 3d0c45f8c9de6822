"""Runs replies: one at a time, for each utterance, cancelled when the caller interrupts, started early if configured.

A reply started on a stable interim is *speculative*: its audio is generated but held back until the text is committed.
With the same words it is then sent at once; with others, the reply is cancelled and restarted.

A correction of the committed text restarts the reply as well, unless some of its audio was sent or ``wait_committed``
has returned: then it is only reported to it. Everything happens on the event loop; replies are tasks that this module
owns and ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextvars import ContextVar, copy_context

from fastcall.agent.heard_text import Heard
from fastcall.agent.player import MAX_SPEECHES, AudioPlayer, Speech
from fastcall.aio.event_queue import EventQueue
from fastcall.aio.stall_monitor import watch_steps
from fastcall.events import Amendment, BargeIn, CallEvent, Partial, Utterance
from fastcall.turns.speculation import Outcome, Speculation

__all__ = ["Reply", "ReplyRunner", "Turn", "current_turn"]

# uvloop's clock has whole milliseconds, and its timers may be early by one.
CLOCK_TICK_S = 0.001

Reply = Callable[["Turn"], Awaitable[None]]

current_turn: ContextVar[Turn | None] = ContextVar("fastcall_turn", default=None)
"""The turn that this task replies to."""


class Turn:
    """The utterance that a reply answers. Loop thread only."""

    def __init__(
        self, text: str, utterance_id: int, *, is_committed: bool, began_at: float, interrupted: Heard | None = None
    ) -> None:
        self.text = text
        """The utterance's text; of a speculative reply the interim's, whose words the committed text must have too."""
        self.utterance_id = utterance_id
        self.is_committed = is_committed
        """Whether the text is committed. Call ``wait_committed`` before side effects (a booking, a payment)."""
        self.interrupted = interrupted
        """What was heard of the previous answer, if this turn or a barge-in before it cut it off; else None. Known once
        the text is committed. ``is_whole``: its reply was still running, but all that it had said was heard."""
        self.corrected_text: str | None = None
        """The newest text, if a late final has changed it; empty if nothing was said after all. Set before the reply
        is cancelled for it."""
        self.began_at = began_at
        self.ready_at: float | None = None
        self.is_cut = False
        """Whether the reply was cancelled: what it still says is not played."""
        self.is_binding = False
        """Whether it may have had side effects: it is not restarted any more."""
        self._is_dropped = False
        self._held: list[Speech] = []
        self._speeches: deque[Speech] = deque(maxlen=MAX_SPEECHES)
        self._was_sent = False
        self._corrections: EventQueue[str] = EventQueue(
            1, on_drop=lambda: None, is_newer=lambda waiting, correction: True
        )
        self._committed = asyncio.Event()
        if is_committed:
            self._committed.set()

    async def wait_committed(self) -> None:
        """Return when the text is committed. If its words have changed, the reply is cancelled here. Afterwards it is
        not restarted for a correction: call this late, directly before the first side effect."""
        await self._committed.wait()
        self.is_binding = True

    async def corrections(self) -> AsyncIterator[str]:
        """Iterate over corrections of the text while the reply goes on: each the whole text, or empty if nothing was
        said after all. Ends with the turn or the call; a newer correction replaces one not read yet. One reader, best
        in its own task: a reply that waits here is still running, and no speculative reply starts meanwhile."""
        async for text in self._corrections:
            yield text

    def correct(self, text: str) -> None:
        """A late final has changed the text."""
        self.corrected_text = text
        self._corrections.put(text)

    def note_said(self, speech: Speech) -> None:
        """One of the reply's speeches was queued."""
        self._was_sent = self.is_sent
        self._speeches.append(speech)

    @property
    def is_sent(self) -> bool:
        """Whether some of the reply's audio was sent."""
        return self._was_sent or any(speech.has_begun for speech in self._speeches)

    def unfinished(self) -> list[Speech]:
        """The reply's speeches that were queued, but not played or dropped."""
        return [speech for speech in self._speeches if not speech.is_done]

    def heard(self) -> Heard:
        """What was heard of the reply; nothing is counted of a speech that is not over."""
        each = [speech.finish(0) if speech.is_done else Heard("", 0, False) for speech in self._speeches]
        text = " ".join(part.text for part in each if part.text)
        return Heard(text, sum(part.ms for part in each), all(part.is_whole for part in each))

    def end(self, *, is_cut: bool) -> None:
        """The turn is over, or the call."""
        self.is_cut = self.is_cut or is_cut
        self._corrections.finish()

    def hold(self, speech: Speech, source: AsyncIterable[bytes] | None, player: AudioPlayer) -> None:
        """Hold back the reply's audio, while it is generated."""
        if self._is_dropped:
            speech.audio.drop()
            speech.finish(0)
            return
        if self.ready_at is None:
            self.ready_at = asyncio.get_running_loop().time()
        if source is not None:
            player.draw(speech, source)
        self._held.append(speech)

    def commit(self, say: Callable[[Speech], None]) -> None:
        """The text is final, with the words that the reply started on."""
        self.is_committed = True
        held, self._held = self._held, []
        for speech in held:
            say(speech)
        self._committed.set()

    def drop(self) -> None:
        """Drop the audio held back, and any that follows."""
        self._is_dropped = not self.is_committed
        for speech in self._held:
            speech.audio.drop()
            speech.finish(0)
        self._held.clear()


class ReplyRunner:
    """Runs ``reply`` for the turns of one call, until the call ends.

    :param event_queue: the call's events
    :param say: queues a speech that was held back
    :param stop: stops a reply's audio; returns what was heard of it
    :param on_outcome: called with the outcome of each speculative start
    :param on_stall: called with the seconds when a step of a reply blocked the loop
    """

    def __init__(
        self,
        reply: Reply,
        event_queue: EventQueue[CallEvent],
        speculation: Speculation,
        *,
        say: Callable[[Speech, Turn], None],
        stop: Callable[[Turn], Heard],
        on_outcome: Callable[[Outcome], None],
        on_stall: Callable[[float], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._reply = reply
        self._event_queue = event_queue
        self._speculation = speculation
        self._say = say
        self._stop = stop
        self._on_outcome = on_outcome
        self._on_stall = on_stall
        self._turn: Turn | None = None
        """The turn whose reply began last; it may be speculative, and the reply may have ended."""
        self._answered: Turn | None = None
        """The newest committed turn, unless the caller has interrupted its answer."""
        self._interrupted: Heard | None = None
        """For the next turn: what was heard of an answer that was cut off."""
        self._utterance_id = 0
        """Of the newest partial."""
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Return when the call and the last reply have ended.

        :raises Exception: what a reply raised
        """
        try:
            while True:
                event = await self._next()
                if event is None:
                    break
                self._take(event)
            if self._task is not None and self._turn is not None and self._turn.is_committed:
                self._turn.end(is_cut=False)
                await self._task
        finally:
            self._give_up()

    async def _next(self) -> CallEvent | None:
        """The next event. Meanwhile replies may end, and one may start early."""
        news = asyncio.ensure_future(self._event_queue.get())
        try:
            while True:
                # A reply in progress is not cancelled for a guess.
                is_free = self._task is None or self._turn is None or not self._turn.is_committed
                due_at = self._speculation.next_deadline() if is_free else None
                timeout_s = None if due_at is None else max(0.0, due_at - self._loop.time())
                waiting = {news} if self._task is None else {news, self._task}
                done, _ = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                if self._task is not None and self._task in done:
                    task, self._task = self._task, None
                    if not task.cancelled():
                        task.result()
                if news in done:
                    return news.result()
                text = self._speculation.start(now=self._loop.time() + CLOCK_TICK_S) if is_free else None
                if text is not None:
                    self._begin(text, self._utterance_id, is_committed=False)
        finally:
            news.cancel()

    def _take(self, event: CallEvent) -> None:
        now = self._loop.time()
        if isinstance(event, Partial):
            self._utterance_id = event.id
            if self._speculation.partial(event.text, now=now):
                self._on_outcome("changed")
                self._give_up()
        elif isinstance(event, Utterance):
            self._committed(event)
        elif isinstance(event, Amendment):
            self._amended(event)
        elif isinstance(event, BargeIn):
            # Its audio was cleared when the event was made.
            self._give_up()
            self._answered = None
            self._interrupted = Heard(event.heard_text, event.heard_ms, False)

    def _committed(self, utterance: Utterance) -> None:
        text = "" if utterance.is_backchannel else utterance.text
        is_guessed = utterance.id == self._utterance_id
        if not is_guessed and not text:
            return  # a reply that started on the interim of another utterance goes on
        outcome = self._end_guess(text if is_guessed else "")
        turn = self._turn
        if outcome == "kept" and turn is not None:
            self._end_answer(is_cut=False)
            turn.interrupted, self._interrupted = self._interrupted, None
            self._answered = turn
            turn.commit(lambda speech: self._say(speech, turn))
        elif text:
            self._answer(text, utterance.id)
        elif outcome == "changed":
            self._give_up()

    def _amended(self, amendment: Amendment) -> None:
        turn = self._answered
        if turn is None or turn.utterance_id != amendment.id:
            return
        turn.correct(amendment.text)
        if turn.is_sent or turn.is_binding:
            return
        self._end_guess("")
        self._give_up()
        turn.end(is_cut=True)
        self._stop(turn)
        self._answered, self._interrupted = None, turn.interrupted
        if amendment.text:
            self._answer(amendment.text, amendment.id)
        else:
            # Nothing to answer, unless words come back.
            self._answered = self._new_turn("", amendment.id, is_committed=True)

    def _end_guess(self, text: str) -> Outcome:
        outcome = self._speculation.committed(text)
        if outcome != "none":
            self._on_outcome(outcome)
        return outcome

    def _answer(self, text: str, utterance_id: int) -> None:
        """Begin the reply to a committed text, in place of the one before it."""
        is_cut = self._task is not None and self._turn is self._answered
        self._give_up()
        self._end_answer(is_cut=is_cut)
        self._answered = self._begin(text, utterance_id, is_committed=True)
        self._interrupted = None

    def _end_answer(self, *, is_cut: bool) -> None:
        """Another turn is answered from now on.

        :param is_cut: the reply was still running
        """
        turn, self._answered = self._answered, None
        if turn is None:
            return
        heard = self._stop(turn)
        if not turn.text:
            self._interrupted = turn.interrupted  # nothing was said, and nothing answered
        elif is_cut or not heard.is_whole:
            turn.end(is_cut=True)
            self._interrupted = Heard(heard.text, heard.ms, heard.is_whole and heard.ms > 0)
        else:
            self._interrupted = None

    def _new_turn(self, text: str, utterance_id: int, *, is_committed: bool) -> Turn:
        now = self._loop.time()
        return Turn(text, utterance_id, is_committed=is_committed, began_at=now, interrupted=self._interrupted)

    def _begin(self, text: str, utterance_id: int, *, is_committed: bool) -> Turn:
        self._give_up()
        turn = self._turn = self._new_turn(text, utterance_id, is_committed=is_committed)
        context = copy_context()
        context.run(current_turn.set, turn)
        self._task = self._loop.create_task(self._run_reply(turn), context=context)
        return turn

    async def _run_reply(self, turn: Turn) -> None:
        await watch_steps(self._reply(turn), self._on_stall)

    def _give_up(self) -> None:
        turn, self._turn = self._turn, None
        task, self._task = self._task, None
        if turn is not None:
            turn.drop()
            turn.end(is_cut=task is not None and turn.is_committed)
        if task is not None:
            task.cancel()
