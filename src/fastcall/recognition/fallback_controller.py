"""Requests the fallback during outages: the clock, the tasks and the audio for ``FallbackRule``.

One task per request; the rule bounds their number. The audio is copied at the request, so the replay buffer may drop it
meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from fastcall.audio.audio_input import AudioInput
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.call_logger import CallLogger
from fastcall.errors import RecognizerError
from fastcall.events import SAMPLE_RATE_HZ, FallbackAsked, FallbackSilent
from fastcall.ports import Fallback
from fastcall.recognition.fallback_policy import FallbackAsk, FallbackRule, SettledSpan, quietest_sample
from fastcall.settings import Settings

__all__ = ["FallbackController", "FallbackOwner"]

NO_END = 1 << 62


class FallbackOwner(Protocol):
    """The session, as the fallback controller sees it."""

    def fallback_settles(self, span: SettledSpan) -> None:
        """The next text, in order; the settled end moves."""

    def fallback_event(self, event: FallbackAsked | FallbackSilent) -> None:
        """Requests, and failed requests."""

    def has_words_to(self, sample: int) -> bool:
        """Whether the recognizer works again and has results up to ``sample``."""


class FallbackController:
    """The fallback requests of one session. Loop thread only; create it on the running loop.

    :param replay_buffer: the call's kept audio
    :param audio_input: drained before a request: it may hold less than a batch of the utterance
    """

    def __init__(
        self,
        fallback: Fallback,
        language: str,
        *,
        replay_buffer: ReplayBuffer,
        audio_input: AudioInput,
        settings: Settings,
        owner: FallbackOwner,
        log: CallLogger,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._fallback = fallback
        self._language = language
        self._replay_buffer = replay_buffer
        self._audio_input = audio_input
        self._limit_s = settings.stt_fallback_limit_s
        self._owner = owner
        self._log = log
        self._rule = FallbackRule(limit_samples=int(settings.stt_replay_s * SAMPLE_RATE_HZ))
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._settled_end = 0
        self._is_stopped = False

    # --- from the session -----------------------------------------------------------------------------

    def note_utterance(self, begins: bool, sample: int, *, call_end: int | None) -> None:
        """An utterance begins at ``sample``, or the open one ends there.

        :param call_end: the end of the audio; None if no more follows: the last word is then complete and needs no cut
        """
        if self._rule.trouble:
            self._audio_input.drain()
        call_end = NO_END if call_end is None else call_end
        self._rule.note_speech(begins, sample, call_end=call_end, now=self._loop.time(), quietest=self._quietest)
        self.poll()

    def note_trouble(self, reason: str) -> None:
        """The recognizer is down for this reason, or, if empty, it works."""
        if reason != self._rule.trouble:
            self._rule.note_trouble(reason, now=self._loop.time())
            self.poll()

    def settled(self, settled_end: int) -> None:
        """The settled end has moved."""
        self._settled_end = settled_end
        self._rule.settled(settled_end)
        for number, task in tuple(self._tasks.items()):
            if self._rule.end_of(number) is None and task is not asyncio.current_task():
                task.cancel()

    def poll(self) -> None:
        """Send due requests."""
        if not self._rule.trouble or self._is_stopped:
            return
        self._audio_input.drain()
        self._deliver()  # a final may have settled a span that a text waited for
        replay_buffer = self._replay_buffer
        self._rule.forgotten(replay_buffer.start)
        if self._rule.trouble == "off":
            replay_buffer.forget_before(self._rule.unneeded_before(replay_buffer.end))
        asks = self._rule.asks(
            settled_end=max(self._settled_end, replay_buffer.start),
            call_end=replay_buffer.end,
            now=self._loop.time(),
            quietest=self._quietest,
        )
        for ask in asks:
            self._begin(ask)
        self._deliver()  # spans that needed no request
        self._arm()

    async def finish(self) -> None:
        """No more audio will come. Return when no response is pending; the caller limits the time."""
        self._rule.finish(now=self._loop.time())
        self.poll()
        while self._tasks or (self._rule.unanswered and self._timer is not None):
            if self._tasks:
                await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            else:
                await self._elapse()

    def stop(self) -> None:
        """Abandon pending requests and report it; publish texts that waited for earlier ones."""
        for start, end in self._rule.unanswered:
            self._owner.fallback_event(
                FallbackSilent(start, end, self._fallback.source, "no response before the end of the call")
            )
        self._rule.give_up()
        self._deliver()
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks.values():
            task.cancel()

    # --- asking ---------------------------------------------------------------------------------------

    def _begin(self, ask: FallbackAsk) -> None:
        start = max(ask.start, self._replay_buffer.start)
        pcm = self._replay_buffer.read(start, ask.audio_end - start)
        self._owner.fallback_event(FallbackAsked(ask.start, ask.voice_end, ask.reason, self._fallback.source))
        task = self._loop.create_task(self._recognize(ask, pcm))
        self._tasks[ask.number] = task
        task.add_done_callback(lambda _: self._tasks.pop(ask.number))

    async def _recognize(self, ask: FallbackAsk, pcm: bytes) -> None:
        began_at = self._loop.time()
        try:
            async with asyncio.timeout(self._limit_s) as limit:
                text = await self._fallback.recognize(pcm, self._language, urgent=ask.urgent)
        except TimeoutError as error:
            self._failed(ask, f"no response in {self._limit_s:g} s" if limit.expired() else f"TimeoutError: {error}")
        except RecognizerError as error:
            self._failed(ask, str(error))
        except Exception as error:
            # The user's function may raise anything: it is logged, and the call continues.
            self._log.exception("the fallback failed")
            self._failed(ask, f"{type(error).__name__}: {error}")
        else:
            seconds = len(pcm) / 2 / SAMPLE_RATE_HZ
            self._log.debug("fallback: %.1f s of audio in %.2f s", seconds, self._loop.time() - began_at)
            self._answered(ask, " ".join(text.split()))

    def _answered(self, ask: FallbackAsk, text: str) -> None:
        end = self._rule.end_of(ask.number)
        if end is None or self._is_stopped:
            return
        self._rule.answered(ask.number, text)
        self._deliver()
        if not text or end < ask.voice_end:
            self._owner.fallback_event(FallbackSilent(ask.start, ask.voice_end, self._fallback.source))
        self.poll()

    def _failed(self, ask: FallbackAsk, why: str) -> None:
        if self._rule.end_of(ask.number) is None or self._is_stopped:
            return
        is_final = self._rule.failed(ask.number, now=self._loop.time())
        if not is_final:
            self._log.info("the fallback did not respond: %s; trying once more", why)
        else:
            self._owner.fallback_event(FallbackSilent(ask.start, ask.voice_end, self._fallback.source, why))
        self._deliver()
        self.poll()

    def _deliver(self) -> None:
        while (span := self._rule.take_settled(self._owner.has_words_to)) is not None:
            self._owner.fallback_settles(span)

    # --- the clock ------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_at = self._rule.next_deadline()
        if due_at is not None:
            self._timer = self._loop.call_at(due_at, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self.poll()

    async def _elapse(self) -> None:
        """Until the timer has fired."""
        due_at = self._rule.next_deadline()
        if due_at is not None:
            await asyncio.sleep(due_at - self._loop.time())
        await asyncio.sleep(0)

    def _quietest(self, low: int, high: int) -> int:
        low = max(low, self._replay_buffer.start)
        return low + quietest_sample(self._replay_buffer.read(low, high - low))
