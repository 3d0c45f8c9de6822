"""The second part of the proof: sessions that were opened in one second, whose streams grow old, or break, together."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from dataclasses import dataclass, field

from fastcall.audio.tones import layout
from fastcall.events import SAMPLE_RATE_HZ, SessionFailed
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.ports import RecognizerStream, StreamConfig, StreamListener
from fastcall.recognition.rotation import SPREAD
from fastcall.recognition.session import RecognitionSession, SessionEvent
from fastcall.retry import CircuitBreaker
from fastcall.settings import Settings
from peers import control, google_recognizer, start_emulator, tones
from proofs.trials import Scale, differences, endless_words, sentences

__all__ = ["CROWDS", "Crowd", "CrowdResult", "run_crowd"]

PIECE_SAMPLES = 1200
HANGOVER_SAMPLES = 4000
# What the breaker lets through while it is closed.
REOPENS_PER_S = 100


@dataclass(frozen=True, slots=True)
class Crowd:
    """``breaks``: halfway, all connections are reset in one moment."""

    name: str
    breaks: bool = False


CROWDS = (Crowd("grow old"), Crowd("break", breaks=True))


@dataclass(slots=True)
class CrowdResult:
    """What became of a crowd."""

    name: str
    calls: int
    said: int = 0
    hurt: int = 0
    """Calls whose text is not what was said."""
    opens: int = 0
    """Streams that were opened after the first of each call."""
    most_in_a_second: int = 0
    bound: int = 0
    spread_s: float = 0.0
    """From the first to the last of the calls' first rotations (or, where they broke, returns)."""
    problems: list[str] = field(default_factory=list)


class Counting:
    """A recognizer that notes when streams are opened. Fulfils ``Recognizer``."""

    def __init__(self, inner: GoogleRecognizer) -> None:
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self.opens: list[float] = []

    @property
    def source(self) -> str:
        return self._inner.source

    @property
    def breaker(self) -> CircuitBreaker:
        return self._inner.breaker

    def open(self, config: StreamConfig, listener: StreamListener) -> RecognizerStream:
        self.opens.append(self._loop.time())
        return self._inner.open(config, listener)

    def model_for(self, config: StreamConfig) -> StreamConfig:
        return self._inner.model_for(config)

    def model_refused(self, config: StreamConfig) -> None:
        self._inner.model_refused(config)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def run_crowd(crowd: Crowd, scale: Scale, *, seed: int) -> CrowdResult:
    """Begin all sessions at once, let all of them speak, judge each."""
    after_s, by_s = scale.crowd_ages_s
    settings = Settings(language="en-US", stt_rotate_after_s=after_s, stt_rotate_by_s=by_s)
    options = [*scale.emulator_options, "--stream-limit-s", f"{by_s + 1.5:g}"]
    emulator = await asyncio.to_thread(start_emulator, *options)
    recognizer = Counting(google_recognizer(emulator.ready[1]))
    result = CrowdResult(crowd.name, scale.crowd_calls)
    try:
        texts = await asyncio.to_thread(_texts, scale, seed)
        calls = [_Call(recognizer, settings, text) for text in texts]
        began = asyncio.get_running_loop().time()
        for call in calls:
            call.session.start()
        breaking = asyncio.create_task(_break(crowd, emulator.ready[1], began + scale.crowd_s / 2))
        await asyncio.gather(*(call.speak(began + number * 0.15 / len(calls)) for number, call in enumerate(calls)))
        broke_at = await breaking
    finally:
        await recognizer.aclose()
        await asyncio.to_thread(emulator.stop)
    _judge_texts(result, calls, texts)
    _judge_opens(result, crowd, recognizer.opens[len(calls) :], began, broke_at, by_s - after_s)
    return result


