"""Plays labelled turns to fastcall's rules, on audio time, and writes down what they decide; `make turns` reports it.

A set is a folder with ``labels.json``, ``wav/`` and, to print the table, ``score.py``. Each clip goes through the real
voice detector, gate, call machine and turn policy; the recognizer's interims and finals come from the labels' word
times plus --lag-ms, without punctuation; the agent's playback is the labels'. No clock is read: the decisions are the
same on every machine.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastcall._codec import VadFramer, mulaw_decode, mulaw_encode
from fastcall.audio.vad import WebRtcVoiceDetector
from fastcall.events import SAMPLE_RATE_HZ, SAMPLES_PER_MS, CallStarted, RecognitionEvent, TranscriptEvent
from fastcall.settings import Settings
from fastcall.turns.call_machine import CallMachine, NoteSpeech
from fastcall.turns.completeness import Expectation
from fastcall.turns.turn_policy import StopSpeech

__all__ = [
    "DEFAULT",
    "SILENCE",
    "SWEEP",
    "Decisions",
    "Point",
    "as_scored",
    "checked_set",
    "decide",
    "decide_all",
    "main",
    "parser_of",
    "play",
    "print_tables",
    "read_set",
]

FRAME_SAMPLES = 160
# The server sends the agent's audio in pieces of 200 ms.
CHUNK_SAMPLES = 1600
# A recognizer settles what was said when so much silence follows.
FINAL_SILENCE_MS = 700
# What the dialogue of a category knows: a question for a number, a name, an address, or for yes or no.
EXPECTED = {"number": "digits", "spelled": "spelling", "yesno": "yes_no", "address": "address"}
DIGIT_WORDS = ["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@dataclass(frozen=True)
class Point:
    """One setting of what is judged."""

    name: str
    settings: dict[str, Any]
    expects: bool = False


DEFAULT = Point("default", {})
_RANGES = [(300, 1000), (300, 1300), (400, 1500), (400, 1800), (500, 1800), (500, 2000), (600, 2000), (700, 2000)]
_RANGES += [(800, 2200), (900, 2400), (1000, 2600)]
_HANGOVERS_MS = [300, 400, 500, 650, 800, 1000, 1250, 1500, 1750, 2000]
SWEEP = [Point(f"{low}-{high}", {"turn_min_silence_ms": low, "turn_max_silence_ms": high}) for low, high in _RANGES]
"""Shorter and longer silence."""
SILENCE = [Point(f"silence {ms}", {"turn_detection": "silence", "vad_hangover_ms": ms}) for ms in _HANGOVERS_MS]
"""The same without texts and gate."""
POINTS = [next(point for point in SILENCE if point.name == "silence 500"), DEFAULT, *SWEEP]


@dataclass
class Decisions:
    """What was decided about one clip, in ms of its audio."""

    began: list[float]
    ends: list[float]
    reasons: list[str]
    stops: list[float]
    texts: dict[int, str]
    """Of the committed utterances, as amended."""


def read_set(folder: Path) -> dict[str, Any]:
    """The labels of a set."""
    labels: dict[str, Any] = json.loads((folder / "labels.json").read_text())
    return labels


def attenuated(codes: bytes, level_db: float) -> bytes:
    """The audio, so many dB weaker."""
    if not level_db:
        return codes
    pcm = np.frombuffer(mulaw_decode(codes), np.int16) * 10 ** (-level_db / 20)
    return mulaw_encode(pcm.round().astype(np.int16).tobytes())


def results_of(clip: dict[str, Any], lag_ms: int) -> Iterator[tuple[int, RecognitionEvent]]:
    """What the recognizer returns, and after which sample."""
    said: list[str] = []
    words = clip["words"]
    for index, (word, _, end) in enumerate(words):
        said.append(re.sub(r"[^\w' ]", "", word))
        text = " ".join(said)
        yield end + lag_ms * SAMPLES_PER_MS, RecognitionEvent("interim", text, end, "labels")
        next_start = words[index + 1][1] if index + 1 < len(words) else end + 60 * SAMPLE_RATE_HZ
        if next_start - end > FINAL_SILENCE_MS * SAMPLES_PER_MS:
            final = RecognitionEvent("final", text, end, "labels")
            yield end + (lag_ms + FINAL_SILENCE_MS) * SAMPLES_PER_MS, final
            said = []


def expectation_of(clip: dict[str, Any]) -> Expectation | None:
    """What the agent that asked for this turn knows."""
    kind: Any = EXPECTED.get(clip.get("category", ""))
    if kind is None:
        return None
    if kind != "digits":
        return Expectation(kind)
    count, times = 0, 1
    for word in re.findall(r"[a-z]+", clip["text"].lower()):
        count += times if word in DIGIT_WORDS else 0
        times = {"double": 2, "triple": 3}.get(word, 1)
    return Expectation(kind, length=count)


def decide(folder: Path, clip: dict[str, Any], point: Point, *, lag_ms: int = 300, weaker_db: float = 0) -> Decisions:
    """Play a clip."""
    settings = Settings(**{"language": "en-US", **point.settings})
    machine = CallMachine(settings)
    detector = WebRtcVoiceDetector(settings.vad_mode)
    framer = VadFramer(detector, detector.native, machine.foreground_gate)
    codes = attenuated(_codes(folder / clip["file"]), weaker_db)
    results = sorted(results_of(clip, lag_ms), key=lambda each: each[0])
    changes = _agent_changes(folder, clip)
    out = Decisions([], [], [], [], {})
    machine.receive(CallStarted("MZ", "CA", "AC"), now=0.0)
    if point.expects:
        machine.expect(expectation_of(clip))
    for end in range(FRAME_SAMPLES, len(codes) + 1, FRAME_SAMPLES):
        now = end / SAMPLE_RATE_HZ
        while changes and changes[0][0] < end:
            _agent(machine, changes.pop(0)[1])
        framer.process(
            machine.endpoint_rule,
            0,
            codes[end - FRAME_SAMPLES : end],
            now,
            partial(machine.speech_changed, now=now),
        )
        while results and results[0][0] <= end:
            machine.receive(results.pop(0)[1], now=now)
        while (due_at := machine.next_deadline()) is not None and due_at <= now:
            machine.handle_deadline(now=now)
        _note(machine, out, 1000 * now)
    return out


def _agent(machine: CallMachine, sent: bytes | None) -> None:
    if sent is None:
        machine.agent_silent()
    else:
        machine.agent_sends(sent)
        machine.agent_speaks(is_interruptible=True)


def _note(machine: CallMachine, out: Decisions, at_ms: float) -> None:
    for command in machine.commands():
        if isinstance(command, NoteSpeech) and command.speaking:
            out.began.append(at_ms)
        elif isinstance(command, NoteSpeech) and at_ms > 20:
            out.ends.append(at_ms)
        elif isinstance(command, StopSpeech):
            out.stops.append(at_ms)
        elif isinstance(command, TranscriptEvent) and command.event in ("utterance_end", "amended"):
            out.texts[command.utterance_id or 0] = command.text or ""
            if command.event == "utterance_end":
                out.reasons.append(str((command.details or {}).get("turn_end")))


def _agent_changes(folder: Path, clip: dict[str, Any]) -> list[tuple[int, bytes | None]]:
    """From which samples on the agent is heard, and what is sent for it; None: it is silent."""
    if "agent" in clip:
        return _sent(clip["agent_start"] or 0, clip["samples"], _codes(folder / clip["agent"]))
    changes: list[tuple[int, bytes | None]] = []
    for event in clip["events"]:
        if event["kind"] == "echo":
            changes += [*_sent(event["start"], event["end"], _codes(folder / event["agent"])), (event["end"], None)]
    return changes


def _sent(start: int, end: int, codes: bytes) -> list[tuple[int, bytes | None]]:
    return [(start + at, codes[at : at + CHUNK_SAMPLES]) for at in range(0, end - start, CHUNK_SAMPLES)]


def _codes(path: Path) -> bytes:
    data = path.read_bytes()
    at = data.index(b"data")
    return data[at + 8 :][: int.from_bytes(data[at + 4 : at + 8], "little")]


def decide_all(
    folder: Path, labels: dict[str, Any], point: Point, *, lag_ms: int = 300, weaker_db: float = 0
) -> dict[str, Decisions]:
    """Play all clips of a set; by their ids."""
    clips = [*labels["turns"], *labels["interruptions"]]
    return {clip["id"]: decide(folder, clip, point, lag_ms=lag_ms, weaker_db=weaker_db) for clip in clips}


def play(
    folder: Path, labels: dict[str, Any], points: Sequence[Point], *, lag_ms: int = 300, weaker_db: float = 0
) -> list[dict[str, Decisions]]:
    """Play a set once for each point, on all cores; says on stderr how far it is."""
    played = []
    play_one = partial(decide_all, folder, labels, lag_ms=lag_ms, weaker_db=weaker_db)
    with ProcessPoolExecutor() as processes:
        for number, decisions in enumerate(processes.map(play_one, points), 1):
            print(f"\r{number} of {len(points)} settings played", end="", file=sys.stderr, flush=True)
            played.append(decisions)
    print(file=sys.stderr)
    return played


def as_scored(
    labels: dict[str, Any], points: Sequence[Point], played: Sequence[dict[str, Decisions]]
) -> dict[str, Any]:
    """The decisions as a set's score.py reads them."""
    made = []
    for point, decisions in zip(points, played, strict=True):
        ends = {clip["id"]: decisions[clip["id"]].ends for clip in labels["turns"]}
        stops = {clip["id"]: decisions[clip["id"]].stops for clip in labels["interruptions"]}
        made.append({"name": point.name, "ends": ends, "stops": stops})
    return {"points": made}


