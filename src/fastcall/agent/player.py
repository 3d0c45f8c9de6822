"""Sends a handler's audio: paced, in chunks, each followed by its mark; stopped by ``clear``, for good or for a while.

Twilio buffers audio and plays it in order, so pacing is not needed for playback; it limits what ``clear`` discards, and
what a slow network has to carry. The peer has one to two seconds buffered, far more than any stall of the loop. Nothing
blocks; a speaking call has one timer, which sends two chunks at a time, at moments that differ from call to call.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import AsyncIterable
from typing import Protocol

from fastcall._codec import OutboundFrames
from fastcall.agent.heard_text import Heard
from fastcall.agent.outbound import OutboundAudio, PayloadEncoder
from fastcall.agent.playout import ECHO_GRACE_S, Playout
from fastcall.agent.speech import Speech
from fastcall.errors import BacklogError
from fastcall.events import SAMPLE_RATE_HZ, AudioFormat
from fastcall.ports import CallSocket

__all__ = ["AudioPlayer", "AudioPlayerOwner", "Speech"]

log = logging.getLogger("fastcall.call")

CHUNK_SAMPLES = 1600
LEAD_S = 2.0
# A wake-up costs as much as several chunks.
CHUNKS_A_TURN = 2
# Below this, a partial chunk is sent too: the peer would fall silent.
LOW_LEAD_S = 0.4
CLEAR_TIMEOUT_S = 1.0

# Limits: of one source that is faster than speech, of all waiting audio, and of the speeches in one reply.
SOURCE_AHEAD_SAMPLES = 5 * SAMPLE_RATE_HZ
MAX_WAITING_SAMPLES = 300 * SAMPLE_RATE_HZ
MAX_SPEECHES = 256


class AudioPlayerOwner(Protocol):
    """Notified of the progress of speeches."""

    def audio_sent(self, codes: bytes | memoryview) -> None:
        """This mu-law audio is being sent."""

    def speech_held(self, speech: Speech) -> None:
        """It waits for the end of the caller's turn."""

    def speech_began(self, speech: Speech) -> None:
        """Its first audio was sent."""

    def speech_ended(self, speech: Speech, heard: Heard) -> None:
        """It was played, or interrupted."""

    def speech_paused(self, speech: Speech, heard: Heard) -> None:
        """The caller was hearing it; so far, this much was heard."""

    def speech_resumed(self, speech: Speech) -> None:
        """It goes on after a pause."""

    def mark_passed(self, name: str) -> None:
        """The handler's mark of this name was played, or cleared, or did not come back in time."""

    def clear_overdue(self, marks: int) -> None:
        """So many marks did not come back after ``clear``."""

    def source_failed(self, error: BaseException) -> None:
        """A speech's audio source raised."""


