"""The cheap recognizer as a process: `python benchmarks/ear.py CORE`; prints its address, then answers its stdin.

Each line on stdin is answered by a line of JSON with what happened since the last (see ``CheapRecognizer.take_tally``),
and the CPU time of the process so far. It ends with its stdin.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

from compiled import load_cheap_recognizer

TURN_S = 0.05


def main() -> int:
    os.sched_setaffinity(0, {int(sys.argv[1])})
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        recognizer = load_cheap_recognizer().CheapRecognizer(listener.fileno())
        print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            recognizer.run(TURN_S)
            if select.select((sys.stdin,), (), (), 0)[0]:
                if not sys.stdin.readline():
                    return 0
                print(json.dumps({**recognizer.take_tally(), "cpu_s": time.process_time()}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
