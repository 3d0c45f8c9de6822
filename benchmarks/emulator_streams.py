"""How many real-time streams the emulator serves: `python benchmarks/emulator_streams.py [streams] [seconds]`.

Starts `fastcall emulator --engine tones` pinned to one core and plays tones into it from another, paced as a
call does: 160 ms of audio in 6.25 requests a second and stream. Prints the server's CPU share and how late
results are: the time from sending the request in which a word became recognisable to the interim (or final)
that shows it. Bounded: about 10 s more than the given seconds. Exit status 1 when a word is missing.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

import grpc
import grpc.aio
import numpy as np
from google.cloud import speech_v1p1beta1 as speech

from fastcall.audio.tones import VOCABULARY, ToneRecognizer, synthesize

BATCH_BYTES = 2560  # 160 ms of LINEAR16 at 8 kHz
BATCH_S = 0.16
METHOD = "/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize"
STREAMS_PER_CHANNEL = 80


@dataclass
class Script:
    """One text, its requests, and in which request each word becomes recognisable."""

    requests: list[bytes]
    ready_in: list[int]
    texts: list[str]


@dataclass
class Outcome:
    latencies_s: list[float] = field(default_factory=list)
    words: int = 0
    late_sends: int = 0
    errors: list[str] = field(default_factory=list)


def make_script(number: int, seconds: float) -> Script:
    """Conversational: 200 ms words with 150 ms between them, a pause of 900 ms after every eighth."""
    tokens: list[str] = []
    for index in range(int(seconds / 0.46)):
        tokens.append(VOCABULARY[(number * 37 + index * 11) % 100])
        if index % 8 == 7:
            tokens.append("[900]")
    pcm = synthesize(tokens, gap_ms=150)
    batches = [pcm[at : at + BATCH_BYTES] for at in range(0, len(pcm), BATCH_BYTES)]
    recognizer = ToneRecognizer()
    ready_in, texts = [], []
    for index, batch in enumerate(batches):
        for word in recognizer.accept(np.frombuffer(batch, dtype="<i2")):
            ready_in.append(index)
            texts.append(word.text)
    message = speech.StreamingRecognizeRequest.pb()
    requests = [message(audio_content=batch).SerializeToString() for batch in batches]
    return Script(requests, ready_in, texts)


async def one_stream(channel: grpc.aio.Channel, script: Script, start: float, outcome: Outcome) -> None:
    config = speech.StreamingRecognitionConfig(
        config={"encoding": "LINEAR16", "sample_rate_hertz": 8000, "language_code": "en-US"},
        interim_results=True,
    )
    call = channel.stream_stream(METHOD)()
    sent: list[float] = []

    async def read() -> None:
        settled, shown = 0, 0
        response_type = speech.StreamingRecognizeResponse.pb()
        while (data := await call.read()) is not grpc.aio.EOF:
            now = time.perf_counter()
            words: list[str] = []
            for result in response_type.FromString(data).results:
                words += result.alternatives[0].transcript.split()
                if result.is_final:
                    settled, words = settled + len(words), []
            total = settled + len(words)
            for index in range(shown, total):
                outcome.latencies_s.append(now - sent[script.ready_in[index]])
            shown = max(shown, total)
            outcome.words = outcome.words + 0
        if settled != len(script.texts):
            outcome.errors.append(f"{settled} of {len(script.texts)} words")
        outcome.words += settled

    reader = asyncio.ensure_future(read())
    await asyncio.sleep(max(0.0, start - time.perf_counter()))
    await call.write(
        speech.StreamingRecognizeRequest.serialize(speech.StreamingRecognizeRequest(streaming_config=config))
    )
    for index, request in enumerate(script.requests):
        due = start + index * BATCH_S
        delay = due - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        elif delay < -0.05:
            outcome.late_sends += 1
        sent.append(time.perf_counter())
        await call.write(request)
    await call.done_writing()
    await reader
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        outcome.errors.append(f"{code}: {await call.details()}")


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(target: str, pid: int, streams: int, seconds: float) -> int:
    scripts = [make_script(number, seconds) for number in range(20)]
    channels = [
        grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(-(-streams // STREAMS_PER_CHANNEL))
    ]
    outcome = Outcome()
    start = time.perf_counter() + 1.0
    tasks = [
        asyncio.ensure_future(
            one_stream(channels[number % len(channels)], scripts[number % 20], start + 2 * number / streams, outcome)
        )
        for number in range(streams)
    ]
    await asyncio.sleep(4.0)
    before, own_before, at = cpu_s(pid), time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds - 5.0)
    elapsed = time.perf_counter() - at
    share, own = (cpu_s(pid) - before) / elapsed, (time.process_time() - own_before) / elapsed
    await asyncio.gather(*tasks)
    for channel in channels:
        await channel.close()
    lat = sorted(outcome.latencies_s)
    percentile = statistics.quantiles(lat, n=100)
    print(f"streams {streams}  words {outcome.words}  errors {len(outcome.errors)} {outcome.errors[:3]}")
    print(
        f"server: {share:.1%} of a core, {share / streams * 1e3:.2f} ms/s a stream, "
        f"{share / streams / 6.25 * 1e6:.0f} us a request with its responses"
    )
    print(f"results: p50 {percentile[49] * 1e3:.1f} ms  p99 {percentile[98] * 1e3:.1f} ms  max {lat[-1] * 1e3:.1f} ms")
    print(f"load: {own:.1%} of the other core, {outcome.late_sends} requests sent more than 50 ms late")
    return 1 if outcome.errors else 0


def main() -> int:
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 15.0
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "fastcall", "emulator", "--engine", "tones", "--port", "0", *sys.argv[3:]]
    command += ["--max-streams", "0", "--requests-per-minute", "0", "--final-delay-s", "0", "--rewrite-rate", "0"]
    server = subprocess.Popen(
        ["taskset", "-c", str(cores[0]), *command], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        print(line.strip())
        os.sched_setaffinity(0, {cores[-1]})
        return asyncio.run(load(line.split()[3], server.pid, streams, seconds))
    finally:
        server.terminate()
        server.wait(5)


if __name__ == "__main__":
    sys.exit(main())
