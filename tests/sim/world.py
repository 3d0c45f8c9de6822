"""One simulated call: the real runner, machine, session, streams and ledger between a simulated caller and provider."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from fastcall.events import RecognitionEvent, TranscriptEvent
from fastcall.ports import StreamConfig
from fastcall.recognition.session import RecognitionSession, SessionEvent
from fastcall.server.call_runner import CallRunner
from fastcall.twilio.stream_key import StreamKey
from sim.clock import VirtualLoop, run_virtual
from sim.fallback import SimFallback
from sim.provider import SimRecognizer
from sim.scenario import Delivery, Scenario, VoiceTraits

__all__ = ["Observed", "SimSocket", "SimVoice", "SimWorld", "simulate"]

# A call that is not over so long after its socket closed never will be.
OVER_WITHIN_S = 30.0
# Streams that may live at once: the owner, the one that it replaces, and one whose end was asked for.
MAX_LIVE_STREAMS = 2
MAX_MAP_PIECES = 64


class SimVoice:
    """A voice detector that looks whether there is anything at all, and errs as it is told."""

    def __init__(self, traits: VoiceTraits, rng: Random) -> None:
        self._traits = traits
        self._random = rng.random
        self._late: deque[bool] = deque([False] * traits.lag_frames)

    def is_speech(self, pcm: bytes) -> bool:
        """As the port says."""
        traits = self._traits
        if traits.deaf:
            return False
        voiced = any(pcm[160:164])
        if voiced:
            voiced = not traits.missed_voice or self._random() >= traits.missed_voice
        elif traits.false_voice:
            voiced = self._random() < traits.false_voice
        if self._late:
            self._late.append(voiced)
            return self._late.popleft()
        return voiced


class SimSocket:
    """Where answers would go; these calls have no handler."""

    def __init__(self) -> None:
        self.closed: tuple[int, str] | None = None

    def send_soon(self, frames: bytes) -> None:
        """As the port says."""

    def close_soon(self, code: int, reason: str) -> None:
        """As the port says."""
        self.closed = (code, reason)


@dataclass
class Observed:
    """What a call showed from outside, and what is left of it."""

    events: list[tuple[float, TranscriptEvent]] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    """Parts of the call that outgrew the replay bound, in samples."""
    lost_in_reach: list[tuple[int, int]] = field(default_factory=list)
    """Those of them that a stream which had begun to hear what is before them was yet to hear."""
    settled_to: int = 0
    """The settled end by the last final of a stream's, before what was left of the interim was committed."""
    told: dict[int, float] = field(default_factory=dict)
    """Words that the provider told of, and when first."""
    last_fault_at: float = 0.0
    unsettled_at_last_fault: int = 0
    ill_streams: int = 0
    fed: list[tuple[float, int]] = field(default_factory=list)
    """How many samples of the call had come by when."""
    unsettled_at_hang_up: int = 0
    """Samples between the settled end and the call's end when the caller hung up."""
    evicted: list[tuple[int, int, frozenset[int]]] = field(default_factory=list)
    """Parts of the call, in samples, that no stream could settle any more, and the words that were told of by then."""
    began_at: float = 0.0
    hung_up_at: float = 0.0
    over_at: float = 0.0
    problems: list[str] = field(default_factory=list)
    """What must never be, whatever was said."""
    counts: dict[str, int] = field(default_factory=dict)


def simulate(
    scenario: Scenario,
    *,
    trace: Callable[[str], None] | None = None,
    look: Callable[[float, CallRunner], None] | None = None,
) -> Observed:
    """Play ``scenario`` to its end. The same scenario gives the same events, to the microsecond.

    :param look: is shown the call after each message, with the seconds since its begin
    """
    loop = VirtualLoop()
    world = SimWorld(scenario, loop, trace, look)
    try:
        try:
            run_virtual(world.play(), loop)
        except Exception as error:
            world.seen.problems.append(f"the call ended with {error!r}")
        world.look_for_leftovers()
    finally:
        loop.close()
    return world.seen


