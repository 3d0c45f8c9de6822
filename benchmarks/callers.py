"""The simulated calls as a process: `python benchmarks/callers.py CORE URL CALLS RAMP_S`.

Stamped audio (see ``fastcall._load``), an endless bundled conversation. Prints `placed` when all calls are up; answers
each line on stdin with the state so far; at the end of stdin all calls hang up and the last line reports what was
sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from importlib import resources

import uvloop

from fastcall.audio.wav import read_wav
from fastcall.simulator import CallReport, Pacer, TwilioCaller, place_calls
from fastcall.simulator.twilio_client import CallIds, Lateness, PhoneAudio


def state(callers: list[TwilioCaller], lateness: Lateness) -> str:
    """A line of JSON; the lateness is that since the line before."""
    p99 = lateness.percentile_s(99)
    for at in range(len(lateness.counts)):
        lateness.counts[at] = 0
    reports = [caller.report for caller in callers]
    return json.dumps(
        {
            "live": sum(caller.live for caller in callers),
            "heard_s": sum(report.audio_received_bytes for report in reports) / 8000,
            "sent": sum(caller.frames_sent for caller in callers),
            "discarded": sum(report.frames_discarded for report in reports),
            "late_p99_ms": None if p99 is None else 1000 * p99,
            "errors": sorted({report.error for report in reports if report.error})[:3],
            "cpu_s": time.process_time(),
        }
    )


async def main() -> None:
    url, calls, ramp_s = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    audio = PhoneAudio(read_wav((resources.files("fastcall") / "data" / "booking.wav").read_bytes()), passes=None)
    lateness = Lateness()
    pacer = Pacer(lateness)
    callers = [
        TwilioCaller(
            url,
            audio,
            ids=CallIds.derive("density", number),
            auth_token=os.environ.get("TWILIO_AUTH_TOKEN", ""),
            keep_received=False,
            pacer=pacer,
            call_number=number,
            discards_audio=True,
        )
        for number in range(calls)
    ]
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    placed: asyncio.Task[list[CallReport]] = asyncio.create_task(place_calls(callers, ramp_s=ramp_s))
    while not placed.done() and not all(caller.live or caller.report.error for caller in callers):
        await asyncio.wait((placed,), timeout=0.05)
    print("placed", flush=True)
    while await orders.readline():
        print(state(callers, lateness), flush=True)
    for caller in callers:
        caller.hang_up()
    await placed
    print(state(callers, lateness), flush=True)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main())
