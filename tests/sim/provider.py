"""A model of Google's StreamingRecognize behind the recognizer port: what it hears, says, and how it breaks."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from fastcall.ports import StreamConfig, StreamEnd, StreamListener, StreamResult, StreamWord
from fastcall.retry import CircuitBreaker
from sim.scenario import Outage, ProviderTraits
from sim.speech import SpokenWord
from sim.word_spotter import HeardWord, WordSpotter

__all__ = ["SimRecognizer", "SimStream"]

MAX_PENDING = 2  # as the Google adapter: one request on its way and one behind it
MAX_WRITE_BYTES = 15_000
IDLE_S = 10.0
MAX_SPEED = 5.0
BURST_S = 3.0
FAULTS = ("UNAVAILABLE", "INTERNAL", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "OK")
LIMITS = ("OUT_OF_RANGE", "INVALID_ARGUMENT")

Trace = Callable[[str], None]


class SimRecognizer:
    """Opens streams. ``violations`` are what the real provider would have refused, or the port forbids."""

    def __init__(
        self, traits: ProviderTraits, words: Sequence[SpokenWord], *, seed: str, trace: Trace | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._breaker = CircuitBreaker()
        self._seed = seed
        self._refused: set[str] = set()
        self.traits = traits
        self.words = {word.number: word for word in words}
        self.trace = trace
        self.began_at = self._loop.time()
        self.streams: list[SimStream] = []
        """Streams that are open."""
        self.opened_at: list[float] = []
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.told: dict[int, float] = {}
        """Words that a stream has told of, and when first, whether or not anything became of them."""
        self.last_fault_at = 0.0
        """When the provider last did what only a failure of its own explains, or was given up for it."""
        self.ill = 0
        """How many streams have fallen silent or hung."""
        self.on_fault: Callable[[], None] = _nobody

    @property
    def source(self) -> str:
        """As the port says."""
        return "google"

    @property
    def breaker(self) -> CircuitBreaker:
        """As the port says."""
        return self._breaker

    def model_for(self, config: StreamConfig) -> StreamConfig:
        """As the port says."""
        return replace(config, model="default") if config.model in self._refused else config

    def model_refused(self, config: StreamConfig) -> None:
        """As the port says."""
        self._refused.add(config.model)

    def open(self, config: StreamConfig, listener: StreamListener) -> SimStream:
        """As the port says."""
        number = len(self.opened_at) + 1
        self.opened_at.append(self._loop.time())
        self.counts["streams"] += 1
        stream = SimStream(self, config, listener, number, Random(f"stream {self._seed}/{number}"))
        self.streams.append(stream)
        return stream

    async def aclose(self) -> None:
        """As the port says."""
        for stream in tuple(self.streams):
            stream.cancel()

    def outage(self) -> Outage | None:
        """The one that is on."""
        at_s = self._loop.time() - self.began_at
        return next((o for o in self.traits.outages if o.start_s <= at_s < o.end_s), None)

    def note_fault(self) -> None:
        """The provider failed, or what had failed was given up."""
        self.last_fault_at = self._loop.time()
        self.on_fault()


def _nobody() -> None:
    pass


@dataclass(slots=True)
class _Decided:
    """An utterance that is over and whose final is on its way."""

    words: list[HeardWord]
    end: int


class SimStream:
    """One stream. Everything that the listener is told comes from the loop, never from inside its own calls."""

    def __init__(
        self, host: SimRecognizer, config: StreamConfig, listener: StreamListener, number: int, rng: Random
    ) -> None:
        self._host, self._listener, self._rng = host, listener, rng
        self._traits = host.traits
        self._loop = asyncio.get_running_loop()
        self.number = number
        self._timers: set[asyncio.TimerHandle] = set()
        self._spotter = WordSpotter(host.words)
        self._current: list[HeardWord] = []
        self._decided: deque[_Decided] = deque()
        self._before: list[HeardWord] = []
        self._final_due_at = self._results_at = 0.0
        self._any_final = False
        self._withheld_at = -1
        self._is_silent = self._is_ill = False
        self._pending: deque[bytes] = deque((b"config",))
        self._accepted = self._taking = self._was_full = self._half_closed = self._flushed = self._over = False
        self._first_audio_at: float | None = None
        self._last_audio_at = 0.0
        self._interim_waits = False
        self._say("open " + config.model)
        self._begin(config)

    def _begin(self, config: StreamConfig) -> None:
        rng, traits = self._rng, self._traits
        outage = self._host.outage()
        if outage is not None:
            self._after(outage.fail_s, self._fault, outage.code, "outage")
            return
        connect_s = rng.uniform(*traits.connect_s)
        if rng.random() < traits.slow_accept:
            connect_s += rng.uniform(0.5, 3.0)
        if traits.refuses_model and config.model != "default":
            message = "Invalid recognition 'config': The phone_call model is currently not supported for language : iw"
            self._after(connect_s, self._fault, "INVALID_ARGUMENT", message)
            return
        self._after(connect_s, self._accept)
        self._after(traits.stream_limit_s, self._fault, "OUT_OF_RANGE", "Exceeded maximum allowed stream duration")
        if traits.faults_per_s:
            at_s = rng.expovariate(traits.faults_per_s)
            if self._loop.time() + at_s - self._host.began_at < traits.faults_until_s:
                self._after(at_s, self._fault, rng.choice(FAULTS), "broke")
        for share, fate in ((traits.stalls, self._fall_silent), (traits.hangs, self._hang)):
            at_s = rng.uniform(0, 6)
            if rng.random() < share and self._loop.time() + at_s - self._host.began_at < traits.faults_until_s:
                self._after(at_s, fate)
        for next_outage in traits.outages:
            starts_in_s = next_outage.start_s - (self._loop.time() - self._host.began_at)
            if starts_in_s > 0:
                self._after(starts_in_s, self._fault, next_outage.code, "outage begins")

    # --- the port -------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """As the port says."""
        if len(self._pending) < MAX_PENDING:
            return not self._half_closed and not self._over
        self._was_full = True
        return False

    def write(self, pcm: bytes) -> None:
        """As the port says."""
        if self._half_closed or self._over:
            return
        if not pcm or len(pcm) > MAX_WRITE_BYTES:
            self._host.violations.append(f"a write of {len(pcm)} bytes")
        if len(self._pending) >= MAX_PENDING:
            self._host.violations.append("a write to a stream that is not writable")
        self._pending.append(pcm)
        self._take_soon()

    def half_close(self) -> None:
        """As the port says."""
        if not self._half_closed and not self._over:
            self._say("half-close")
        self._half_closed = True
        self._take_soon()

    def cancel(self) -> None:
        """As the port says."""
        if self._over:
            return
        self._say("cancelled")
        if self._accepted and self._current and self._rng.random() < self._traits.late_after_cancel:
            self._loop.call_soon(self._listener.stream_results, self._interim())
        self._end("CANCELLED", "given up")

    # --- requests -------------------------------------------------------------------------------------

    def _accept(self) -> None:
        self._accepted = True
        self._last_audio_at = self._loop.time()
        self._check_idle()
        self._take_soon()

    def _fall_silent(self) -> None:
        self._host.counts["stalls"] += 1
        self._say("falls silent")
        self._is_silent = True
        self._fall_ill()

    def _hang(self) -> None:
        self._host.counts["hangs"] += 1
        self._say("takes no more")
        self._accepted = False
        self._fall_ill()

    def _fall_ill(self) -> None:
        self._is_ill = True
        self._host.ill += 1
        self._host.note_fault()

    def _take_soon(self) -> None:
        if self._accepted and not self._taking and not self._over and (self._pending or self._half_closed):
            self._taking = True
            self._after(self._rng.uniform(*self._traits.write_s), self._take)

    def _take(self) -> None:
        self._taking = False
        if not self._accepted:
            return
        if self._pending:
            request = self._pending.popleft()
            if request != b"config":
                self._hear(request)
        elif self._half_closed and not self._flushed:
            self._flushed = True
            self._after(self._rng.uniform(0.02, 0.8), self._flush)
        if self._was_full and len(self._pending) < MAX_PENDING and not self._over:
            self._was_full = False
            self._listener.stream_writable()
        self._take_soon() if not self._flushed else None

    def _hear(self, pcm: bytes) -> None:
        now = self._loop.time()
        self._first_audio_at = now if self._first_audio_at is None else self._first_audio_at
        words = self._spotter.hear(pcm)
        heard_s = self._spotter.heard_samples / 8000
        if heard_s > MAX_SPEED * (now - self._first_audio_at) + BURST_S:
            self._host.violations.append(f"{heard_s:.2f} s of audio within {now - self._first_audio_at:.2f} s")
        self._last_audio_at = now
        for word in words:
            self._host.counts["garbled"] += word.number < 0
            self._current.append(word)
        if words:
            self._say("hears " + " ".join(word.text for word in words))
            self._interim_soon()
        self._decide()

    def _check_idle(self) -> None:
        """One timer that looks again, not one a request."""
        idle_at = self._last_audio_at + IDLE_S
        if self._loop.time() < idle_at - 1e-6:
            self._after(idle_at - self._loop.time(), self._check_idle)
        elif self._accepted and not self._half_closed:
            self._host.violations.append(f"stream {self.number} got no audio for {IDLE_S:g} s")
            self._fault("OUT_OF_RANGE", "Audio Timeout Error: Long duration elapsed without audio.")

    # --- results --------------------------------------------------------------------------------------

    def _decide(self) -> None:
        """Whether the words so far are an utterance."""
        if not self._current:
            return
        spotter, traits = self._spotter, self._traits
        silence = spotter.heard_samples - spotter.voice_end
        if silence >= traits.end_silence_s * 8000:
            end = spotter.heard_samples if traits.final_end_in_silence else self._round(self._current[-1].end)
            if spotter.voice_end == self._withheld_at:
                return
            if self._rng.random() < traits.withheld:
                self._withheld_at = spotter.voice_end
                self._host.counts["withheld"] += 1
                return
        elif self._current[-1].end - self._current[0].start >= traits.max_utterance_s * 8000:
            end = self._round(self._current[-1].end)
        else:
            return
        self._decided.append(_Decided(self._current, end))
        self._current = []
        # Finals keep their order.
        self._final_due_at = max(self._final_due_at, self._loop.time() + self._rng.uniform(*traits.final_s))
        self._after(self._final_due_at - self._loop.time(), self._send_final)

    def _round(self, sample: int) -> int:
        width = self._traits.rounding_samples
        return max(0, sample + self._rng.randint(-width, width)) if width else sample

    def _send_final(self) -> None:
        if self._decided:
            decided = self._decided.popleft()
            results = [self._final(decided), *self._interim()]
            self._tell(results, [*decided.words, *self._unsettled()])
            if self._traits.repeats and self._rng.random() < self._traits.repeats:
                self._host.counts["repeated finals"] += 1
                self._tell(results, ())

    def _final(self, decided: _Decided) -> StreamResult:
        lead, self._any_final = (" " if self._any_final else ""), True
        before, self._before = self._before, decided.words
        if self._traits.repeats and self._rng.random() < self._traits.repeats:
            self._host.counts["finals that reach back"] += bool(before)
            decided = _Decided([*before[self._rng.randint(0, len(before)) :], *decided.words], decided.end)
        words = decided.words if self._traits.word_times else []
        timed = tuple(StreamWord(w.text, self._round(w.start), self._round(w.end)) for w in words)
        text = lead + " ".join(w.text for w in decided.words)
        return StreamResult(text, True, decided.end, timed)

    def _interim_soon(self) -> None:
        if self._interim_waits:
            return
        self._interim_waits = True
        self._after(self._rng.uniform(*self._traits.interim_s), self._send_interim)

    def _send_interim(self) -> None:
        self._interim_waits = False
        results = self._interim()
        if not results:
            return
        if self._rng.random() < self._traits.rewrites:
            results = self._rewritten(results)
            self._interim_soon()  # put right soon after
            self._tell(results, ())
        else:
            self._tell(results, self._unsettled())

    def _unsettled(self) -> list[HeardWord]:
        return [word for decided in self._decided for word in decided.words] + self._current

    def _interim(self) -> list[StreamResult]:
        """The hypothesis of all that no final has settled, in two parts."""
        words = self._unsettled()
        if not words:
            return []
        end = self._spotter.heard_samples if self._traits.interim_end_is_audio else words[-1].end
        lead = " " if self._any_final else ""
        texts = [word.text for word in words]
        if len(texts) < 3:
            return [StreamResult(lead + " ".join(texts), False, end)]
        return [
            StreamResult(lead + " ".join(texts[:-1]), False, words[-2].end),
            StreamResult(" " + texts[-1], False, end),
        ]

    def _rewritten(self, results: list[StreamResult]) -> list[StreamResult]:
        """Shorter, or with a misheard end, or with a word too many."""
        texts = "".join(result.text for result in results).split()
        dice = self._rng.randrange(3)
        if dice < 2:
            # It is taken back: until it is told again, nobody can know of the last word.
            self._host.told.pop(self._unsettled()[-1].number, None)
        if dice == 0:
            texts = texts[:-1]
        elif dice == 1:
            texts[-1] = "um"
        else:
            texts.append("uh")
        return [StreamResult(" ".join(texts), False, results[-1].end_sample)] if texts else []

    def _flush(self) -> None:
        """After the half-close: all that is left becomes final, then the end."""
        if self._current:
            self._decided.append(_Decided(self._current, self._spotter.heard_samples))
            self._current = []
        while self._decided:
            decided = self._decided.popleft()
            self._tell([self._final(decided)], decided.words)
        if not self._is_silent:
            self._end("OK", "")

    def _tell(self, results: list[StreamResult], words: Sequence[HeardWord]) -> None:
        """``words`` are in the results as they were said."""
        if self._over or self._is_silent or not results:
            return
        if not self._traits.tells_ends:
            results = [replace(result, end_sample=0) for result in results]
        for word in words:
            self._host.told.setdefault(word.number, self._loop.time())
        for result in results:
            kind = "final" if result.is_final else "interim"
            self._host.counts[kind] += 1
            self._say(f"{kind} [{result.text.strip()}] to {result.end_sample}")
        self._listener.stream_results(results)

    # --- the end --------------------------------------------------------------------------------------

    def _fault(self, code: str, message: str) -> None:
        if self._over:
            return
        self._host.counts[code] += 1
        self._say(f"ends: {code} {message}")
        if code not in LIMITS:
            self._host.note_fault()
        self._end(code, message)

    def _end(self, code: str, message: str) -> None:
        if self._over:
            return
        self._over = True
        if self._is_ill:
            self._host.note_fault()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._host.streams.remove(self)
        self._loop.call_soon(self._listener.stream_ended, StreamEnd(code, message))

    def _after(self, delay_s: float, callback: Callable[..., None], *args: object) -> asyncio.TimerHandle:
        def fire() -> None:
            self._timers.discard(timer)
            if not self._over:
                callback(*args)

        timer = self._loop.call_later(max(0.0, delay_s), fire)
        self._timers.add(timer)
        return timer

    def _say(self, what: str) -> None:
        if self._host.trace is not None:
            self._host.trace(f"    stream {self.number}: {what}")
