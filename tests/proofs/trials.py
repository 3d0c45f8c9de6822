"""The first part of the proof: calls on a real server, each trial with a recognizer that breaks in its own way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from fastcall.audio.tones import VOCABULARY, layout
from fastcall.simulator import TwilioCaller
from fastcall.simulator.twilio_client import CallIds, PhoneAudio
from peers import Process, Served, control, serving, start_emulator, tones
from proofs.outage import TONES_MODEL, OutageWatch

__all__ = ["LONG", "SHORT", "TRIALS", "CallResult", "Scale", "Trial", "TrialResult", "differences", "run_trial"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How long everything is. Google's own 305 s and 60 s are scaled down together.

    What no final has settled is heard again by the next stream, and a stream's limit counts that audio too. At Google's
    scale it is a third of the limit at most; here a machine that stands still for seconds can make it longer than a
    stream may be, and no stream then comes to its first final. So: a quiet machine.
    """

    call_s: float
    stream_limit_s: float
    rotate_after_s: float
    rotate_by_s: float
    max_utterance_s: float
    """Speech without a pause gets a final after this time: Google's 60 s of its 305."""
    final_delay_s: float
    late_final_s: float
    down_s: float
    outage_s: float
    min_rotations: int
    min_fallbacks: int
    """Utterances in sentences that the outage has at least."""
    crowd_calls: int
    crowd_s: float
    crowd_ages_s: tuple[float, float]
    say_every_s: float

    def with_length(self, minutes: float | None, calls: int | None) -> Scale:
        """The same with other numbers of the command line."""
        scale = self
        if minutes is not None:
            rotations = int(scale.min_rotations * minutes * 60 / scale.call_s)
            scale = replace(scale, call_s=minutes * 60, min_rotations=rotations)
        return scale if calls is None else replace(scale, crowd_calls=calls)

    @property
    def settings(self) -> dict[str, Any]:
        """Of the server."""
        return {"stt_rotate_after_s": self.rotate_after_s, "stt_rotate_by_s": self.rotate_by_s}

    @property
    def emulator_options(self) -> list[str]:
        """Of every emulator."""
        options = {
            "stream-limit-s": self.stream_limit_s,
            "max-utterance-s": self.max_utterance_s,
            "final-delay-s": self.final_delay_s,
            "final-delay-p99-s": self.final_delay_s * 1.8,
            "max-streams": 0,
        }
        return [text for name, value in options.items() for text in (f"--{name}", f"{value:g}")]