class _Call:
    def __init__(self, recognizer: Counting, settings: Settings, text: list[str]) -> None:
        self._audio = tones(text)
        words, _ = layout(text)
        self._ends = [word.end for word in words]
        self._starts = [word.start for word in words]
        self._finals: list[str] = []
        self.failures: list[str] = []
        self.session = RecognitionSession(
            recognizer,
            StreamConfig("en-US", "default"),
            settings=settings,
            on_event=self._heard,
            on_final=self._finals.append,
            rand=random.Random(" ".join(text)).random,
        )

    @property
    def heard(self) -> list[str]:
        return " ".join(self._finals).split()

    def _heard(self, event: SessionEvent) -> None:
        if isinstance(event, SessionFailed):
            self.failures.append(f"{event.code}: {event.message}")

    async def speak(self, begins_at: float) -> None:
        """At the pace of speech, in pieces of 150 ms; then close."""
        loop = asyncio.get_running_loop()
        speaking: bool | None = None
        for start in range(0, len(self._audio), PIECE_SAMPLES):
            end = start + PIECE_SAMPLES
            await asyncio.sleep(begins_at + end / SAMPLE_RATE_HZ - loop.time())
            self.session.push_audio(self._audio[start:end])
            is_speech = self._is_speech(end)
            if is_speech is not speaking:
                speaking = is_speech
                self.session.note_speech(is_speech, end if is_speech else self._last_word_end(end))
        await self.session.close()

    def _is_speech(self, sample: int) -> bool:
        """What an endpointer would say: a word, or less than the hangover since one."""
        index = bisect_left(self._starts, sample)
        return index > 0 and sample - self._ends[index - 1] < HANGOVER_SAMPLES

    def _last_word_end(self, sample: int) -> int:
        index = bisect_left(self._starts, sample)
        return self._ends[index - 1] if index else 0


def _texts(scale: Scale, seed: int) -> list[list[str]]:
    """Every third caller makes no pause."""
    makers = (sentences, sentences, endless_words)
    return [makers[number % 3](scale.crowd_s, random.Random(f"{seed} {number}")) for number in range(scale.crowd_calls)]


async def _break(crowd: Crowd, address: str, at: float) -> float | None:
    loop = asyncio.get_running_loop()
    if not crowd.breaks:
        return None
    await asyncio.sleep(at - loop.time())

    injected_at = loop.time()
    await asyncio.to_thread(control, address, "/faults/now", {"fault": "reset"})
    return injected_at


def _judge_texts(result: CrowdResult, calls: list[_Call], texts: list[list[str]]) -> None:
    for number, (call, text) in enumerate(zip(calls, texts, strict=True)):
        lost, extra, places = differences(text, call.heard)
        result.said += sum(not token.startswith("[") for token in text)
        if lost or extra:
            result.hurt += 1
            if result.hurt <= 10:
                result.problems += [f"{result.name}, call {number}: {place}" for place in places[:3]]
                result.problems += [f"{result.name}, call {number}: {failure}" for failure in call.failures]


def _judge_opens(
    result: CrowdResult, crowd: Crowd, opens: list[float], began: float, broke_at: float | None, width_s: float
) -> None:
    """The bound: what an even spread gives, and half of it more; or what the breaker lets through."""
    result.opens = len(opens)
    result.most_in_a_second = max((bisect_left(opens, at + 1.0) - index for index, at in enumerate(opens)), default=0)
    even = result.calls / (SPREAD * width_s)
    result.bound = round(max(1.5 * even, (REOPENS_PER_S + even) * crowd.breaks))
    wave = opens[: result.calls]
    if broke_at is not None:
        wave = [at for at in opens if at >= broke_at][: result.calls]
    result.spread_s = wave[-1] - wave[0] if wave else 0.0
    if result.most_in_a_second > result.bound:
        result.problems.append(f"{result.name}: {result.most_in_a_second} streams were opened in one second")
    if len(wave) < result.calls:
        result.problems.append(f"{result.name}: only {len(wave)} streams were opened again")
