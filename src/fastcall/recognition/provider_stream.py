"""One provider stream of a session: reads the replay buffer from a cursor of its own, and sends.

A stream that begins at the end of the buffer is live at once; one that begins earlier replays, paced, until it has
caught up. Both take the same path, so a replay cannot lose or double what live sending would not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastcall._codec import MAX_PIECE_SAMPLES, LiveAudio
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS
from fastcall.ports import AudioSink, Recognizer, RecognizerStream, StreamEnd, StreamResult
from fastcall.recognition.inputs import AudioEvicted, RecognitionInput, ResultsReceived, StreamEnded
from fastcall.recognition.stream_state import StreamState

__all__ = ["ProviderStream"]

REPLAY_PIECE_SAMPLES = 250 * SAMPLES_PER_MS
# Further behind than this, a stream is paced; nearer, it sends everything. Brief back-pressure stays below it.
LIVE_BACKLOG_SAMPLES = 1000 * SAMPLES_PER_MS
# Google gives up after about 10 s without audio.
KEEPALIVE_AFTER_S = 5.0
# When no more audio comes, catching up may approach Google's limit of 5 times real time: `close()` has a timeout.
CLOSING_SPEED = 4.5


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
    """Sends one stream's audio, and reports what comes of it. The listener of its stream. Loop thread only.

    :param state: the stream's position, which this keeps
    :param replay_speed: speed of catching up, as a multiple of real time
    :param receive: called with what happens to the stream
    :param on_writable: called with this object when the stream accepts audio again: ``pump`` it then
    :param on_sent: called for live audio sent, not for replays: its first sample, and the one after its last
    """

    def __init__(
        self,
        recognizer: Recognizer,
        state: StreamState,
        replay_buffer: ReplayBuffer,
        *,
        batch_samples: int,
        replay_speed: float,
        receive: Callable[[RecognitionInput], None],
        on_writable: Callable[[ProviderStream], None],
        on_sent: Callable[[int, int], None],
    ) -> None:
        self._state = state
        self._replay_buffer = replay_buffer
        self._batch_samples = batch_samples
        self._replay_speed = replay_speed
        self._receive = receive
        self._on_writable = on_writable
        self._on_sent = on_sent
        self._flush_to = state.start
        self._next_piece_at = 0.0
        self._is_finishing = False
        self._has_caught_up = False
        self._stream: RecognizerStream = recognizer.open(state.config, self)

    @property
    def is_live(self) -> bool:
        """Whether it was sent everything but less than a batch, so that each batch can go out as it becomes due."""
        state = self._state
        return (
            state.caught_up_since is not None
            and not state.is_paced
            and not self._is_finishing
            and state.cursor >= self._flush_to
        )

    def bind(self, live: LiveAudio) -> bool:
        """Have ``live`` send its batches, if the stream can be written to by compiled code; whether it can."""
        sink: AudioSink | None = getattr(self._stream, "audio_sink", None)
        if sink is not None:
            live.bind(self._state.position, *sink)
        return sink is not None

    # --- sending --------------------------------------------------------------------------------------

    def pump(self, *, now: float) -> None:
        """Send due audio: a batch or more when live, a paced piece when catching up."""
        state = self._state
        if state.half_closed:
            return
        backlog = self._backlog()
        if backlog > LIVE_BACKLOG_SAMPLES:
            state.is_paced = True
            state.caught_up_since = None
        if state.is_paced:
            backlog = self._replay(now)
        is_live = state.caught_up_since is not None and not self._is_finishing
        waits_for_batch = is_live and state.cursor >= self._flush_to
        if not state.is_paced and backlog >= (self._batch_samples if waits_for_batch else 1):
            backlog = self._send_all(now)
        if state.caught_up_since is None or self._is_finishing:
            self._after_sending(now, backlog)

    def flush(self, *, now: float) -> None:
        """Send all audio, even less than a batch: an utterance is over, and no more may come."""
        self._flush_to = self._replay_buffer.end
        self.pump(now=now)

    def finish(self, *, now: float) -> None:
        """No more audio will come: half-close once everything was sent."""
        self._is_finishing = True
        self.pump(now=now)

    def cancel(self) -> None:
        """Cancel the stream."""
        self._stream.cancel()

    def handle_deadline(self, *, now: float) -> None:
        """Send what is due by time alone."""
        if self._state.is_paced:
            self.pump(now=now)
        self._keep_alive(now)

    def _keep_alive(self, now: float) -> None:
        """Send silence if nothing was sent for 5 s; call time does not advance."""
        state = self._state
        if now < self._next_keep_alive() or self._is_finishing or not self._stream.writable:
            return
        if self._backlog() > 0:
            self._send_all(now)
        else:
            self._stream.write(bytes(2 * MAX_PIECE_SAMPLES))
            state.map.add_keepalive(MAX_PIECE_SAMPLES)
            # The next is due after this silence, not after another 5 s.
            state.position.last_write_at = now - KEEPALIVE_AFTER_S + MAX_PIECE_SAMPLES / SAMPLE_RATE_HZ

    def next_deadline(self) -> float | None:
        """When to call ``handle_deadline``; None: not by time alone."""
        if self._state.is_paced and self._stream.writable:
            return self._next_piece_at
        return None if self._is_finishing or not self._stream.writable else self._next_keep_alive()

    def _next_keep_alive(self) -> float:
        return self._state.position.last_write_at + KEEPALIVE_AFTER_S

    def _backlog(self) -> int:
        return self._replay_buffer.kept_from(self._state.cursor)

    def _send_all(self, now: float) -> int:
        """Send what the stream accepts; returns what is left."""
        while (backlog := self._backlog()) > 0 and self._stream.writable:
            self._send(MAX_PIECE_SAMPLES, now)
        return backlog

    def _send(self, limit: int, now: float) -> None:
        state = self._state
        if state.cursor < self._replay_buffer.start:
            # Dropped audio keeps its time: the map jumps with the position.
            self._receive(AudioEvicted(state))
            state.position.cursor = max(state.cursor, self._replay_buffer.start)
        pcm = self._replay_buffer.read(state.cursor, limit)
        samples = len(pcm) // 2
        self._stream.write(pcm)
        state.map.add_audio(state.cursor, samples)
        state.position.cursor += samples
        if self._has_caught_up:
            self._on_sent(state.cursor - samples, state.cursor)
        state.position.last_write_at = now

    def _replay(self, now: float) -> int:
        """Send what is due; returns what is left."""
        self._state.is_blocked = not self._stream.writable
        if self._state.is_blocked:
            return self._backlog()  # stream_writable continues
        if now >= self._next_piece_at:
            self._send(REPLAY_PIECE_SAMPLES, now)
            speed = max(self._replay_speed, CLOSING_SPEED) if self._is_finishing else self._replay_speed
            self._next_piece_at = now + REPLAY_PIECE_SAMPLES / SAMPLE_RATE_HZ / speed
        backlog = self._backlog()
        if backlog <= self._batch_samples:
            self._state.is_paced = False
        return backlog

    def _after_sending(self, now: float, backlog: int) -> None:
        state = self._state
        if state.caught_up_since is None and not state.is_paced and backlog < self._batch_samples:
            state.caught_up_since = now
            self._has_caught_up = True
        if self._is_finishing and backlog <= 0:
            state.half_closed = True
            self._stream.half_close()

    # --- StreamListener -------------------------------------------------------------------------------

    def stream_writable(self) -> None:
        """The stream accepts audio again."""
        self._on_writable(self)

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        """A response."""
        self._receive(ResultsReceived(self._state, results))

    def stream_ended(self, end: StreamEnd) -> None:
        """The stream has ended."""
        self._stream = _GONE  # breaks a reference cycle
        self._receive(StreamEnded(self._state, end))
