"""A simulated Twilio caller that listens: its speech depends on what it hears, so frames are made one by one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from websockets.asyncio.client import ClientConnection

from fastcall.simulator.caller import TwilioCaller
from fastcall.simulator.playback import Clear, Mark, Media
from fastcall.simulator.scripted_caller import Conversation, Said, Sentence
from fastcall.simulator.twilio_client import FRAME_S, CallerMessages, CallIds, PhoneAudio

__all__ = ["ListeningCaller"]


class ListeningCaller(TwilioCaller):
    """One call. Create it, and ``await run()`` once. Call its methods on the event loop's thread.

    :param speaks_first: do not wait for a greeting
    """

    def __init__(
        self, url: str, sentences: Sequence[Sentence], *, speaks_first: bool = False, ids: CallIds | None = None
    ) -> None:
        super().__init__(url, PhoneAudio(b"", tail_s=0.0), ids=ids, keep_received=False)
        self._sentences = tuple(sentences)
        self._speaks_first = speaks_first
        self._conversation = Conversation(self._sentences, now=0.0, speaks_first=speaks_first)

    @property
    def said(self) -> Sequence[Said]:
        """The result of each sentence so far; times are ``time.monotonic()``."""
        return self._conversation.said

    @property
    def is_done(self) -> bool:
        """Whether everything was said."""
        return self._conversation.is_done

    async def _speak(self, socket_: ClientConnection) -> None:
        await self._send(socket_, CallerMessages.connected)
        await self._send(socket_, lambda messages: messages.start(self._parameters))
        clock, frame = time.monotonic, 0
        first_at = self.report.first_frame_at = clock()
        self._conversation = Conversation(self._sentences, now=first_at, speaks_first=self._speaks_first)
        while self._ending is None:
            await self._send_asides(socket_)
            due_at = first_at + frame * FRAME_S
            if clock() < due_at:
                await self._sleep_until(due_at)
                continue
            payload = self._conversation.frame(frame, now=clock())
            if payload is None:
                break
            await self._send(socket_, partial(CallerMessages.media, frame=frame, payload=payload))
            frame += 1
            self.report.frames_sent = frame
        if self._ending == "drop":
            socket_.transport.abort()
            self.report.error = "dropped by the caller"
        else:
            await self._send(socket_, CallerMessages.stop)

    def _hear(self, message: Media | Mark | Clear, now: float) -> None:
        super()._hear(message, now)
        if isinstance(message, Media):
            self._conversation.media(len(message.mulaw), now=now)
        elif isinstance(message, Clear):
            self._conversation.clear(now=now)
