"""One ``say``: its audio, its text, and the future of what was heard of it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

from fastcall.agent.heard_text import Heard, heard_text, word_start
from fastcall.agent.outbound import OutboundAudio
from fastcall.agent.response_latency import OpenTurn
from fastcall.events import SAMPLES_PER_MS

__all__ = ["Speech"]


class Speech:
    """The speech of one ``say``. ``await`` it for what was heard, when it is over. Loop thread only."""

    def __init__(
        self,
        audio: OutboundAudio,
        text: str = "",
        word_ends: tuple[int, ...] | None = None,
        *,
        number: int = 0,
        is_interruptible: bool = True,
    ) -> None:
        self.number = number
        self.text = text
        self.audio = audio
        self.is_interruptible = is_interruptible
        """Whether the caller's voice may stop it, and a newer reply replace it."""
        self.turn: OpenTurn | None = None
        """The turn to which this is the first response, until its first audio is sent."""
        self.has_begun = False
        """Whether some of its audio was sent."""
        self.was_held = False
        """Whether it was said in a turn of the caller's."""
        self.is_broken = False
        """Whether its audio source has failed."""
        self.began_sample: int | None = None
        """Call time at that moment; set by its owner."""
        self.source: asyncio.Task[None] | None = None
        self.has_room = asyncio.Event()
        self._word_ends = word_ends
        self._done: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()

    def __await__(self) -> Generator[object, None, Heard]:
        if self._done.done() and not self.number:
            # It was never queued. A handler that says one thing after the other for ever must not hold the loop when
            # its call is over. What was played yields nothing: a cancelled reply still notes at once what was heard.
            yield None
        return (yield from asyncio.shield(self._done).__await__())

    @property
    def is_done(self) -> bool:
        """Nothing more of it will be heard."""
        return self._done.done()

    def describe(self, heard_samples: int) -> Heard:
        """What was heard, given the samples played."""
        total = self._total_samples
        if not heard_samples:
            return Heard("", 0, total == 0 and not self.text)
        is_whole = total is not None and heard_samples >= total
        text = heard_text(self.text, heard_samples, total_samples=total, word_ends=self._word_ends)
        return Heard(text, heard_samples // SAMPLES_PER_MS, is_whole)

    def word_start(self, position: int) -> int:
        """Where the word begins that is spoken at this sample; the sample itself if that is not known."""
        return word_start(self.text, position, total_samples=self._total_samples, word_ends=self._word_ends)

    @property
    def _total_samples(self) -> int | None:
        """None if it is not known, as for audio that broke off."""
        return None if self.is_broken else self.audio.total_samples

    def finish(self, heard_samples: int) -> Heard:
        """It is over."""
        heard = self._done.result() if self._done.done() else self.describe(heard_samples)
        if not self._done.done():
            self._done.set_result(heard)
        if self.source is not None:
            self.source.cancel()
        return heard
