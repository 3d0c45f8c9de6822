"""The processor time of a request and its response, with each uplink, on 300 streams.

Both uplinks carry the same streams to a peer process that answers each request at once. They take turns in one run;
what counts is the process's own processor time over a turn (grpcio's threads and the kernel's part included), and of
all turns of a side the best.

- *as answers come*: each stream sends its next request when the last is answered. The loop is never idle, as in a
  server that is full: this is what decides how many calls a core carries.
- *at the pace of calls*: each stream sends 6.25 requests a second, each at its own phase, on an otherwise idle loop.
  Most of the time is then spent waking up, once for a request and once for its response, with either uplink. The cost
  of the same loop without requests is subtracted from both.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fastcall import _http2
from fastcall.google.recognizer import GoogleRecognizer
from fastcall.ports import RecognizerStream, StreamConfig, StreamEnd, StreamResult

STREAMS = 300
PCM = bytes(range(256)) * 10  # 160 ms of LINEAR16 at 8 kHz
BATCH_S = 0.16
TICKS = 160  # in a batch's time, 1 ms each, which is the loop's clock; streams are spread over them, as calls are
TURN_S = 1.0
TURNS, MOST_TURNS = 3, 10

pytestmark = pytest.mark.gate


@pytest.fixture(scope="module")
def peer() -> Iterator[str]:
    """In a separate process, on the last core, so that the measured side has the others."""
    try:
        _http2.load()
    except OSError as missing:
        pytest.skip(str(missing))
    program = Path(__file__).parent.parent / "tests" / "answering.py"
    process = subprocess.Popen([sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
    address = process.stdout.readline().strip()
    assert address
    with process:
        yield address
        assert process.stdin is not None
        process.stdin.close()


class _Listener:
    def __init__(self) -> None:
        self.results = 0
        self.stream: RecognizerStream | None = None
        self.goes_on = False
        self.end: asyncio.Future[StreamEnd] = asyncio.get_running_loop().create_future()

    def stream_results(self, results: Sequence[StreamResult]) -> None:
        self.results += 1
        if self.goes_on and self.stream is not None:
            self.stream.write(PCM)

    def stream_writable(self) -> None:
        pass

    def stream_ended(self, end: StreamEnd) -> None:
        self.end.set_result(end)


async def _as_answers_come(listeners: list[_Listener], seconds: float) -> None:
    for listener in listeners:
        listener.goes_on = True
        assert listener.stream is not None
        listener.stream.write(PCM)
    await asyncio.sleep(seconds)
    for listener in listeners:
        listener.goes_on = False


async def _at_the_pace_of_calls(listeners: list[_Listener], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    begins_at = loop.time()
    for tick in range(int(seconds / BATCH_S) * TICKS):
        await asyncio.sleep(begins_at + tick * BATCH_S / TICKS - loop.time())
        for listener in listeners[tick % TICKS :: TICKS]:
            if listener.stream is not None:
                listener.stream.write(PCM)


Way = Callable[[list[_Listener], float], Coroutine[Any, Any, None]]


async def _turn(address: str, uplink: str, way: Way) -> float:
    """Seconds of processor time a request and its response."""
    recognizer = GoogleRecognizer(emulator_host=address, uplink=uplink)
    listeners = [_Listener() for _ in range(STREAMS)]
    for listener in listeners:
        listener.stream = recognizer.open(StreamConfig("en-US", "default"), listener)
    await way(listeners, 0.4)  # connections are made, both sides have warmed up
    heard, before = sum(listener.results for listener in listeners), time.process_time()
    await way(listeners, TURN_S)
    spent, heard = time.process_time() - before, sum(listener.results for listener in listeners) - heard
    for listener in listeners:
        assert listener.stream is not None
        listener.stream.half_close()
    async with asyncio.timeout(20):
        assert {(await listener.end).code for listener in listeners} == {"OK"}
    await recognizer.aclose()
    assert heard > STREAMS
    return spent / heard


async def _nobody(way: Way) -> float:
    """The same with nobody to send to."""
    before = time.process_time()
    await way([_Listener() for _ in range(STREAMS)], TURN_S)
    return (time.process_time() - before) / (int(TURN_S / BATCH_S) * STREAMS)


@pytest.mark.parametrize(
    ("name", "way", "floor"), [("as answers come", _as_answers_come, 6.0), ("paced", _at_the_pace_of_calls, 2.0)]
)
def test_a_request_and_its_response(benchmark: Any, peer: str, name: str, way: Way, floor: float) -> None:
    """Native against grpcio."""
    best: dict[str, float] = {}

    def turns() -> None:
        for number in range(MOST_TURNS):
            if number >= TURNS and times()[1] >= floor * times()[0]:
                break
            for uplink in ("native", "grpcio"):
                best[uplink] = min(best.get(uplink, 1.0), uvloop.run(_turn(peer, uplink, way)))
            if way is _at_the_pace_of_calls:
                best["nobody"] = min(best.get("nobody", 1.0), uvloop.run(_nobody(way)))

    def times() -> tuple[float, float]:
        return best["native"] - best.get("nobody", 0.0), best["grpcio"] - best.get("nobody", 0.0)

    benchmark.pedantic(turns, rounds=1)
    native, grpcio = times()
    title, ratio = f"uplink: a request and its response, {name}", grpcio / native
    benchmark.extra_info.update(name=title, ours_s=native, theirs_s=grpcio, ratio=round(ratio, 3), floor=floor, units=1)
    print(
        f"\n{title}: native {native * 1e6:.1f} us, grpcio {grpcio * 1e6:.1f} us of processor time, "
        f"ratio {ratio:.2f}, floor {floor:.2f}"
    )
    assert ratio >= floor
