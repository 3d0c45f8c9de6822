"""From a seed to a call: what is said when, how the telephone delivers it, how the provider behaves, what is set."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from fastcall.settings import Settings
from sim.speech import SILENCE, SpokenWord

__all__ = [
    "FRAME_SAMPLES",
    "RATE",
    "Delivery",
    "FallbackTraits",
    "Outage",
    "ProviderTraits",
    "Scenario",
    "VoiceTraits",
    "long_call",
    "scenario_of",
]

RATE = 8000
FRAME_SAMPLES = 160
FRAME_S = 0.02
BLOCK_S = 100.0
STREAM_SID, CALL_SID = "MZsim", "CAsim"

_Skips = list[tuple[int, int]]
"""Before which samples of the audio the telephone sends nothing while its clock goes on, and for how many samples."""


@dataclass(frozen=True, slots=True)
class Outage:
    """From ``start_s`` to ``end_s`` of the call nothing is served: live streams die, opens fail after ``fail_s``."""

    start_s: float
    end_s: float
    code: str
    fail_s: float


@dataclass(frozen=True, slots=True)
class ProviderTraits:
    """How the provider behaves. Delays in seconds, as (least, most); shares from 0 to 1."""

    connect_s: tuple[float, float] = (0.02, 0.2)
    write_s: tuple[float, float] = (0.0005, 0.02)
    slow_accept: float = 0.0
    interim_s: tuple[float, float] = (0.05, 0.4)
    final_s: tuple[float, float] = (0.3, 1.0)
    end_silence_s: float = 0.6
    max_utterance_s: float = 15.0
    final_end_in_silence: bool = True
    """Whether a final ends where the silence was noticed, or at its last word."""
    interim_end_is_audio: bool = True
    word_times: bool = True
    rounding_samples: int = 0
    rewrites: float = 0.0
    withheld: float = 0.0
    """Share of finals that do not come before the next does, or the half-close."""
    repeats: float = 0.0
    """Share of finals that come twice, and of those that say the words of the one before once more and go on."""
    tells_ends: bool = True
    """Whether results have an end time."""
    late_after_cancel: float = 0.0
    stream_limit_s: float = 305.0
    faults_per_s: float = 0.0
    faults_until_s: float = 1e9
    outages: tuple[Outage, ...] = ()
    refuses_model: bool = False
    stalls: float = 0.0
    """Share of streams that at some time fall silent: they take audio and tell nothing."""
    hangs: float = 0.0
    """Share of streams that at some time take no more audio, and do not end either."""

    @property
    def is_healthy(self) -> bool:
        """Whether nothing goes wrong but what a limit explains."""
        return not (self.faults_per_s or self.outages or self.stalls or self.hangs)


@dataclass(frozen=True, slots=True)
class VoiceTraits:
    """How the voice detector errs."""

    lag_frames: int = 0
    false_voice: float = 0.0
    missed_voice: float = 0.0
    deaf: bool = False


@dataclass(frozen=True, slots=True)
class FallbackTraits:
    """How the fallback behaves, if there is one."""

    answer_s: tuple[float, float]
    refuses: float = 0.0
    fails: float = 0.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """``message`` arrives ``at_s`` seconds after the socket was opened; None: the socket closes."""

    at_s: float
    message: bytes | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One call, decided before it begins."""

    seed: int
    settings: Settings
    provider: ProviderTraits
    voice: VoiceTraits
    words: tuple[SpokenWord, ...]
    """What is said in audio that is delivered, in order, by call time."""
    samples: int
    """Length of the call."""
    deliveries: tuple[Delivery, ...] = field(repr=False)
    fallback: FallbackTraits | None = None


