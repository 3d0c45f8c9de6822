"""Answers: one reply at a time, for each utterance, ended when the caller breaks in, begun early where that is set.

A reply that was begun on a stable interim is *speculative*: what it says is kept back, its audio being made already,
until the committed text has the same words; then it goes out at once. If the words are others, it is cancelled and
begun anew. Everything happens on the event loop; replies are tasks that this module owns and ends.
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

# An event loop's clock has whole milliseconds, and its timers may be early by one.
CLOCK_TICK_S = 0.001

Reply = Callable[["Turn"], Awaitable[None]]

current_turn: ContextVar[Turn | None] = ContextVar("fastcall_turn", default=None)
"""The turn whose reply this task is."""


class Turn:
    """What a reply answers. Loop thread only."""

    def __init__(self, text: str, utterance_id: int, *, is_committed: bool, began_at: float) -> None:
        self.text = text
        """What the caller said; of a speculative reply what it has begun on, which is what is committed if it lives."""
        self.utterance_id = utterance_id
        self.is_committed = is_committed
        """Whether the text is settled. What has effects (a booking, a payment) waits for it: ``wait_committed``."""
        self.began_at = began_at
        self.ready_at: float | None = None
        self._is_dropped = False
        self._held: list[Speech] = []
        self._committed = asyncio.Event()
        if is_committed:
            self._committed.set()

    async def wait_committed(self) -> None:
        """Return when the text is settled. A reply whose words turn out to be others is cancelled here."""
        await self._committed.wait()

    def hold(self, speech: Speech, source: AsyncIterable[bytes] | None, player: AudioPlayer) -> None:
        """Keep back what the reply says; its audio is being made."""
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
        """The text is settled, and is the one that was begun on."""
        self.is_committed = True
        held, self._held = self._held, []
        for speech in held:
            say(speech)
        self._committed.set()

    def drop(self) -> None:
        """What was kept back is not wanted, and what is said after this neither."""
        self._is_dropped = not self.is_committed
        for speech in self._held:
            speech.audio.drop()
            speech.finish(0)
        self._held.clear()


class ReplyRunner:
    """Runs ``reply`` for the turns of one call, until the call ends.

    :param inbox: the call's events
    :param say: says a speech that was kept back
    :param on_outcome: told what became of each speculative start
    :param on_stall: told of steps of a reply that kept the loop, in seconds
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
        """Return when the call has ended, and the last reply with it.

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
        """The next event. Meanwhile replies end, and one may begin early."""
        news = asyncio.ensure_future(self._event_queue.get())
        try:
            while True:
                # An answer that is being given is not given up for a guess.
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
