"""What a call's audio costs: memory a call, and time a frame, from the frame that is fed to the batch that is read.

    .venv/bin/python benchmarks/call_memory.py --calls 500 --seconds 60

Every call is fed 20 ms frames; each 150 ms a batch is taken and read, as a stream does; what is older than --kept-s is
settled and forgotten. Memory is the growth of the process's resident set; Linux only.
"""

from __future__ import annotations

import argparse
import os
import time

from fastcall.audio.audio_input import AudioInput
from fastcall.audio.replay_buffer import ReplayBuffer
from processes import resident_bytes

FRAME = bytes(range(96, 256))
RATE_HZ = 8000
BATCH_FRAMES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=60, help="length of each call (default 60)")
    parser.add_argument("--kept-s", type=float, default=3.0, help="unsettled audio that each keeps (default 3)")
    options = parser.parse_args()
    kept_samples = int(options.kept_s * RATE_HZ)
    before = resident_bytes(os.getpid())
    calls = []
    for _ in range(options.calls):
        replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=90 * RATE_HZ)
        calls.append((replay_buffer, AudioInput(replay_buffer, sample_bytes=1)))
    begin = time.perf_counter()
    for number in range(options.seconds * 50):
        for replay_buffer, audio_input in calls:
            audio_input.feed(FRAME)
            if number % BATCH_FRAMES == BATCH_FRAMES - 1:
                audio_input.drain()
                replay_buffer.read(replay_buffer.end - BATCH_FRAMES * 160, BATCH_FRAMES * 160)
                replay_buffer.forget_before(replay_buffer.end - kept_samples)
    spent_s = time.perf_counter() - begin
    grown = (resident_bytes(os.getpid()) - before) / options.calls
    print(
        f"{options.calls} calls of {options.seconds} s: {grown / 1000:.1f} kB a call, of which kept audio "
        f"{kept_samples / 1000:.1f} kB; {spent_s / options.calls / options.seconds / 50 * 1e9:.0f} ns a frame"
    )


if __name__ == "__main__":
    main()
