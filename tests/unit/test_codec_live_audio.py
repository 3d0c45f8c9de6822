"""Live audio by compiled code, beside the ordinary path: the same bytes, the same position, the same counts."""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall._codec import CallClock, Histogram, LiveAudio, StreamPosition
from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.ports import RecognizerStream, StreamConfig, StreamListener
from fastcall.recognition.provider_stream import ProviderStream
from fastcall.recognition.rotation import RotationPlan
from fastcall.recognition.stream_state import StreamState

try:
    from fastcall._http2 import Http2Connection, Http2Stream
    from fastcall._http2 import load as load_nghttp2

    load_nghttp2()
except OSError as missing:
    pytest.skip(str(missing), allow_module_level=True)

BATCH, LIMIT = 1200, 40_000
AUDIO_TAG = 0x12
HEADERS = b"".join(
    name + b"\0" + value + b"\0"
    for name, value in ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"a"))
)


class Peer:
    """An HTTP/2 server that gives credit only when told to."""

    def __init__(self, connection: Http2Connection) -> None:
        self._client = connection
        self._server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._server.initiate_connection()
        self.heard = b""
        self.owed = 0

    def exchange(self) -> None:
        """Everything that either side wants to send."""
        while True:
            data, _ = self._client.data_to_send()
            for event in self._server.receive_data(data) if data else ():
                if isinstance(event, h2.events.DataReceived):
                    self.heard += event.data
                    self.owed += event.flow_controlled_length
            answer = self._server.data_to_send()
            if answer:
                self._client.receive(answer)
            if not data and not answer:
                return

    def give_credit(self) -> None:
        if self.owed:
            self._server.acknowledge_received_data(self.owed, 1)
            self.owed = 0
        self.exchange()


class Stream:
    """A stream of that connection. Fulfils ``RecognizerStream``."""

    def __init__(self, connection: Http2Connection, *, has_sink: bool, on_flush: Callable[[], None]) -> None:
        self._connection = connection
        self.http2: Http2Stream = connection.open(HEADERS, self)
        self._has_sink = has_sink
        self._on_flush = on_flush

    @property
    def writable(self) -> bool:
        return self.http2.queued_bytes < 16 * 1024

    @property
    def audio_sink(self) -> Any:
        return (self.http2.audio_sink(AUDIO_TAG), self._on_flush) if self._has_sink else None

    def write(self, pcm: bytes) -> None:
        self._connection.write(self.http2, pcm, AUDIO_TAG)

    def half_close(self) -> None:
        self._connection.half_close(self.http2)

    def cancel(self) -> None:
        self._connection.reset(self.http2)


class Rig:
    """A call with one stream, as a session has it."""

    def __init__(self, *, compiled: bool, sample_bytes: int = 1) -> None:
        self.compiled = compiled
        self.connection = Http2Connection()
        self.peer = Peer(self.connection)
        self.peer.exchange()
        self.replay_buffer = ReplayBuffer(sample_bytes=sample_bytes, limit_samples=LIMIT)
        self.clock = CallClock()
        self.ages, self.waits = (Histogram(array("d", (0.01, 0.1, 0.2))) for _ in range(2))
        self.live = LiveAudio(
            self.replay_buffer.track,
            self.clock,
            age=self.ages,
            wait=self.waits,
            limit_samples=LIMIT,
            batch_samples=BATCH,
        )
        self.flushes = self.sent_compiled = 0
        self.state = StreamState(StreamConfig("en-US", "default"), start=0, plan=RotationPlan(1e9, 1e9), now=0.0)
        self.now = 0.0
        self.sender = ProviderStream(
            self,  # type: ignore[arg-type]
            self.state,
            self.replay_buffer,
            batch_samples=BATCH,
            replay_speed=3,
            receive=lambda event: None,
            on_writable=lambda sender: None,
            on_sent=self.count,
        )
        self.sender.pump(now=0.0)

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        self.stream = Stream(self.connection, has_sink=self.compiled, on_flush=self.flush)
        return self.stream

    def flush(self) -> None:
        self.flushes += 1

    def count(self, start: int, end: int) -> None:
        self.ages.observe(self.clock.age_s(end, now=self.now))
        self.waits.observe(self.clock.age_s(start, now=self.now))

    def pump(self) -> None:
        before = self.state.cursor
        if self.live.pump(now=self.now):
            self.sent_compiled += self.state.cursor > before
            return
        self.replay_buffer.take()
        self.clock.heard(self.replay_buffer.end, now=self.now)
        self.sender.pump(now=self.now)
        if not self.sender.is_live or not self.sender.bind(self.live):
            self.live.unbind()

    def do(self, what: tuple[str, int]) -> None:
        kind, amount = what
        track = self.replay_buffer.track
        if kind == "audio":
            track.push(bytes((track.pushed_samples + i) * 7 % 256 for i in range(amount * track.sample_bytes)))
            self.pump()
        elif kind == "silence":
            track.push_silence(amount)
            self.pump()
        elif kind == "time":
            self.now += amount / 8000
        elif kind == "flush":
            self.replay_buffer.take()
            self.sender.flush(now=self.now)
        elif kind == "forget":
            self.replay_buffer.forget_before(max(0, self.state.cursor - amount))
        elif kind == "keep alive":
            self.replay_buffer.take()
            self.now = max(self.now, self.sender.next_deadline() or 0.0)
            self.sender.handle_deadline(now=self.now)
        elif kind == "exchange":
            self.peer.exchange()
        elif kind == "credit":
            self.peer.give_credit()

    def seen(self) -> dict[str, Any]:
        position = self.state.position
        return {
            "heard": self.peer.heard,
            "queued": self.stream.http2.queued_bytes,
            "position": (position.cursor, position.length_samples, position.call_end, position.is_audio),
            "last write": position.last_write_at,
            "map": [self.state.map.to_call(at) for at in range(0, position.length_samples, 997)],
            "counts": (self.ages.counts, self.waits.counts),
        }


