"""Runs replies: one at a time, for each utterance, cancelled when the caller interrupts, started early if configured.

A reply started on a stable interim is *speculative*: its audio is generated but held back until the text is committed.
With the same words it is then sent at once; with others, the reply is cancelled and restarted. Everything happens on
the event loop; replies are tasks that this module owns and ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from contextvars import ContextVar, copy_context

from fastcall.agent.player import AudioPlayer, Speech
from fastcall.aio.event_queue import EventQueue
from fastcall.aio.stall_monitor import watch_steps
from fastcall.events import BargeIn, CallEvent, Partial, Utterance
from fastcall.turns.speculation import Outcome, Speculation

__all__ = ["Reply", "ReplyRunner", "Turn", "current_turn"]

# uvloop's clock has whole milliseconds, and its timers may be early by one.
CLOCK_TICK_S = 0.001

Reply = Callable[["Turn"], Awaitable[None]]

current_turn: ContextVar[Turn | None] = ContextVar("fastcall_turn", default=None)
"""The turn that this task replies to."""


class Turn:
    """The utterance that a reply answers. Loop thread only."""

    def __init__(self, text: str, utterance_id: int, *, is_committed: bool, began_at: float) -> None:
        self.text = text
        """The utterance's text; of a speculative reply the interim's, whose words the committed text must have too."""
        self.utterance_id = utterance_id
        self.is_committed = is_committed
        """Whether the text is final. Call ``wait_committed`` before side effects (a booking, a payment)."""
        self.began_at = began_at
        self.ready_at: float | None = None
        self._is_dropped = False
        self._held: list[Speech] = []
        self._committed = asyncio.Event()
        if is_committed:
            self._committed.set()

    async def wait_committed(self) -> None:
        """Return when the text is final. If its words have changed, the reply is cancelled here."""
        await self._committed.wait()

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
        on_outcome: Callable[[Outcome], None],
        on_stall: Callable[[float], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._reply = reply
        self._event_queue = event_queue
        self._speculation = speculation
        self._say = say
        self._on_outcome = on_outcome
        self._on_stall = on_stall
        self._turn: Turn | None = None
        self._utterance_id = 0
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
                    self._begin(Turn(text, self._utterance_id, is_committed=False, began_at=self._loop.time()))
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
        elif isinstance(event, BargeIn):
            self._give_up()

    def _committed(self, utterance: Utterance) -> None:
        outcome = self._speculation.committed(utterance.text)
        if outcome != "none":
            self._on_outcome(outcome)
        turn = self._turn
        if outcome == "kept" and turn is not None:
            turn.utterance_id = utterance.id
            turn.commit(lambda speech: self._say(speech, turn))
        elif utterance.text:
            self._begin(Turn(utterance.text, utterance.id, is_committed=True, began_at=self._loop.time()))
        elif outcome == "changed":
            self._give_up()

    def _begin(self, turn: Turn) -> None:
        self._give_up()
        self._turn = turn
        context = copy_context()
        context.run(current_turn.set, turn)
        self._task = self._loop.create_task(self._run_reply(turn), context=context)

    async def _run_reply(self, turn: Turn) -> None:
        await watch_steps(self._reply(turn), self._on_stall)

    def _give_up(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.drop()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