class SimWorld:
    def __init__(
        self,
        scenario: Scenario,
        loop: VirtualLoop,
        trace: Callable[[str], None] | None,
        look: Callable[[float, CallRunner], None] | None,
    ) -> None:
        self._show = look
        self._scenario = scenario
        self._loop = loop
        self._trace = trace
        self._deliveries: Sequence[Delivery] = scenario.deliveries
        self._next = 0
        self._began_at = loop.time()
        self._lost_samples = 0
        self._watched: RecognitionSession | None = None
        self.seen = Observed(began_at=self._began_at)

    def _say(self, what: str) -> None:
        if self._trace is not None:
            self._trace(f"{self._loop.time() - self._began_at:9.4f} {what}")

    async def play(self) -> None:
        scenario = self._scenario
        self._delivered = asyncio.Event()
        self._provider = SimRecognizer(
            scenario.provider, scenario.words, seed=str(scenario.seed), trace=self._say if self._trace else None
        )
        self._provider.on_fault = self._note_fault
        self._fallback = (
            SimFallback(scenario.fallback, scenario.words, seed=f"fallback {scenario.seed}")
            if scenario.fallback is not None
            else None
        )
        self._runner = CallRunner(
            SimSocket(),
            settings=scenario.settings,
            recognizer=self._provider if scenario.settings.enable_streaming_stt else None,
            config=StreamConfig("he-IL", "phone_call"),
            fallback=self._fallback,
            voice=SimVoice(scenario.voice, Random(f"voice {scenario.seed}")),
            sink=self._sink,
            rand=Random(f"session {scenario.seed}").random,
        )
        self._loop.call_at(self._began_at, self._deliver)
        try:
            async with asyncio.timeout(scenario.deliveries[-1].at_s + OVER_WITHIN_S):
                await self._runner.wait_over()
        except TimeoutError:
            self.seen.problems.append(f"not over {OVER_WITHIN_S:g} s after the socket closed")
        self.seen.over_at = self._loop.time()
        await self._delivered.wait()
        await self._provider.aclose()
        for _ in range(3):
            await asyncio.sleep(0)  # the ends that were still on their way

    def _deliver(self) -> None:
        """Everything that is due, then a timer for the next."""
        deliveries, runner, now = self._deliveries, self._runner, self._loop.time() + 1e-9
        while self._next < len(deliveries) and self._began_at + deliveries[self._next].at_s <= now:
            message = deliveries[self._next].message
            self._next += 1
            if message is None:
                self._say("the socket closes")
                self._note_hang_up()
                runner.socket_closed(1005, "")
            else:
                if message.startswith(b'{"event":"stop"'):
                    self._say("stop")
                    self._note_hang_up()
                runner.message_received(message)
            self._look()
            if self._show is not None:
                self._show(self._loop.time() - self._began_at, runner)
        if self._next == len(deliveries):
            self._delivered.set()
        else:
            self._loop.call_at(self._began_at + deliveries[self._next].at_s, self._deliver)

    def _note_fault(self) -> None:
        if not self.seen.hung_up_at:
            self.seen.last_fault_at = self._loop.time()
            if self._session is not None:
                self.seen.unsettled_at_last_fault = self._session.call_samples - self._session.settled_samples

    def _note_hang_up(self) -> None:
        if not self.seen.hung_up_at:
            self.seen.hung_up_at = self._loop.time()
            if self._session is not None:
                self.seen.unsettled_at_hang_up = self._session.call_samples - self._session.settled_samples

    def _sink(self, event: TranscriptEvent, *, key: StreamKey, stream_sid: str) -> None:
        self.seen.events.append((self._loop.time(), event))
        if self._trace is not None:
            span = f" {event.start_sample}..{event.end_sample}" if event.utterance_id else ""
            self._say(f"==> {event.event} {event.utterance_id or ''}{span} {event.text or ''}")
        self._look()

    def _in_call(self, sample: int) -> int:
        """The call time of a sample of the session's audio, in which long silence is cut short."""
        return self._runner.machine.call_time.of(sample)

    # --- what must never be -----------------------------------------------------------------------------

    @property
    def _session(self) -> RecognitionSession | None:
        return self._runner.session

    def _look(self) -> None:
        """The bounds, after each thing that happens."""
        session = self._session
        if session is None:
            return
        if not self.seen.fed or self.seen.fed[-1][1] < session.call_samples:
            self.seen.fed.append((self._loop.time(), self._in_call(session.call_samples)))
        self._note_settled(session)
        if session is not self._watched:
            self._watched = session
            self._watch_evictions(session)
        replay_buffer, problems = session.replay_buffer, self.seen.problems
        if session.lost_samples > self._lost_samples:
            lost = session.lost_samples - self._lost_samples
            self._lost_samples = session.lost_samples
            self.seen.lost.append((self._in_call(replay_buffer.start - lost), self._in_call(replay_buffer.start)))
            owner = session.active_stream
            if owner is not None and owner.map.length_samples:
                self.seen.lost_in_reach.append(self.seen.lost[-1])
        if len(problems) > 5:
            return
        if replay_buffer.end - replay_buffer.start > int(self._scenario.settings.stt_replay_s * 8000):
            problems.append(f"the history holds {(replay_buffer.end - replay_buffer.start) / 8000:.1f} s")
        if len(self._provider.streams) > MAX_LIVE_STREAMS:
            problems.append(f"{len(self._provider.streams)} streams at once")
        owner = session.active_stream
        if owner is not None and owner.map.pieces > MAX_MAP_PIECES:
            problems.append(f"a stream map of {owner.map.pieces} pieces")

    def _note_settled(self, session: RecognitionSession) -> None:
        # Without an owner F moves only when the session commits what is left of an interim.
        if session.active_stream is not None:
            self.seen.settled_to = self._in_call(session.settled_samples)

    def _watch_evictions(self, session: RecognitionSession) -> None:
        """A final of the stream's source, while the owner has heard nothing and audio after the settled end is gone,
        is what was known of that audio."""
        settled_to = session.settled_samples

        def note(event: SessionEvent) -> None:
            nonlocal settled_to
            if not isinstance(event, RecognitionEvent) or event.kind != "final":
                return
            owner, lost_to = session.active_stream, session.replay_buffer.lost_to
            is_unheard = owner is not None and not owner.map.length_samples
            if is_unheard and event.source == self._provider.source and lost_to > settled_to:
                span = (self._in_call(settled_to), self._in_call(event.end_sample))
                self.seen.evicted.append((*span, frozenset(self._provider.told)))
            settled_to = max(settled_to, event.end_sample)

        session.add_listener(note)

    def look_for_leftovers(self) -> None:
        seen = self.seen
        seen.problems += self._provider.violations
        seen.problems += self._loop.errors
        if self._provider.streams:
            seen.problems.append(f"{len(self._provider.streams)} streams left open")
        tasks = [task for task in asyncio.all_tasks(self._loop) if not task.done()]
        seen.problems += [f"left on the loop: {task!r}" for task in tasks]
        seen.problems += [f"left on the loop: {timer!r}" for timer in self._loop.timers()]
        seen.counts = dict(self._provider.counts)
        seen.told = self._provider.told
        seen.ill_streams = self._provider.ill
        seen.counts["asks of the fallback"] = self._fallback.asked if self._fallback is not None else 0