class AudioPlayer:
    """One call's outbound audio. Loop thread only."""

    def __init__(
        self, socket: CallSocket, stream_sid: str, owner: AudioPlayerOwner, audio_format: AudioFormat | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._set_stream(socket, stream_sid, audio_format or AudioFormat())
        self._owner = owner
        self._playout = Playout()
        self._queue: deque[Speech | str] = deque()
        """Speeches that are not fully sent, or must be sent again, and the handler's marks, in order."""
        self._sent: deque[Speech] = deque()
        """Speeches that were fully sent but not fully heard."""
        self._answer: deque[Speech] = deque(maxlen=MAX_SPEECHES)
        """Speeches of the current reply, to compute what was heard of it."""
        self._clears: list[tuple[asyncio.Future[Heard], Heard]] = []
        self._clear_timer: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._numbers = 0
        self._paused_speech: Speech | None = None
        self._is_paused = False
        self._is_held = False
        self._is_over = False

    def _set_stream(self, socket: CallSocket, stream_sid: str, audio_format: AudioFormat) -> None:
        self._socket = socket
        self._frames = OutboundFrames(stream_sid)
        self._encode = PayloadEncoder(audio_format).encode
        self._phase = zlib.crc32(stream_sid.encode(errors="replace")) / 2**32
        """Spreads the turns of calls that began at the same moment; 0 to 1."""

    def carry_over(self, socket: CallSocket, stream_sid: str, audio_format: AudioFormat) -> None:
        """Send to this stream from now on, in its format. Audio that the previous stream did not play is lost; its
        marks will not come back, and count as passed."""
        self._set_stream(socket, stream_sid, audio_format)
        self._playout.give_up(now=self._loop.time())
        self._report_passed()
        self._resolve_clears()
        self._end_played()
        self._go_on()

    # --- what is asked ---------------------------------------------------------------------------------

    @property
    def is_speaking(self) -> bool:
        """Whether the caller hears the handler, or will soon."""
        return any(isinstance(each, Speech) for each in self._queue) or self._playout.is_playing(now=self._loop.time())

    @property
    def is_interruptible(self) -> bool:
        """Whether neither what is being played nor what comes next is uninterruptible."""
        first = next((each for each in self._queue if isinstance(each, Speech)), None)
        return all(each.is_interruptible for each in (*self._sent, *([first] if first else ())))

    @property
    def is_paused(self) -> bool:
        """Whether nothing is sent until ``resume``."""
        return self._is_paused

    @property
    def is_held(self) -> bool:
        """Whether no speech begins until ``release``."""
        return self._is_held

    def say(self, speech: Speech, source: AsyncIterable[bytes] | None = None) -> None:
        """Queue a speech; ``source`` makes its audio.

        :raises BacklogError: too much waits already
        """
        if self._is_over:
            speech.audio.drop()
            speech.finish(0)
            return
        self.check_room(speech.audio)
        self._numbers += 1
        speech.number = self._numbers
        if source is not None and speech.source is None:
            self.draw(speech, source)
        self._queue.append(speech)
        self._answer.append(speech)
        if self._is_held:
            speech.was_held = True
            self._owner.speech_held(speech)
        self._go_on()

    def check_room(self, audio: OutboundAudio) -> None:
        """:raises BacklogError: too much waits already for ``audio`` as well"""
        waiting = [each.audio.waiting_samples for each in self._queue if isinstance(each, Speech)]
        if len(waiting) >= MAX_SPEECHES or sum(waiting) + audio.waiting_samples > MAX_WAITING_SAMPLES:
            raise BacklogError(
                f"{sum(waiting) // SAMPLE_RATE_HZ} s of audio in {len(waiting)} speeches wait to be played; "
                f"the limit is {MAX_WAITING_SAMPLES // SAMPLE_RATE_HZ} s in {MAX_SPEECHES}: await what say() returns"
            )

    def mark(self, name: str) -> None:
        """Ask for the echo of ``name`` when the audio so far was played."""
        if self._is_over:
            return
        if len(self._queue) + self._playout.marks >= 2 * MAX_SPEECHES:
            raise BacklogError(f"{len(self._queue) + self._playout.marks} speeches and marks wait already")
        self._queue.append(name)
        self._go_on()

    def clear(self) -> tuple[Heard, asyncio.Future[Heard]]:
        """Stop: drop what was not played.

        :return: what was heard of this reply, now, and once the marks are back, after a second at the latest
        """
        return self._clear(is_interruption=False)

    def interrupt(self) -> tuple[Heard, asyncio.Future[Heard]]:
        """``clear``, but for what is uninterruptible: while ``is_interruptible`` is false, only speeches that have not
        begun are dropped; otherwise uninterruptible ones that wait are played next."""
        if self._is_paused or self.is_interruptible:
            return self._clear(is_interruption=True)
        self.supersede()
        future: asyncio.Future[Heard] = self._loop.create_future()
        future.set_result(self.heard())
        return future.result(), future

    def _clear(self, *, is_interruption: bool) -> tuple[Heard, asyncio.Future[Heard]]:
        heard = self._stop_all(is_interruption=is_interruption)
        future: asyncio.Future[Heard] = self._loop.create_future()
        if self._is_over or not self._playout.cleared_marks:
            future.set_result(heard)
        else:
            self._clears.append((future, heard))
            if self._clear_timer is None:
                self._clear_timer = self._loop.call_later(CLEAR_TIMEOUT_S, self._clear_overdue)
        self._go_on()
        return heard, future

    def _stop_all(self, *, is_interruption: bool) -> Heard:
        stopped, kept = list(self._sent), deque[Speech | str]()
        for each in self._queue:
            if isinstance(each, Speech):
                stays = is_interruption and not each.is_interruptible
                (kept if stays else stopped).append(each)
            elif kept:
                kept.append(each)
            elif not self._is_over:
                # Marks queued here are cleared like those at the peer, which sends all of its marks back, in order.
                self._send_mark(each)
        if not self._is_over:
            self._socket.send_soon(self._frames.clear())
        self._playout.clear(now=self._loop.time())
        self._sent.clear()
        self._queue = kept
        self._is_paused, self._paused_speech = False, None
        heard = self.heard()
        for speech in stopped:
            self._end(speech)
        self._answer = deque((each for each in kept if isinstance(each, Speech)), maxlen=MAX_SPEECHES)
        return heard

    def supersede(self) -> int:
        """Drop the interruptible speeches of which nothing was heard and nothing is at the peer. The handler's marks
        among them keep their place.

        :return: how many
        """
        dropped = [each for each in self._queue if isinstance(each, Speech) and self._is_replaceable(each)]
        self._queue = deque(each for each in self._queue if each not in dropped)
        self._answer = deque((each for each in self._answer if each not in dropped), maxlen=MAX_SPEECHES)
        for speech in dropped:
            self._end(speech)
        self._go_on()
        return len(dropped)

    def _is_replaceable(self, speech: Speech) -> bool:
        if not speech.is_interruptible or self._playout.is_waiting(speech.number):
            return False
        return not self._playout.heard_samples(speech.number, now=self._loop.time())

    # --- pauses ----------------------------------------------------------------------------------------

    def pause(self) -> Heard:
        """Stop what the caller hears, at once, until ``resume`` or ``clear``. No audio is lost: what was not heard is
        sent again, from the beginning of the word that was cut. Without effect while ``is_interruptible`` is false.

        :return: what was heard of this reply
        """
        if self._is_over or self._is_paused or not self.is_interruptible:
            return self.heard()
        self._is_paused = True
        self._socket.send_soon(self._frames.clear())
        self._take_back()
        self._report_passed()
        head = next((each for each in self._queue if isinstance(each, Speech)), None)
        if head is not None and head.has_begun:
            self._paused_speech = head
            heard = head.describe(self._playout.heard_samples(head.number, now=self._loop.time()))
            self._owner.speech_paused(head, heard)
        self._arm()
        return self.heard()

    def _take_back(self) -> None:
        """Queue again what the peer has not played."""
        now = self._loop.time()
        speeches = {each.number: each for each in (*self._sent, *self._queue) if isinstance(each, Speech)}
        dropped = [speeches[each] if isinstance(each, int) else each for each in self._playout.take_back(now=now)]
        for each in dropped:
            if isinstance(each, Speech):
                cut_at = self._playout.position(each.number, now=now)
                self._playout.set_back(each.number, each.audio.put_back(each.word_start(cut_at)), now=now)
        self._sent = deque(each for each in self._sent if each not in dropped)
        if self._queue and isinstance(self._queue[0], Speech) and self._queue[0] in dropped:
            self._queue.popleft()  # partly sent
        self._queue.extendleft(reversed(dropped))
        self._end_played()

    def resume(self) -> None:
        """Go on after ``pause``."""
        if not self._is_paused:
            return
        speech, self._paused_speech = self._paused_speech, None
        self._is_paused = False
        if speech is not None and not speech.is_done:
            self._owner.speech_resumed(speech)
        self._go_on()

    def hold(self) -> None:
        """Begin no speech until ``release``; one that has begun goes on to its end."""
        self._is_held = True

    def release(self) -> None:
        """Begin the speeches that were held."""
        self._is_held = False
        self._go_on()

    # --- what happens ----------------------------------------------------------------------------------

    def heard(self) -> Heard:
        """What was heard of this reply by now."""
        now = self._loop.time()
        each = [
            speech.finish(0) if speech.is_done else speech.describe(self._playout.heard_samples(speech.number, now=now))
            for speech in self._answer
        ]
        text = " ".join(part.text for part in each if part.text)
        return Heard(text, sum(part.ms for part in each), all(part.is_whole for part in each))

    def begin_answer(self) -> None:
        """Audio from now on belongs to another reply; unfinished speeches are counted with it."""
        self._answer = deque((speech for speech in self._answer if not speech.is_done), maxlen=MAX_SPEECHES)

    def echoed(self, name: str) -> bool:
        """A mark came back.

        :return: whether it was one of ours
        """
        echo = self._playout.echoed(name, now=self._loop.time())
        if not self._playout.cleared_marks:
            self._resolve_clears()
        self._report_passed()
        if echo == "played":
            self._end_played()
            if self._playout.is_drained:
                self._go_on()
        return echo != "unknown"

    def _report_passed(self) -> None:
        for name in self._playout.take_passed():
            self._owner.mark_passed(name)

    def _send_mark(self, name: str) -> None:
        self._socket.send_soon(self._frames.mark(name))
        self._playout.mark_sent(name, now=self._loop.time())

    def finish(self) -> None:
        """The call is over."""
        if self._is_over:
            return
        self._is_over = True
        self._stop_all(is_interruption=False)
        self._arm()
        self._resolve_clears()

    # --- sending ---------------------------------------------------------------------------------------

    def _go_on(self, max_chunks: int | None = None) -> None:
        """Send what may be sent now, and arm the timer for the rest."""
        chunks = 0
        while self._queue and not self._is_over and not self._is_paused:
            head = self._queue[0]
            if isinstance(head, str):
                self._send_mark(head)
                self._queue.popleft()
            elif head.audio.is_empty:
                self._queue.popleft()
                self._sent.append(head)
                self._end_played()
            elif chunks == max_chunks or self._must_wait(head) or not self._send_chunk(head):
                break
            else:
                chunks += 1
        self._arm()

    def _must_wait(self, speech: Speech) -> bool:
        return self._is_paused or (self._is_held and not speech.has_begun)

    def _send_chunk(self, speech: Speech) -> bool:
        now = self._loop.time()
        lead_s = self._playout.lead_s(now=now)
        audio = speech.audio
        is_short = audio.waiting_samples < CHUNK_SAMPLES and not audio.is_ended
        if lead_s > (LOW_LEAD_S if is_short else _full_lead_s()):
            return False
        chunk = audio.take(CHUNK_SAMPLES)
        if audio.waiting_samples < SOURCE_AHEAD_SAMPLES:
            speech.has_room.set()
        if not chunk:
            return audio.is_empty
        self._owner.audio_sent(chunk)
        mark = self._playout.sent(speech.number, len(chunk), now=now)
        self._socket.send_soon(self._frames.media(self._encode(chunk)) + self._frames.mark(mark))
        if not speech.has_begun:
            speech.has_begun = True
            self._owner.speech_began(speech)
        return True

    def draw(self, speech: Speech, source: AsyncIterable[bytes]) -> None:
        """Start reading a speech's source; it may be played later."""
        speech.source = self._loop.create_task(self._draw(speech, source))

    async def _draw(self, speech: Speech, source: AsyncIterable[bytes]) -> None:
        audio, pieces = speech.audio, aiter(source)
        try:
            async for piece in pieces:
                audio.feed(piece)
                self._go_on()
                while audio.waiting_samples >= SOURCE_AHEAD_SAMPLES:
                    speech.has_room.clear()
                    await speech.has_room.wait()
            audio.end()
        except (Exception, SystemExit) as error:  # SystemExit would end the loop, and every call with it
            speech.is_broken = True
            self._owner.source_failed(error)
        finally:
            speech.source = None
            audio.stop()
            self._go_on()
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    def _arm(self) -> None:
        """Keep the one timer at or before the moment when there is room at the peer, or when its marks are overdue; an
        early timer only checks again."""
        due_at = None if self._is_over else self._next_deadline(self._loop.time())
        if self._timer is not None:
            if due_at is not None and self._timer_at <= due_at:
                return
            self._timer.cancel()
            self._timer = None
        if due_at is not None:
            self._timer_at = due_at
            self._timer = self._loop.call_at(due_at, self._timer_fired)

    def _next_deadline(self, now: float) -> float | None:
        lead_s = self._playout.lead_s(now=now)
        deadlines = []
        head = self._queue[0] if self._queue else None
        if isinstance(head, Speech) and self._must_wait(head):
            head = None
        # The filter may hold the rest of audio that has ended, although nothing waits.
        if isinstance(head, Speech) and (head.audio.waiting_samples or head.audio.is_ended):
            is_short = head.audio.waiting_samples < CHUNK_SAMPLES and not head.audio.is_ended
            turn_s = (1 + self._phase) * CHUNKS_A_TURN * CHUNK_SAMPLES / SAMPLE_RATE_HZ
            room_at_s = LOW_LEAD_S if is_short else LEAD_S - turn_s
            deadlines.append(now + max(0.001, lead_s - room_at_s))
        elif self._sent:
            deadlines.append(now + lead_s + ECHO_GRACE_S + 0.001)
        mark_overdue_at = self._playout.next_deadline()
        if mark_overdue_at is not None:
            deadlines.append(mark_overdue_at + 0.001)
        return min(deadlines, default=None)

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._loop.time()
        # A peer that echoes no marks: do not wait forever or let queues grow.
        self._playout.give_up_marks(now=now)
        is_unheard = bool(self._sent) and not self._playout.is_playing(now=now)
        if is_unheard:
            self._playout.give_up(now=now)
        self._report_passed()
        while is_unheard and self._sent:
            self._end(self._sent.popleft())
        self._go_on(CHUNKS_A_TURN)

    # --- ends ------------------------------------------------------------------------------------------

    def _end_played(self) -> None:
        while self._sent and not self._playout.is_waiting(self._sent[0].number):
            self._end(self._sent.popleft())

    def _end(self, speech: Speech) -> None:
        heard = speech.finish(self._playout.heard_samples(speech.number, now=self._loop.time()))
        self._playout.forget(speech.number)
        speech.audio.drop()
        self._owner.speech_ended(speech, heard)

    def _clear_overdue(self) -> None:
        self._clear_timer = None
        self._owner.clear_overdue(self._playout.cleared_marks)
        self._playout.give_up_cleared()
        self._report_passed()
        self._resolve_clears()

    def _resolve_clears(self) -> None:
        if self._clear_timer is not None:
            self._clear_timer.cancel()
            self._clear_timer = None
        waiting, self._clears = self._clears, []
        for future, heard in waiting:
            if not future.done():
                future.set_result(heard)


def _full_lead_s() -> float:
    """How much the peer may have buffered when another chunk is sent. The margin is for rounding."""
    return LEAD_S - CHUNK_SAMPLES / SAMPLE_RATE_HZ + 1e-6