WHAT = st.one_of(
    st.tuples(st.just("audio"), st.sampled_from([160, 160, 160, 480, 1200, 2500, 7300])),
    st.tuples(st.just("silence"), st.sampled_from([160, 3000, 9000])),
    st.tuples(st.just("time"), st.sampled_from([160, 1200, 4000])),
    st.tuples(st.just("forget"), st.sampled_from([0, 100, 5000])),
    st.tuples(st.sampled_from(["flush", "keep alive", "exchange", "exchange", "credit"]), st.just(0)),
)


@given(st.lists(WHAT, max_size=60), st.sampled_from([1, 2]))
def test_both_paths_send_the_same(happenings: list[tuple[str, int]], sample_bytes: int) -> None:
    compiled, ordinary = (Rig(compiled=each, sample_bytes=sample_bytes) for each in (True, False))
    for what in happenings:
        compiled.do(what)
        ordinary.do(what)
        assert compiled.seen() == ordinary.seen(), what
    assert ordinary.sent_compiled == 0


def steady(rig: Rig, frames: int) -> None:
    for _ in range(frames):
        rig.now += 0.02
        rig.do(("audio", 160))
        rig.do(("credit", 0))


def test_in_the_steady_state_every_batch_is_sent_by_compiled_code_and_asks_for_a_flush() -> None:
    rig = Rig(compiled=True)
    steady(rig, 8)  # the first batch binds it
    steady(rig, 80)
    assert rig.sent_compiled == 10
    assert rig.flushes == 10  # nobody had arranged one
    rig.connection.flush_due = True
    steady(rig, 16)
    assert (rig.sent_compiled, rig.flushes) == (12, 10)


def test_a_stream_that_has_ended_or_takes_no_more_is_left_to_the_ordinary_path() -> None:
    rig = Rig(compiled=True)
    steady(rig, 8)
    rig.connection.reset(rig.stream.http2)
    before = rig.state.cursor
    rig.replay_buffer.track.push(bytes(BATCH))
    assert not rig.live.pump(now=rig.now)
    assert rig.state.cursor == before
    assert rig.replay_buffer.track.waiting_samples == BATCH


def test_the_sink_keeps_its_stream_alive_and_goes_when_unbound() -> None:
    rig = Rig(compiled=True)
    steady(rig, 8)
    del rig.stream.http2
    rig.replay_buffer.track.push(bytes(BATCH))
    assert rig.live.pump(now=rig.now)
    rig.live.unbind()
    assert not rig.live.pump(now=rig.now)


def test_only_an_audio_sink_is_taken() -> None:
    rig = Rig(compiled=False)
    for wrong in (None, b"", datetime.datetime_CAPI):  # type: ignore[attr-defined]
        with pytest.raises((ValueError, TypeError)):
            rig.live.bind(StreamPosition(), wrong, lambda: None)  # type: ignore[arg-type]
    assert not rig.live.pump(now=0.0)


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (1.0, 1.0), range(17)])
def test_bounds_of_a_histogram_increase_and_are_few(bounds: Any) -> None:
    with pytest.raises(ValueError, match="must increase"):
        Histogram(array("d", bounds))


@given(st.lists(st.floats(0, 10), max_size=40), st.sets(st.floats(0, 10), max_size=16))
def test_a_histogram_counts_each_value_at_the_first_bound_that_it_does_not_exceed(
    values: list[float], bounds: set[float]
) -> None:
    made = Histogram(array("d", sorted(bounds)))
    for value in values:
        made.observe(value)
    edges = [float("-inf"), *sorted(bounds), float("inf")]
    twin = [sum(low < value <= high for value in values) for low, high in pairwise(edges)]
    assert made.counts == twin
    assert made.total == pytest.approx(sum(values))
    assert made.bounds == tuple(sorted(bounds))
