"""One call of over 100 s on a ``fastcall serve`` process. A program, so that it can run beside the other tests.

python tests/wire/long_call.py RECOGNISER TRANSCRIPTS
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from fastcall.simulator import TwilioCaller
from fastcall.simulator.twilio_client import CallIds, PhoneAudio
from peers import Process, tones, words_of_call

IDS = CallIds.derive("long", 0)
SENTENCES = [" ".join(words_of_call(number, 3 + number % 4)) for number in range(44)]
AUDIO = tones("[500] " + " [1500] ".join(SENTENCES))
SPEECH_S = len(AUDIO) / 8000


def main() -> int:
    """Place the call; the exit status is 0 if all of it was sent and the server ended well."""
    recognizer, transcripts = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # tests that end before it does leave no server
    server = Process(
        ["serve", "--port", "0", "--stt-endpoint", recognizer, "--transcripts", transcripts],
        ready=r"listening on (ws://\S+/media)",
        environ={**os.environ, "GCP_STT_LANGUAGE": "en-US"},
    )
    try:
        caller = TwilioCaller(server.ready[1], PhoneAudio(AUDIO, tail_s=2.5), ids=IDS)
        report = asyncio.run(caller.run())
    finally:
        server.stop()
    print(report.error, server.stderr)
    return 0 if report.ok and not server.stderr else 1


if __name__ == "__main__":
    sys.exit(main())