def scenario_of(seed: int) -> Scenario:
    """The call that ``seed`` stands for."""
    rng = Random(f"call {seed}")
    seconds = rng.uniform(12, 40) if rng.random() < 0.9 else rng.uniform(60, 150)
    settings = _settings(rng)
    provider = _provider(rng, settings, seconds)
    voice = _voice(rng)
    if voice.deaf:
        # With a stream that says nothing and a detector that hears nothing nobody can know that there was speech.
        provider = replace(provider, stalls=0.0)
    provider = _odd(Random(f"oddities of call {seed}"), provider)
    words = _speech(rng, seconds)
    frames = max(1, int(seconds / FRAME_S))
    if rng.random() < 0.3 and words:
        # The caller hangs up in the middle of a word.
        word = rng.choice(words[len(words) // 2 :])
        frames = max(1, rng.randint(word.start, word.end) // FRAME_SAMPLES)
    lost = _lost_frames(rng, frames)
    words = [w for w in words if not any(_touches(w, low, high) for low, high in lost)]
    audio = bytearray([SILENCE]) * (frames * FRAME_SAMPLES)
    for word in words:
        audio[word.start : word.end] = word.samples()
    del audio[frames * FRAME_SAMPLES :]
    deliveries, skips = _deliveries(rng, bytes(audio), frames, lost, words)
    words = [_in_call_time(word, skips) for word in words]
    samples, fallback = _samples(frames, skips), _fallback(Random(f"fallback of call {seed}"))
    if fallback is not None and seed % 20 == 0:
        settings = replace(settings, enable_streaming_stt=False)
    return Scenario(seed, settings, provider, voice, tuple(words), samples, tuple(deliveries), fallback)


def long_call(seed: int, seconds: float, settings: Settings, provider: ProviderTraits) -> Scenario:
    """A call of that length, in which each 100 s are spoken alike."""
    rng = Random(f"long call {seed}")
    block, words, frames = _speech(rng, min(seconds, BLOCK_S)), [], int(seconds / FRAME_S)
    for shift in range(0, int(seconds * RATE), int(BLOCK_S * RATE)):
        for word in block:
            number = len(words)
            words.append(SpokenWord(number, f"w{number}", word.start + shift, word.end + shift))
    audio = bytearray([SILENCE]) * (frames * FRAME_SAMPLES)
    for word in words:
        audio[word.start : word.end] = word.samples()
    deliveries, skips = _deliveries(rng, bytes(audio), frames, [], words)
    words = [_in_call_time(word, skips) for word in words]
    voice = VoiceTraits()
    return Scenario(seed, settings, provider, voice, tuple(words), _samples(frames, skips), tuple(deliveries))


def _in_call_time(word: SpokenWord, skips: _Skips) -> SpokenWord:
    """``word``, whose place is told in audio, with the time before it in which the telephone sent none."""
    skipped = sum(samples for at, samples in skips if at <= word.start)
    return replace(word, start=word.start + skipped, end=word.end + skipped)


def _samples(frames: int, skips: _Skips) -> int:
    return frames * FRAME_SAMPLES + sum(samples for _, samples in skips)


def _touches(word: SpokenWord, low: int, high: int) -> bool:
    return word.start < high * FRAME_SAMPLES and word.end > low * FRAME_SAMPLES


def _settings(rng: Random) -> Settings:
    settings = Settings(
        stt_batch_ms=rng.choice((20, 100, 150, 150, 150, 300)),
        stt_partial_debounce_ms=rng.choice((0, 180, 180, 400)),
        utterance_commit_ms=rng.choice((0, 100, 300, 300, 300, 1000)),
        stt_replay_speed=rng.choice((2.0, 3.0, 3.0, 4.0)),
        vad_start_ms=rng.choice((40, 60, 60, 100)),
        vad_hangover_ms=rng.choice((200, 300, 500, 500, 800)),
        vad_preroll_ms=rng.choice((0, 300, 300, 500)),
        utterance_max_s=rng.choice((60.0, 60.0, 60.0, 5.0)),
    )
    if rng.random() < 0.8:
        after_s = rng.uniform(4, 10)
        settings = replace(settings, stt_rotate_after_s=after_s, stt_rotate_by_s=after_s + rng.uniform(2, 8))
    if rng.random() < 0.1:
        settings = replace(settings, stt_replay_s=rng.uniform(6, 12))
    return settings


def _provider(rng: Random, settings: Settings, seconds: float) -> ProviderTraits:
    by_s = settings.stt_rotate_by_s
    limit_s = by_s + rng.uniform(2, 10) if rng.random() < 0.85 else max(4.0, by_s * rng.uniform(0.5, 0.95))
    traits = ProviderTraits(
        connect_s=rng.choice(((0.001, 0.01), (0.02, 0.2), (0.1, 0.8))),
        slow_accept=rng.choice((0.0, 0.0, 0.2)),
        interim_s=rng.choice(((0.01, 0.05), (0.05, 0.4), (0.2, 0.8))),
        final_s=rng.choice(((0.0, 0.1), (0.3, 1.0), (0.5, 1.5), (0.5, 3.0))),
        end_silence_s=rng.choice((0.4, 0.6, 0.8)),
        max_utterance_s=rng.uniform(2.0, max(3.0, min(15.0, by_s / 3))),
        final_end_in_silence=rng.random() < 0.5,
        interim_end_is_audio=rng.random() < 0.5,
        word_times=rng.random() < 0.7,
        rounding_samples=rng.choice((0, 80, 160)),
        rewrites=rng.choice((0.0, 0.1, 0.3)),
        withheld=rng.choice((0.0, 0.0, 0.2)),
        late_after_cancel=rng.choice((0.0, 0.5)),
        stream_limit_s=min(limit_s, 305.0),
        refuses_model=rng.random() < 0.1,
    )
    if rng.random() < 0.55:
        # In half of these calls the trouble is over some time before the end, so that all must be made good.
        until_s = seconds * 0.4 if rng.random() < 0.5 else 1e9
        outages = tuple(_outage(rng, min(seconds, until_s)) for _ in range(rng.choice((0, 0, 1, 2))))
        traits = replace(
            traits,
            faults_per_s=rng.choice((1 / 60, 1 / 15, 1 / 5)),
            faults_until_s=until_s,
            outages=outages,
            stalls=rng.choice((0.0, 0.0, 0.2)),
            hangs=rng.choice((0.0, 0.0, 0.1)),
        )
    return traits


def _odd(rng: Random, traits: ProviderTraits) -> ProviderTraits:
    """With word times, what is repeated shows for certain, and ends are known without being told."""
    if not traits.word_times:
        return traits
    return replace(traits, repeats=rng.choice((0.0, 0.0, 0.3)), tells_ends=rng.random() < 0.9)


def _outage(rng: Random, seconds: float) -> Outage:
    start_s = rng.uniform(-1, seconds * 0.8)
    code = rng.choice(("UNAVAILABLE", "UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"))
    return Outage(
        start_s, start_s + rng.choice((1.0, 4.0, 12.0)) * rng.uniform(0.5, 1.5), code, rng.choice((0.01, 1.5))
    )


def _voice(rng: Random) -> VoiceTraits:
    return VoiceTraits(
        lag_frames=rng.choice((0, 1, 3)),
        false_voice=rng.choice((0.0, 0.0, 0.01)),
        missed_voice=rng.choice((0.0, 0.0, 0.1)),
        deaf=rng.random() < 0.02,
    )


def _fallback(rng: Random) -> FallbackTraits | None:
    if rng.random() < 0.4:
        return None
    return FallbackTraits(
        answer_s=rng.choice(((0.05, 0.3), (0.3, 1.5), (1.0, 6.0), (5.0, 40.0))),
        refuses=rng.choice((0.0, 0.0, 0.2)),
        fails=rng.choice((0.0, 0.0, 0.2)),
    )


def _speech(rng: Random, seconds: float) -> list[SpokenWord]:
    """Utterances, pauses, now and then speech without a pause, or silence for long."""
    few = rng.random() < 0.3  # a small vocabulary: the same words again and again
    words: list[SpokenWord] = []
    at, end = int(rng.uniform(0.2, 2.0) * RATE), int(seconds * RATE)
    while at < end:
        dice = rng.random()
        if dice < 0.12:
            count = rng.randint(20, 60)
        elif dice < 0.17:
            at += int(rng.uniform(8, 25) * RATE)
            continue
        else:
            count = rng.randint(1, 10)
        gap_s = rng.choice((0.0, 0.1, 0.25))
        for _ in range(count):
            number = len(words)
            length = int(rng.uniform(0.13, 0.5) * RATE)
            text = rng.choice("abcdefghij") * 2 if few else f"w{number}"
            words.append(SpokenWord(number, text, at, at + length))
            at += length + int(rng.uniform(0, gap_s) * RATE)
        at += int(rng.choice((rng.uniform(0.3, 1.2), rng.uniform(0.8, 3), rng.uniform(2, 8))) * RATE)
    return [word for word in words if word.end <= end]


def _lost_frames(rng: Random, frames: int) -> list[tuple[int, int]]:
    """Frames that never arrive, as ranges; never the last ones, which nobody could miss."""
    if rng.random() < 0.7:
        return []
    ranges = []
    for _ in range(rng.randint(1, 4)):
        low = rng.randrange(1, frames + 1)
        high = low + rng.choice((1, 3, 40, 150, 240))
        if high < frames - 1 and all(high + 1 < a or low > b + 1 for a, b in ranges):
            ranges.append((low, high))
    return sorted(ranges)


def _deliveries(
    rng: Random, audio: bytes, frames: int, lost: list[tuple[int, int]], words: list[SpokenWord]
) -> tuple[list[Delivery], _Skips]:
    gone = {frame for low, high in lost for frame in range(low, high)}
    hold_until = _holds(rng, frames, words, lost)
    jitter_s = rng.choice((0.0, 0.005, 0.05))
    twice = rng.choice((0.0, 0.0, 0.02))
    clock_ms = rng.randint(100, 200)
    out = [Delivery(0.0, b'{"event":"connected","protocol":"Call","version":"1.0.0"}'), Delivery(0.01, _start())]
    shift_s, held_s = 0.1, 0.0
    skips: _Skips = []
    for frame in range(frames):
        if frame in hold_until:
            wait_s, clock_stops = hold_until[frame]
            if clock_stops is None:
                held_s = max(held_s, (frame + 1) * FRAME_S + shift_s + wait_s)  # then a burst
            else:
                shift_s += wait_s  # nothing was sent in between
                if not clock_stops:
                    clock_ms += int(wait_s * 1000)
                    skips.append((frame * FRAME_SAMPLES, int(wait_s * 1000) * 8))
        if frame in gone:
            continue
        at_s = max((frame + 1) * FRAME_S + shift_s, held_s) + rng.uniform(0, jitter_s)
        at_s = max(at_s, out[-1].at_s)
        timestamp_ms = clock_ms + frame * 20 + (rng.randint(0, 2) if jitter_s else 0)
        message = _media(frame + 1, timestamp_ms, audio[frame * FRAME_SAMPLES : (frame + 1) * FRAME_SAMPLES])
        out.append(Delivery(at_s, message))
        if twice and rng.random() < twice:
            out.append(Delivery(at_s, message))
    end_s = out[-1].at_s + rng.choice((0.0, 0.01, 0.5))
    if rng.random() < 0.7:
        out.append(Delivery(end_s, b'{"event":"stop","streamSid":"%s","stop":{}}' % STREAM_SID.encode()))
    out.append(Delivery(end_s + rng.choice((0.0, 0.2)), None))
    return out, skips


def _holds(
    rng: Random, frames: int, words: list[SpokenWord], lost: list[tuple[int, int]]
) -> dict[int, tuple[float, bool | None]]:
    """Before which frames the delivery pauses, for how long, and how: None, the network holds what is sent meanwhile;
    True, the telephone sends nothing and its clock stops; False, its clock goes on."""
    holds: dict[int, tuple[float, bool | None]] = {}
    if rng.random() < 0.3:
        for _ in range(rng.randint(1, 3)):
            holds[rng.randrange(frames)] = (rng.choice((0.1, 0.4, 1.5, 4.0)), None)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
        frame = rng.randrange(frames)
        # In a pause of more than 5 s the session sends silence: inside a word that would cut it in two.
        # Beside lost frames the jump of the clock would be longer than a gap that is filled.
        beside = any(low - 1 <= frame <= high + 1 for low, high in lost)
        if not beside and not any(_touches(word, frame - 1, frame + 1) for word in words):
            holds[frame] = (rng.uniform(5.5, 20.0), rng.random() < 0.5)
    return holds


def _start() -> bytes:
    return (
        b'{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","streamSid":"%s","callSid":"%s",'
        b'"tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}},'
        b'"streamSid":"%s"}' % (STREAM_SID.encode(), CALL_SID.encode(), STREAM_SID.encode())
    )


_ENCODE: Callable[[bytes], bytes] = base64.b64encode


def _media(chunk: int, timestamp_ms: int, mulaw: bytes) -> bytes:
    return (
        b'{"event":"media","sequenceNumber":"%d","media":{"track":"inbound","chunk":"%d","timestamp":"%d",'
        b'"payload":"%s"},"streamSid":"%s"}' % (chunk + 1, chunk, timestamp_ms, _ENCODE(mulaw), STREAM_SID.encode())
    )
