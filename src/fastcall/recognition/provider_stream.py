"""One provider stream of a session: reads the replay buffer from a cursor of its own, and sends.

A stream that begins at the end of the buffer is live at once; one that begins earlier replays, paced, until it has
caught up. Both take the same path, so a replay cannot lose or double what live sending would not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS, NoWords, SessionFailed, SessionRotated, Word
from fastcall.ports import Recognizer, RecognizerStream, StreamConfig, StreamEnd, StreamResult
from fastcall.recognition.reported import Reported, StreamReports
from fastcall.recognition.rotation import RotationPlan
from fastcall.recognition.time_map import TimeMap

__all__ = ["ProviderStream", "ProviderStreamOwner", "StreamManagerOwner"]

# Under 15,000 bytes of LINEAR16: the smallest limit for a request in Google's documentation.
MAX_PIECE_SAMPLES = 900 * SAMPLES_PER_MS
REPLAY_PIECE_SAMPLES = 250 * SAMPLES_PER_MS
# Further behind than this, a stream is paced; nearer, it sends everything. Brief back-pressure stays below it.
LIVE_BACKLOG_SAMPLES = 1000 * SAMPLES_PER_MS
# Google gives up after about 10 s without audio.
KEEPALIVE_AFTER_S = 5.0
# When no more audio comes, catching up may approach Google's limit of 5 times real time: `close()` has a timeout.
CLOSING_SPEED = 4.5
# A stream that accepts nothing for so long, while audio waits, is stuck.
STUCK_S = 8.0


class ProviderStreamOwner(Protocol):
    """The session, as its streams see it."""

    def provider_stream_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> None:
        """A response of this stream."""

    def provider_stream_evicted(self, provider_stream: ProviderStream) -> int:
        """Audio that the stream has yet to send was dropped.

        :return: where in the call to continue, if that is kept
        """

    def provider_stream_ended(self, provider_stream: ProviderStream, end: StreamEnd) -> None:
        """The stream has ended. Called once, and last."""


class _GoneStream:
    """A stream that has ended. Implements ``RecognizerStream``."""

    writable = False

    def write(self, pcm: bytes) -> None:
        """Ignored."""

    def half_close(self) -> None:
        """Ignored."""

    def cancel(self) -> None:
        """Ignored."""


_GONE = _GoneStream()


class ProviderStream:
    """One stream, its position, and its map from stream time to call time. Loop thread only.

    :param start: the first sample of the call for this stream
    :param replay_speed: speed of catching up, as a multiple of real time
    """

    def __init__(
        self,
        recognizer: Recognizer,
        config: StreamConfig,
        replay_buffer: ReplayBuffer,
        owner: ProviderStreamOwner,
        *,
        start: int,
        plan: RotationPlan,
        batch_samples: int,
        replay_speed: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.config = config
        """The stream's configuration: its end is interpreted by this, whatever other calls have learned meanwhile."""
        self._replay_buffer = replay_buffer
        self._owner = owner
        self._batch_samples = batch_samples
        self._replay_speed = replay_speed
        self.start = start
        """The first sample of the call for this stream."""
        self._cursor = start
        self._flush_to = start
        self._is_paced = False
        self._next_piece_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_finishing = False
        self._has_caught_up = False
        self.on_sent: Callable[[int, int], None] | None = None
        """Called for live audio sent, not for replays: its first sample, and the one after its last."""
        self.map = TimeMap()
        self.reports = StreamReports()
        self.plan = plan
        self.opened_at = self._loop.time()
        self.caught_up_since: float | None = None
        """Since when the stream has had all audio of the call, except for a batch; None while it has not."""
        self.answered_at: float | None = None
        """When the last result arrived; None before the first."""
        self.half_closed = False
        """Whether all audio was sent and the stream was half-closed."""
        self._last_write_at = self.opened_at
        self._stream: RecognizerStream = recognizer.open(config, self)

    @property
    def has_answered(self) -> bool:
        """Whether there was a result."""
        return self.answered_at is not None

    @property
    def cursor(self) -> int:
        """The next sample of the call to be sent."""
        return self._cursor

    # --- what a response says, in call time -----------------------------------------------------------

    def words_of(self, result: StreamResult) -> tuple[Word, ...]:
        """The words of a result, if they have times."""
        return tuple(Word(w.text, *self.map.span_to_call(w.start_sample, w.end_sample)) for w in result.words)

    def interim_of(self, results: Sequence[StreamResult]) -> tuple[str, int | None]:
        """The combined hypothesis of a response's interim results, and its end; None without any."""
        interims = [result for result in results if not result.is_final]
        if not interims:
            return "", None
        return "".join(r.text for r in interims).strip(), self.map.to_call(max(r.end_sample for r in interims))

    # --- sending --------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send due audio: a batch or more when live, a paced piece when catching up."""
        self._pump(self._loop.time())

    def flush(self) -> None:
        """Send all audio, even less than a batch: an utterance is over, and no more may come."""
        self._flush_to = self._replay_buffer.end
        self.pump()

    def _pump(self, now: float) -> None:
        if self.half_closed:
            return
        backlog = self._backlog()
        if backlog > LIVE_BACKLOG_SAMPLES:
            self._is_paced = True
            self.caught_up_since = None
        if self._is_paced:
            backlog = self._replay(now)
        waits_for_batch = self.caught_up_since is not None and not self._is_finishing and self._cursor >= self._flush_to
        if not self._is_paced and backlog >= (self._batch_samples if waits_for_batch else 1):
            backlog = self._send_all(now)
        if self.caught_up_since is None or self._is_finishing:
            self._after_sending(now, backlog)

    def finish(self) -> None:
        """No more audio will come: half-close once everything was sent."""
        self._is_finishing = True
        self.pump()

    def cancel(self) -> None:
        """Cancel the stream."""
        self._stop_timer()
        self._stream.cancel()

    def keep_alive(self, *, now: float) -> None:
        """Send silence if nothing was sent for 5 s; call time does not advance."""
        if now < self.next_keep_alive() or self._is_finishing or not self._stream.writable:
            return
        if self._backlog():
            self._send_all(now)
        else:
            self._stream.write(bytes(2 * MAX_PIECE_SAMPLES))
            self.map.add_keepalive(MAX_PIECE_SAMPLES)
            # The next is due after this silence, not after another 5 s.
            self._last_write_at = now - KEEPALIVE_AFTER_S + MAX_PIECE_SAMPLES / SAMPLE_RATE_HZ

    def next_keep_alive(self) -> float:
        """When to call ``keep_alive``."""
        return self._last_write_at + KEEPALIVE_AFTER_S

    def is_stuck(self, *, now: float) -> bool:
        """Whether the stream accepts no audio, although more and more waits."""
        return self._is_paced and now - self._last_write_at > STUCK_S and not self._stream.writable

    def _backlog(self) -> int:
        return self._replay_buffer.kept_from(self._cursor)

    def _send_all(self, now: float) -> int:
        """Send what the stream accepts; returns what is left."""
        while (backlog := self._backlog()) > 0 and self._stream.writable:
            self._send(MAX_PIECE_SAMPLES, now)
        return backlog

    def _send(self, limit: int, now: float) -> None:
        if self._cursor < self._replay_buffer.start:
            # Dropped audio keeps its time: the map jumps with the position.
            self._cursor = max(self._owner.provider_stream_evicted(self), self._replay_buffer.start)
        pcm = self._replay_buffer.read(self._cursor, limit)
        samples = len(pcm) // 2
        self._stream.write(pcm)
        self.map.add_audio(self._cursor, samples)
        self._cursor += samples
        if self._has_caught_up and self.on_sent is not None:
            self.on_sent(self._cursor - samples, self._cursor)
        self._last_write_at = now

    def _replay(self, now: float) -> int:
        """Send what is due; returns what is left."""
        if not self._stream.writable:
            return self._backlog()  # stream_writable continues
        if now >= self._next_piece_at:
            self._send(REPLAY_PIECE_SAMPLES, now)
            speed = max(self._replay_speed, CLOSING_SPEED) if self._is_finishing else self._replay_speed
            self._next_piece_at = now + REPLAY_PIECE_SAMPLES / SAMPLE_RATE_HZ / speed
        backlog = self._backlog()
        if backlog <= self._batch_samples:
            self._is_paced = False
        elif self._timer is None:
            self._timer = self._loop.call_at(self._next_piece_at, self._timer_fired, self._next_piece_at)
        return backlog

    def _after_sending(self, now: float, backlog: int) -> None:
        if self.caught_up_since is None and not self._is_paced and backlog < self._batch_samples:
            self.caught_up_since = now
            self._has_caught_up = True
        if self._is_finishing and backlog <= 0:
            self._stop_timer()
            self.half_closed = True
            self._stream.half_close()

    def _timer_fired(self, planned: float) -> None:
        self._timer = None
        # A loop's timer may fire a tick early.
        self._pump(max(planned, self._loop.time()))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- StreamListener -------------------------------------------------------------------------------

    def stream_writable(self) -> None:
        """The stream accepts audio again."""
        self.pump()

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        """A response."""
        self.answered_at = self._loop.time()
        self._owner.provider_stream_results(self, self._sound(results))

    def _sound(self, results: Sequence[StreamResult]) -> list[StreamResult]:
        """The results without text settled before, each with an end."""
        sent = self.map.length_samples
        sound, interims = [], []
        for result in results:
            if not result.is_final:
                interims.append(result)
            elif (new := self.reports.final(result.text, result.words, result.end_sample, sent=sent)) is not None:
                sound.append(_as_reported(result, new))
        if interims:
            text = "".join(result.text for result in interims)
            end_sample = max(result.end_sample for result in interims)
            words = tuple(word for result in interims for word in result.words)
            whole = StreamResult(text, False, end_sample, words)
            sound.append(_as_reported(whole, self.reports.interim(text, words, end_sample, sent=sent)))
        return sound

    def stream_ended(self, end: StreamEnd) -> None:
        """The stream has ended."""
        self._stop_timer()
        self._stream = _GONE  # breaks a reference cycle
        self._owner.provider_stream_ended(self, end)


def _as_reported(result: StreamResult, reported: Reported) -> StreamResult:
    words = result.words[reported.first_word :] if reported.is_timed else ()
    return StreamResult(reported.text, result.is_final, reported.end_sample, words)


class StreamManagerOwner(Protocol):
    """The session, as its streams see it."""

    def active_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> None:
        """A response of the stream that owns the call."""

    def draining_results(self, provider_stream: ProviderStream, results: Sequence[StreamResult]) -> bool:
        """A response of the stream being replaced; whether it has more than the active stream."""

    def active_is_authoritative(self) -> None:
        """The active stream has had all audio for so long that words it has not returned do not exist."""

    def audio_evicted(self) -> None:
        """Audio after the settled end was dropped: no stream will get it, so the words known now are final."""

    def stream_manager_event(self, event: SessionFailed | SessionRotated | NoWords) -> None:
        """News for the session's listeners."""

    def stream_manager_finished(self, *, complete: bool) -> None:
        """No more results: after ``finish``, or (not ``complete``) because no stream can succeed."""