def print_tables(folder: Path, decisions: Path, *options: str) -> bool:
    """Print what the set's score.py says of a file of decisions; False: the set has none."""
    scorer = folder / "score.py"
    if scorer.is_file():
        subprocess.run([sys.executable, scorer, folder / "labels.json", decisions, *options], check=True)
    return scorer.is_file()


def parser_of(description: str) -> argparse.ArgumentParser:
    """With the options that say what is played."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, required=True, help="folder with labels.json and wav/")
    parser.add_argument("--lag-ms", type=int, default=300, help="from a word's end to the result that has it (300)")
    return parser


def checked_set(parser: argparse.ArgumentParser, folder: Path) -> dict[str, Any]:
    """The labels of the set that was asked for. Ends the program if it is not there."""
    if not (folder / "labels.json").is_file():
        parser.error(f"there is no labelled set in {folder}: name a folder with labels.json and wav/")
    return read_set(folder)


def main() -> None:
    """Play a set, write the decisions, print the scorer's table."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--out", type=Path, default=Path("decisions.json"), help="file for the decisions")
    parser.add_argument("--weaker-db", type=float, default=0, help="make the callers so much weaker (0)")
    parser.add_argument("--expect", action="store_true", help="the agent says what it expects, where it can know")
    parser.add_argument("--default", action="store_true", help="the default settings only")
    arguments = parser.parse_args()
    labels = checked_set(parser, arguments.set)
    points = [DEFAULT] if arguments.default else POINTS
    points = [replace(point, expects=arguments.expect) for point in points]
    played = play(arguments.set, labels, points, lag_ms=arguments.lag_ms, weaker_db=arguments.weaker_db)
    arguments.out.write_text(json.dumps(as_scored(labels, points, played)))
    print_tables(arguments.set, arguments.out)


if __name__ == "__main__":
    main()