LONG = Scale(
    call_s=300,
    stream_limit_s=12,
    rotate_after_s=8,
    rotate_by_s=10.5,
    max_utterance_s=3,
    final_delay_s=0.9,
    late_final_s=3,
    down_s=5,
    outage_s=30,
    min_rotations=20,
    min_fallbacks=5,
    crowd_calls=300,
    crowd_s=45,
    crowd_ages_s=(5, 11),
    say_every_s=30,
)
# Streams live longer than the 3 s after which a recognizer is believed that it has told all.
SHORT = Scale(
    call_s=17,
    stream_limit_s=8,
    rotate_after_s=4,
    rotate_by_s=6,
    max_utterance_s=2,
    final_delay_s=0.5,
    late_final_s=1.5,
    down_s=2,
    outage_s=6,
    min_rotations=2,
    min_fallbacks=1,
    crowd_calls=30,
    crowd_s=14,
    crowd_ages_s=(4, 6),
    say_every_s=10,
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to break. Faults are the emulator's; ``down`` are the moments, as shares of the call, at which it is
    killed, to come back after ``down_s`` (``is_outage``: after ``outage_s``)."""

    name: str
    faults: tuple[dict[str, Any], ...] = ()
    finals_are_late: bool = False
    down: tuple[float, ...] = ()
    is_outage: bool = False
    """Its server has a fallback, and its calls are longer by the outage."""

    def length_s(self, scale: Scale) -> float:
        """Of its calls."""
        return scale.call_s + (scale.outage_s if self.is_outage else 0.0)

    def settings(self, scale: Scale) -> dict[str, Any]:
        """Of its server."""
        return scale.settings | ({"whisper_model": TONES_MODEL} if self.is_outage else {})


# A share of streams each, at different places of their audio.
_RESETS = tuple({"fault": "reset", "probability": 0.1, "at_s": at_s} for at_s in (0.7, 1.9, 2.6, 3.3, 6.1))
_ABORTS = tuple(
    {"fault": "status", "probability": 0.2, "at_s": at_s, "code": code, "message": "try again"}
    for at_s, code in ((1.1, "UNAVAILABLE"), (2.3, "INTERNAL"), (3.1, "ABORTED"))
)

TRIALS = (
    Trial("plain"),
    Trial("resets", faults=_RESETS),
    Trial("errors", faults=(*_ABORTS, {"fault": "goaway", "every": 5, "at_s": 1.3})),
    Trial("stall", faults=({"fault": "stall", "stream": 3, "at_s": 3.0}, {"fault": "stall", "every": 7, "at_s": 3.0})),
    Trial("no final", faults=({"fault": "no_final", "every": 3, "final": 1},)),
    Trial("late finals", finals_are_late=True),
    Trial("killed", down=(0.3, 0.6)),
    Trial("outage", down=(0.2,), is_outage=True),
)


@dataclass(slots=True)
class CallResult:
    """What became of one call."""

    name: str
    said: int
    lost: int
    extra: int
    rotations: int
    breaks: int
    amended: int
    by_whisper: int
    """Utterances."""


@dataclass(slots=True)
class TrialResult:
    """What became of a trial's calls."""

    name: str
    calls: list[CallResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def run_trial(trial: Trial, scale: Scale, *, seed: int) -> TrialResult:
    """Place its two calls and judge them."""
    result = TrialResult(trial.name)
    options = [*scale.emulator_options, "--seed", str(seed)]
    if trial.finals_are_late:
        options += [
            "--final-delay-s",
            f"{scale.late_final_s:g}",
            "--final-delay-p99-s",
            f"{scale.late_final_s * 1.3:g}",
        ]
    speeches = {"no pause": endless_words, "sentences": sentences}
    ids = {name: CallIds.derive(f"{trial.name}/{name}", 0) for name in speeches}
    with tempfile.TemporaryDirectory(prefix="fastcall-lossless-") as folder:
        if trial.faults:
            options += ["--scenario", _write_scenario(folder, trial.faults)]
        emulator = Restartable(options)
        await emulator.start()
        try:
            async with serving(emulator.address, **trial.settings(scale)) as served:
                watch = OutageWatch(served)
                calls = [
                    _place_call(served, ids[name], make(trial.length_s(scale), random.Random(f"{seed} {trial.name}")))
                    for name, make in speeches.items()
                ]
                breaking = asyncio.create_task(_break(emulator, trial, scale, watch))
                outcomes = await asyncio.gather(*calls)
                await breaking
                if trial.is_outage:
                    await watch.look_after()
                    found = watch.judge([each.call_sid for each in ids.values()], at_least=scale.min_fallbacks)
                    result.problems += [f"{trial.name}: {problem}" for problem in found]
            fired = await asyncio.to_thread(emulator.faults_fired)
        finally:
            await emulator.stop()
    for name, (call, problems) in zip(speeches, outcomes, strict=True):
        call.name = name
        result.calls.append(call)
        result.problems += [f"{trial.name}, {name}: {problem}" for problem in problems]
    _judge_breaks(result, trial, scale, fired)
    return result


def _judge_breaks(result: TrialResult, trial: Trial, scale: Scale, fired: set[str]) -> None:
    """Whether all that was to happen has happened."""
    for call in result.calls:
        if call.rotations < scale.min_rotations:
            result.problems.append(f"{trial.name}, {call.name}: {call.rotations} rotations, not {scale.min_rotations}")
        if trial.down and not call.breaks:
            result.problems.append(f"{trial.name}, {call.name}: nothing broke")
    missing = {fault["fault"] for fault in trial.faults} - fired
    if missing:
        result.problems.append(f"{trial.name}: never happened: {', '.join(sorted(missing))}")


def _write_scenario(folder: str, faults: Sequence[dict[str, Any]]) -> str:
    path = Path(folder, "faults.yaml")
    path.write_text(json.dumps({"faults": list(faults)}))  # JSON is YAML
    return str(path)


class Restartable:
    """An emulator process that can be killed, and comes back at its port."""

    def __init__(self, options: Sequence[str]) -> None:
        self._options = list(options)
        self._process: Process | None = None
        self.address = ""

    async def start(self) -> None:
        """Bring it up, at the port that it had before, if any."""
        port = int(self.address.rpartition(":")[2] or 0)
        self._process = await asyncio.to_thread(start_emulator, *self._options, port=port)
        self.address = self._process.ready[1]

    async def kill(self) -> None:
        """As a crash: its connections are reset."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(self._process.stop)

    def faults_fired(self) -> set[str]:
        """The kinds of faults that have happened since it was started."""
        return set(control(self.address, "/status")["faults"]["fired"])

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)


async def _break(emulator: Restartable, trial: Trial, scale: Scale, watch: OutageWatch) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for share in trial.down:
        await asyncio.sleep(began + share * scale.call_s - loop.time())
        await emulator.kill()
        down_s = scale.outage_s if trial.is_outage else scale.down_s
        down_at = loop.time()
        if trial.is_outage:
            await asyncio.sleep(down_at + down_s / 2 - loop.time())
            await watch.look_within()
        await asyncio.sleep(down_at + down_s - loop.time())
        watch.note_back()
        await emulator.start()


async def _place_call(served: Served, ids: CallIds, text: list[str]) -> tuple[CallResult, list[str]]:
    report = await TwilioCaller(served.url, PhoneAudio(tones(text), tail_s=2.5), ids=ids).run()
    with contextlib.suppress(TimeoutError):
        await served.transcripts.wait_for(ids.call_sid, "call_ended")
    records = served.transcripts.of(ids.call_sid)
    counts = Counter(record["event"] for record in records)
    heard = " ".join(served.transcripts.utterances(ids.call_sid)).split()
    lost, extra, problems = differences(text, heard)
    if report.error:
        problems.insert(0, report.error)
    for once in ("call_started", "session_started", "session_closed", "call_ended"):
        if counts[once] != 1:
            problems.append(f"{counts[once]} times {once}")
    said = sum(not token.startswith("[") for token in text)
    by_whisper = sum(each["event"] == "utterance_end" and each["source"] == "whisper" for each in records)
    breaks, amended = counts["session_failed"], counts["amended"]
    return CallResult("", said, lost, extra, counts["session_rotated"], breaks, amended, by_whisper), problems


def differences(text: list[str], heard: list[str]) -> tuple[int, int, list[str]]:
    """Words lost, words too many, and where: ``text`` may hold pauses."""
    words, _ = layout(text)
    said = [word.text for word in words]
    lost = extra = 0
    places = []
    for tag, a, b, c, d in SequenceMatcher(None, said, heard, autojunk=False).get_opcodes():
        if tag != "equal":
            lost += b - a
            extra += d - c
            at_s = words[min(a, len(words) - 1)].start / 8000
            places.append(f"at {at_s:.1f} s of the audio: said {said[a:b]}, heard {heard[c:d]}")
    return lost, extra, places


# --- what is said ----------------------------------------------------------------------------------------------------


def endless_words(length_s: float, rng: random.Random) -> list[str]:
    """Words of 200 ms, one after the other."""
    return ["[300]", *(rng.choice(VOCABULARY) for _ in range(int(length_s * 5)))]


def sentences(length_s: float, rng: random.Random) -> list[str]:
    """Two to nine words, and a pause that is long enough to end the utterance; some are long."""
    text, at_ms = ["[300]"], 300
    while at_ms < length_s * 1000:
        words = rng.choices(VOCABULARY, k=rng.randint(2, 9))
        pause_ms = rng.choice((900, 1200, 1600, 2500, 4000))
        text += [*words, f"[{pause_ms}]"]
        at_ms += 200 * len(words) + pause_ms
    return text
