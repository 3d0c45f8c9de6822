"""benchmarks/density.py and soak.py, shortened: they measure what they say, and see what is wrong."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud import speech_v1p1beta1 as speech

import compiled
import forkserver
from compiled import load_cheap_recognizer
from fastcall import g711
from peers import PATIENCE_S

ROOT = Path(__file__).parents[2]
METHOD = "/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize"
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the recognizer of the benchmark needs epoll")


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forkserver.run(
        [sys.executable, str(ROOT / "benchmarks" / program), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.skipif(len(CORES) < 2, reason="server and load need a core each")
def test_each_design_carries_a_few_calls_and_loses_nothing(tmp_path: Path) -> None:
    short = ("--steps", "10", "--seconds", "2", "--settle-s", "1", "--no-narrowing", "--out", str(tmp_path))
    done = run("density.py", *short)
    result = json.loads((tmp_path / "density.json").read_text())
    by_design = {step["design"]: step for step in result["steps"]}
    assert set(by_design) == {"native", "grpcio", "replaced", "floor"}, done.stdout + done.stderr
    for step in by_design.values():
        # How old the audio is on a machine that others use is not a test's matter; that all of it arrives is.
        assert (step["lost"], step["doubled"]) == (0, 0), done.stdout
        assert step["requests_a_second"] > 0
        assert step["responses_a_second"] > 0
        assert 0 < step["age_p50_ms"] <= step["age_p99_ms"]
        # The least that a program in C can do is less than the system counts in: 10 ms of all calls together.
        assert step["call_us"] > 0 or step["design"] == "floor"
        assert step["call_kb"] > 0
    assert (tmp_path / "density.svg").read_text().startswith("<svg ")


@pytest.mark.skipif(len(CORES) < 2, reason="server and load need a core each")
def test_what_endless_answers_cost_is_told_as_ratios() -> None:
    done = run("density.py", "--talking", "--steps", "10", "--seconds", "2", "--settle-s", "1", "--rounds", "1")
    assert re.search(r"10 calls: native talking \d+\.\d\d times silent, floor talking \d", done.stdout), (
        done.stdout + done.stderr
    )
    assert "callers heard" not in done.stdout
    assert "calls failed" not in done.stdout


def test_calls_come_and_go_and_leave_nothing() -> None:
    done = run("soak.py", "0.3", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrong: 0" in done.stdout
    assert "left: nothing" in done.stdout


# --- the cheap recognizer, met by Google's own kind of client ------------------------------------------------


@contextlib.contextmanager
def listening_recognizer() -> Iterator[tuple[str, Any]]:
    """The recognizer in a thread; its tally belongs to who has stopped it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        recognizer = load_cheap_recognizer().CheapRecognizer(listener.fileno())
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                recognizer.run(0.01)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", recognizer
        finally:
            stopping.set()
            thread.join(PATIENCE_S)


def test_it_is_compiled_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Path(load_cheap_recognizer().__file__)
    monkeypatch.setattr(compiled, "BUILD", tmp_path)
    compilations: list[int] = []

    def compile_it(arguments: list[str], **options: Any) -> None:
        compilations.append(1)
        with (tmp_path / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.copy(ready, tmp_path / ready.name)

    monkeypatch.setattr(subprocess, "run", compile_it)
    load_cheap_recognizer()
    load_cheap_recognizer()
    assert compilations == [1]


def frame(number: int, *, loud: bool = True, at_us: int | None = None) -> bytes:
    """20 ms of LINEAR16 with a stamp, by way of mu-law as on the line."""
    now_us = int(time.monotonic() * 1e6) if at_us is None else at_us
    digits = f"c{now_us & 0xFFFFFFFF:08x}{number:08x}{7:04x}"
    stamp = bytes(0xF0 | int(digit, 16) for digit in digits)
    mulaw = (b"\x10" if loud else b"\xff") * 138 + stamp + b"\xff"
    return g711.ulaw2lin(mulaw, 2)


def converse(address: str, requests: list[bytes]) -> list[Any]:
    """One stream with these requests, each the serialised message; the responses."""
    with grpc.insecure_channel(address) as channel:
        call = channel.stream_stream(METHOD)
        found = [speech.StreamingRecognizeResponse.deserialize(data) for data in call(iter(requests), timeout=20)]
    return found


def audio(pcm: bytes) -> bytes:
    return bytes(speech.StreamingRecognizeRequest.serialize(speech.StreamingRecognizeRequest(audio_content=pcm)))


CONFIG = bytes(
    speech.StreamingRecognizeRequest.serialize(
        speech.StreamingRecognizeRequest(streaming_config=speech.StreamingRecognitionConfig(interim_results=True))
    )
)


def test_the_recognizer_counts_each_frame_and_its_age() -> None:
    with listening_recognizer() as (address, recognizer):
        old_us = int(time.monotonic() * 1e6) - 300_000
        converse(address, [CONFIG, audio(frame(0) + frame(1, at_us=old_us))])
    tally = recognizer.take_tally()
    assert (tally["requests"], tally["frames"], tally["lost"], tally["doubled"]) == (1, 2, 0, 0)
    assert (tally["unstamped"], tally["odd"], tally["errors"]) == (0, 0, 0)
    assert 300 <= tally["age_max_ms"] < 20_000
    assert isinstance(tally["age_max_ms"], float), "of less than a millisecond too something is said"
    assert (tally["streams"], tally["ended"], tally["live_streams"]) == (1, 1, 0)


def test_the_recognizer_sees_what_is_lost_doubled_and_not_stamped() -> None:
    with listening_recognizer() as (address, recognizer):
        converse(address, [CONFIG, audio(frame(0) + frame(3)), audio(frame(3)), audio(bytes(320)), audio(bytes(100))])
    tally = recognizer.take_tally()
    assert (tally["frames"], tally["lost"], tally["doubled"], tally["unstamped"], tally["odd"]) == (3, 2, 1, 1, 1)


def test_the_recognizer_answers_as_one_does() -> None:
    loud = [audio(b"".join(frame(8 * turn + part) for part in range(8))) for turn in range(6)]
    quiet = [audio(b"".join(frame(48 + 8 * turn + part, loud=False) for part in range(8))) for turn in range(4)]
    with listening_recognizer() as (address, _):
        responses = converse(address, [CONFIG, *loud, *quiet, *loud])
    results = [response.results[0] for response in responses]
    texts = [(result.alternatives[0].transcript, result.is_final) for result in results]
    said = [" word", " word word", " word word word"]
    assert texts[:4] == [*((text, False) for text in said), (said[-1], True)]
    assert texts[-1] == (said[-1], True), "what is not settled at the half-close is settled then"
    words = results[3].alternatives[0].words
    assert [word.word for word in words] == ["word"] * 3
    assert words[0].start_time <= words[0].end_time <= words[1].start_time
    assert results[3].result_end_time.total_seconds() == pytest.approx(10 * 0.16)


def test_the_recognizer_outlives_what_is_not_http2() -> None:
    with listening_recognizer() as (address, recognizer):
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), PATIENCE_S) as stranger:
            stranger.sendall(b"\xff" * 100)
            while stranger.recv(1 << 16):
                pass
        converse(address, [CONFIG, audio(frame(0))])
    assert recognizer.take_tally()["frames"] == 1
